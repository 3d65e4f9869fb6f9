"""`python -m bench hooks`: what ten plugins cost that hook every point and do nothing, async and sync, against none.

Mailboat alone. One relay for each kind is started, and the load goes to them in turns, so that what else the machine
does falls on all of them. docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import install, interpreter, load, machine, process, tls_submit
from bench.fault import BenchError, exit_status
from bench.load import Load, Sink
from bench.relays.mailboat import Mailboat
from bench.relays.relay import Place
from bench.tls_submit import Certificate
from mailboat.hooks.points import POINTS, Point

LIMIT = 0.8
"""The least share of the throughput without plugins that is good enough."""
PLUGINS = 10
KINDS = ("none", "async", "sync")

_DISK = Path("/var/tmp")
_SESSIONS = 20
_SIZE = 4096
_WARM_UP = 1000
_MODES = {"new": False, "reused": True}


@dataclass(slots=True)
class Arm:
    """One relay, and what it did in each round."""

    kind: str
    port: int
    sink: Sink
    root: int
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of the relay a message."""

    def drive(self, wanted: Load, messages: int) -> None:
        """One round."""
        before = process.tree_cpu(self.root)
        run = load.drive(wanted, messages, self.port, self.sink)
        self.cpu.append((process.tree_cpu(self.root) - before) / messages)
        self.rates.append(messages / run.delivered_after)


def main(words: Sequence[str]) -> int:
    """Prints the table; 0 when every kind is good enough, 1 when one is not, 2 when nothing could be measured."""
    options = _arguments(words)
    return exit_status(lambda: _run(options))


def plugin(kind: str) -> str:
    """The source of a plugin that hooks every point and does nothing."""
    word = "async def" if kind == "async" else "def"
    hooks = [
        f"{word} hook_{point}({', '.join(facts.parameters)}):\n    return None\n" for point, facts in POINTS.items()
    ]
    return "\n\n".join(hooks)


def files(kind: str) -> dict[str, str]:
    """What a configuration directory needs for a kind."""
    if kind == "none":
        return {}
    names = [f"noop{number}" for number in range(PLUGINS)]
    return {"plugins": "\n".join(names) + "\n", **{f"plugins.d/{name}.py": plugin(kind) for name in names}}


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench hooks", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="the table shows the median (7)")
    parser.add_argument("--messages", type=int, default=8_000, metavar="N", help="messages a round and kind (8,000)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="besides none")
    parser.add_argument("--modes", nargs="+", choices=list(_MODES), default=list(_MODES))
    interpreter.add_option(parser)
    parser.add_argument("--work", type=Path, default=_DISK, metavar="DIR", help=f"disk for the queues ({_DISK})")
    chosen = parser.parse_args(words)
    if min(chosen.rounds, chosen.messages) <= 0:
        parser.error("--rounds and --messages must be above 0")
    return chosen


def _run(options: argparse.Namespace) -> int:
    install.debian("postfix", "smtp-sink")
    with machine.scratch(options.work) as directory:
        relay = Mailboat(interpreter.choose(options.python))
        print("\n".join([*machine.look(directory).lines(), relay.version()]))
        print(f"\n{PLUGINS} plugins at all {len(Point)} points; {_SESSIONS} sessions, {_SIZE} octets\n")
        print("| sessions | plugins | messages/s | of none | CPU a message | limit |\n|---|---|---:|---:|---:|---:|")
        certificate = tls_submit.make_certificate(directory)
        kinds = ("none", *(kind for kind in KINDS[1:] if kind in options.kinds))
        good = True
        for mode in options.modes:
            with contextlib.ExitStack() as stack:
                arms = [
                    stack.enter_context(_started(relay, directory / f"{mode}-{kind}", kind, certificate))
                    for kind in kinds
                ]
                wanted = Load(_SESSIONS, _MODES[mode], _SIZE)
                _measure(arms, wanted, options)
            good &= _print(mode, arms)
        return 0 if good else 1


def _measure(arms: list[Arm], wanted: Load, options: argparse.Namespace) -> None:
    for arm in arms:
        load.drive(wanted, _WARM_UP, arm.port, arm.sink)
    for turn in range(options.rounds):
        for arm in arms[:: 1 if turn % 2 else -1]:
            arm.drive(wanted, options.messages)


def _print(mode: str, arms: list[Arm]) -> bool:
    """The rows of one mode. The share is the median of the rounds' own: what slows one round slows all of it."""
    none, good = arms[0], True
    for arm in arms:
        share = statistics.median(rate / base for rate, base in zip(arm.rates, none.rates, strict=True))
        cpu = statistics.median(arm.cpu) * 1e6
        limit = "" if arm is none else f"{LIMIT:.0%}"
        good &= share >= LIMIT
        print(f"| {mode} | {arm.kind} | {statistics.median(arm.rates):,.0f} | {share:.0%} | {cpu:.0f} us | {limit} |")
    return good


@contextlib.contextmanager
def _started(relay: Mailboat, directory: Path, kind: str, certificate: Certificate) -> Iterator[Arm]:
    """A relay with its plugins and its own sink."""
    directory.mkdir()
    directory.chmod(0o755)
    with load.smtp_sink() as sink:
        place = Place(directory, process.free_port(), sink.port, certificate, _NO_PRELOAD)
        service = relay.start(place, files=files(kind))
        try:
            process.wait_for_greeting(service, place.port)
            yield Arm(kind, place.port, sink, service.pid)
        except BenchError as error:
            raise BenchError(f"{kind}: {error}\n--- its log ends:\n{service.tail()}") from error
        finally:
            relay.stop(place, service)


_NO_PRELOAD: Mapping[str, str] = {}

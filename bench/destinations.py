"""`bench/destinations`: many destination domains against one, and one dead destination among a hundred.

Mailboat alone, with MX lookups at a local DNS server. docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench import against, generator, install, interpreter, load, machine, process, tls_submit
from bench.fault import BenchError, exit_status
from bench.load import Sink
from bench.relays.mailboat import Mailboat
from bench.relays.relay import Place
from bench.templates import TEMPLATES
from bench.tls_submit import Certificate

_DISK = Path("/var/tmp")
_SIZE = 4096
_SESSIONS = 20
_WARM_UP = 500
_PATIENCE = 60.0
_DEAD = "dead"
_DEAD_ADDRESS = "127.0.0.77"
_LIVE = 99
"""Live destinations beside the dead one."""
_WITHOUT_POLICIES = {
    "tls.ini": (TEMPLATES / "mailboat" / "tls.ini").read_text() + "\n[outbound]\nmta_sts=false\ndane=false\n"
}
_DEATHS = ("refuses", "silent", "unreachable")


@dataclass(frozen=True, slots=True)
class Setting:
    """What all measurements of one run share."""

    directory: Path
    certificate: Certificate
    messages: int
    relays: tuple[Mailboat, ...]
    """This checkout's first."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A relay, and how it is configured."""

    relay: Mailboat
    name: str
    """As the table shows it."""
    files: Mapping[str, str] = field(default_factory=dict)
    """More files of its configuration."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What one measurement gave."""

    rate: float
    """Messages a second to live destinations, until the sink has all of them."""
    memory: int
    """Most octets of the relay's processes."""


def main(words: Sequence[str]) -> int:
    """Prints both tables; 0 unless nothing could be measured."""
    options = _arguments(words)
    return exit_status(lambda: _run(options))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/destinations", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--domains", type=int, default=10_000, metavar="N", help="destinations of the first table (10,000)"
    )
    parser.add_argument("--messages", type=int, default=20_000, metavar="N", help="messages a measurement (20,000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="the tables show the median (3)")
    parser.add_argument("--only", choices=("many", "dead"), help="one of the two tables")
    interpreter.add_option(parser)
    against.add_option(parser)
    parser.add_argument("--work", type=Path, default=_DISK, metavar="DIR", help=f"disk for the queue ({_DISK})")
    chosen = parser.parse_args(words)
    if min(chosen.domains, chosen.messages, chosen.rounds) <= 0:
        parser.error("--domains, --messages and --rounds must be above 0")
    return chosen


def _run(options: argparse.Namespace) -> int:
    install.debian("postfix", "smtp-sink")
    with machine.scratch(options.work) as directory:
        relays = tuple(against.relays(options, interpreter.choose(options.python), directory))
        print("\n".join([*machine.look(directory).lines(), *(relay.version() for relay in relays)]))
        setting = Setting(directory, tls_submit.make_certificate(directory), options.messages, relays)
        if options.only != "dead":
            _many(setting, options.domains, options.rounds)
        if options.only != "many":
            _dead(setting, options.rounds)
        return 0


def _many(setting: Setting, domains: int, rounds: int) -> None:
    relays = [Arm(relay, relay.name) for relay in setting.relays]
    relays.insert(1, Arm(setting.relays[0], "the same, `mta_sts=false dane=false`", _WITHOUT_POLICIES))
    arms = {(arm.name, count): (arm, list[Figure]()) for arm, count in itertools.product(relays, (1, domains))}
    for turn in range(rounds):
        for (_, count), (arm, figures) in list(arms.items())[:: -1 if turn % 2 else 1]:
            figures.append(_measure(setting, arm, _names(count), dead=0, death=None))
    print("\n| relay | destinations | messages/s | of one | MiB |\n|---|---:|---:|---:|---:|")
    for (name, count), (_, figures) in arms.items():
        one = statistics.median(figure.rate for figure in arms[name, 1][1])
        rate = statistics.median(figure.rate for figure in figures)
        memory = max(figure.memory for figure in figures) / 2**20
        print(f"| {name} | {count:,} | {rate:,.0f} | {rate / one:.0%} | {memory:.0f} |")


def _dead(setting: Setting, rounds: int) -> None:
    """Each with its own runs without the dead one, taken in turn: the machine drifts, their ratio much less."""
    title = f"relay | one dead among {_LIVE + 1} | others/s without it | others/s with it | kept"
    print(f"\n| {title} |\n|---|---|---:|---:|---:|")
    for death, relay in itertools.product(_DEATHS, setting.relays):
        arms: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(rounds):
            for with_it in sorted(arms, reverse=bool(turn % 2)):
                share = setting.messages // _LIVE if with_it else 0
                measured = _measure(
                    setting, Arm(relay, relay.name), _names(_LIVE), dead=share, death=death if with_it else None
                )
                arms[with_it].append(measured.rate)
        without, kept = statistics.median(arms[False]), statistics.median(arms[True])
        print(f"| {relay.name} | {death} | {without:,.0f} | {kept:,.0f} | {kept / without:.1%} |", flush=True)


def _names(count: int) -> list[str]:
    return [f"d{number}.test" for number in range(count)]


def _measure(setting: Setting, arm: Arm, domains: Sequence[str], *, dead: int, death: str | None) -> Figure:
    """The rate to `domains` while `dead` messages for a dead one are spread among theirs."""
    directory = setting.directory / "mailboat"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    dns, port = process.free_port(), process.free_port()
    outbound = f"dns_servers=127.0.0.1:{dns}\nmx_port={port}\n"
    place = Place(directory, process.free_port(), port, setting.certificate, {})
    with (
        load.smtp_sink(port=port) as sink,
        _grave(death, port),
        _dns(dns, directory),
        _running(arm, place, outbound) as root,
    ):
        _drive(place.port, itertools.repeat("recipient@warm.test", _WARM_UP), sink, _WARM_UP)
        recipients = _recipients(domains, setting.messages, dead)
        with process.watch_memory(root) as watched:
            took = _drive(place.port, recipients, sink, setting.messages)
    return Figure(setting.messages / took, watched.peak)


def _drive(port: int, recipients: Iterator[str], sink: Sink, arriving: int) -> float:
    """Seconds from the first connection until `arriving` messages have come to the sink."""
    before, began = sink.count(), time.monotonic()
    uvloop.run(generator.send(port, recipients, sessions=_SESSIONS, size=_SIZE))
    sink.wait(before + arriving, _PATIENCE)
    return time.monotonic() - began


def _recipients(domains: Sequence[str], live: int, dead: int) -> Iterator[str]:
    """`live` addresses, the domains in turn, with `dead` ones of the dead domain evenly among them."""
    every = live // dead if dead else live + 1
    for number, domain in enumerate(itertools.islice(itertools.cycle(domains), live), 1):
        yield f"recipient@{domain}"
        if number % every == 0:
            yield f"recipient@{_DEAD}.test"


@contextlib.contextmanager
def _dns(port: int, directory: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.dns_server", str(port), f"{_DEAD}={_DEAD_ADDRESS}"]
    service = process.start("the DNS server", command, directory / "dns.log")
    try:
        yield
    finally:
        service.stop()


@contextlib.contextmanager
def _running(arm: Arm, place: Place, outbound: str) -> Iterator[int]:
    service = arm.relay.start(place, outbound, arm.files)
    try:
        process.wait_for_greeting(service, place.port)
        yield service.pid
    except BenchError as error:
        raise BenchError(f"{error}\n--- the relay's log ends:\n{service.tail()}") from error
    finally:
        arm.relay.stop(place, service)


@contextlib.contextmanager
def _grave(death: str | None, port: int) -> Iterator[None]:
    """The dead destination: a closed port, a server that never replies, or an address that drops SYNs."""
    with contextlib.ExitStack() as stack:
        if death == "silent":
            stack.enter_context(socket.create_server((_DEAD_ADDRESS, port), backlog=4096))
        elif death == "unreachable":
            stack.enter_context(socket.create_server((_DEAD_ADDRESS, port), backlog=0))
            for _ in range(3):  # a full backlog: Linux drops further SYNs without an answer
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex((_DEAD_ADDRESS, port))
        yield

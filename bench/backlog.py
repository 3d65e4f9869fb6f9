"""`bench/backlog`: a million deferred messages in one worker of a whole relay, held against the limits for them.

Fills a queue, then starts `mailboat relay` with one worker on it and on an empty one in turns: how soon it attempts
something, what memory it takes, what acceptance loses. docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import against, generator, install, interpreter, load, long_queue, machine, process, tls_submit
from bench.fault import BenchError, exit_status
from bench.load import Sink
from bench.process import Service
from bench.relays.mailboat import Mailboat
from bench.relays.relay import Place
from bench.tls_submit import Certificate

FIRST_ATTEMPT_MAX = 5.0
"""Seconds from the start of the process to its first delivery attempt."""
MEMORY_MAX = 300 * 2**20
"""Octets resident in a worker."""
ACCEPTANCE_MIN = 0.8
"""Share of the rate with an empty queue."""
_DISK = Path("/var/tmp")
_SIZE = 4096
_SESSIONS = 20
_WARM_UP = 1000
_PATIENCE = 60.0
_POLL = 0.005
_CALM = 0.5
"""Seconds over which the sink must take next to nothing before acceptance is measured."""
_NEXT_TO_NOTHING = 30
"""Messages; a million spread over a day makes 6 in that time."""
_ATTEMPT = re.compile(rb'"event":"attempt"')


@dataclass(frozen=True, slots=True)
class Setting:
    """What all measurements of one run share."""

    directory: Path
    certificate: Certificate
    new: int
    """Messages sent for each acceptance rate."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One start of the relay on one queue."""

    first_attempt: float | None
    """Seconds from the start of the process until its event log shows an attempt; None with nothing due."""
    memory: int
    """Most octets resident in the process, over its whole life."""
    accepted: float
    """Messages a second, until the last was answered 250."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure and its limit, as the table shows them."""

    title: str
    empty: str
    full: str
    limit: str
    kept: bool


def main(words: Sequence[str]) -> int:
    """Prints the table; 0 when every limit is kept, 1 when one is missed, 2 when nothing could be measured."""
    options = _arguments(words)
    return exit_status(lambda: _run(options))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/backlog", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N", help="deferred messages (1,000,000)")
    parser.add_argument("--new", type=int, default=15_000, metavar="N", help="messages sent a measurement (15,000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="the rates are their median (3)")
    interpreter.add_option(parser)
    against.add_option(parser)
    parser.add_argument("--work", type=Path, default=_DISK, metavar="DIR", help=f"disk for the queues ({_DISK})")
    chosen = parser.parse_args(words)
    if min(chosen.messages, chosen.new, chosen.rounds) <= 0:
        parser.error("--messages, --new and --rounds must be above 0")
    return chosen


def _run(options: argparse.Namespace) -> int:
    install.debian("postfix", "smtp-sink")
    with machine.scratch(options.work) as directory:
        relays = against.relays(options, interpreter.choose(options.python), directory, nodes="1")
        print("\n".join([*machine.look(directory).lines(), *(relay.version() for relay in relays)]))
        setting = Setting(directory, tls_submit.make_certificate(directory), options.new)
        began = time.monotonic()
        for relay in relays:
            octets = relay.fill(_queue(setting, relay, "full"), options.messages, due=0)
            took = time.monotonic() - began
            _say(f"{relay.name}: {options.messages:,} deferred messages in {took:.0f} s: {octets / 2**30:.2f} GiB")
            began += took
        arms = list(itertools.product(relays, ("empty", "full")))
        trials: dict[tuple[Mailboat, str], list[Trial]] = {arm: [] for arm in arms}
        for turn in range(options.rounds):
            for relay, name in arms[::-1] if turn % 2 else arms:
                trials[relay, name].append(_measure(setting, relay, name))
                _say(f"{turn + 1}/{options.rounds} {relay.name} {name:5} {trials[relay, name][-1]}")
        for relay in reversed(relays):  # this checkout's last: its limits decide the exit status
            lines = judge(trials[relay, "empty"], trials[relay, "full"])
            title = f"{relay.name}: {options.messages:,} deferred messages, one worker"
            print("\n".join(["", title, "", *table(lines)]))
        return 0 if all(line.kept for line in lines) else 1


def judge(empty: Sequence[Trial], full: Sequence[Trial]) -> list[Line]:
    """The figures beside their limits: the worst start and memory of all rounds, the median of the rates."""
    start = max(trial.first_attempt for trial in full if trial.first_attempt is not None)
    few, many = (max(trial.memory for trial in trials) for trials in (empty, full))
    usual, burdened = (statistics.median(trial.accepted for trial in trials) for trials in (empty, full))
    share = burdened / usual
    kept = f"{burdened:,.0f}/s ({share:.0%})"
    return [
        Line("start to first attempt, worst", "-", f"{start:.2f} s", "under 5 s", start < FIRST_ATTEMPT_MAX),
        Line("resident memory, most", _mib(few), _mib(many), "under 300 MiB", many < MEMORY_MAX),
        Line("accepted, median", f"{usual:,.0f}/s", kept, "at least 80 %", share >= ACCEPTANCE_MIN),
    ]


def _mib(octets: int) -> str:
    return f"{octets / 2**20:.0f} MiB"


def table(lines: Sequence[Line]) -> Iterator[str]:
    """The lines as Markdown."""
    yield "| | empty queue | full queue | limit | |\n|---|---:|---:|---:|---|"
    for line in lines:
        yield f"| {line.title} | {line.empty} | {line.full} | {line.limit} | {'kept' if line.kept else 'MISSED'} |"


def _measure(setting: Setting, relay: Mailboat, name: str) -> Trial:
    """Starts the relay on one of the two queues, cold, waits until what was due is gone, and sends new mail."""
    if name == "empty":
        shutil.rmtree(_queue(setting, relay, name).parent)
    queue = _queue(setting, relay, name)
    if name == "full":
        relay.fill(queue, long_queue.DUE, long_queue.DUE)  # those of the last time have been delivered
    log = queue.parent / "log"
    log.unlink(missing_ok=True)
    long_queue.forget(queue)
    with load.smtp_sink() as sink:
        place = Place(queue.parent, process.free_port(), sink.port, setting.certificate, {})
        began = time.monotonic()
        with _running(relay, place) as service:
            attempted = _first_attempt(service) - began if name == "full" else None
            process.wait_for_greeting(service, place.port)
            _calm(sink)
            _send(place.port, _WARM_UP, sink)
            accepted = _send(place.port, setting.new, sink)
            return Trial(attempted, process.peak_resident(service.pid), accepted)


def _queue(setting: Setting, relay: Mailboat, name: str) -> Path:
    """Each relay has its own: the format of the queue may be another."""
    queue = setting.directory / "-".join([name, *relay.name.split()]) / "queue"
    queue.mkdir(parents=True, exist_ok=True)
    return queue


@contextlib.contextmanager
def _running(relay: Mailboat, place: Place) -> Iterator[Service]:
    service = relay.start(place)
    try:
        yield service
    except BenchError as error:
        raise BenchError(f"{error}\n--- the relay's log ends:\n{service.tail()}") from error
    finally:
        relay.stop(place, service)


def _first_attempt(service: Service) -> float:
    """The moment at which the event log shows an attempt, by the monotonic clock."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and service.process.poll() is None:
        if _ATTEMPT.search(service.log.read_bytes()):
            return time.monotonic()
        time.sleep(_POLL)
    raise BenchError(f"no delivery attempt within {_PATIENCE:.0f} s: {service.process.poll()}")


def _calm(sink: Sink) -> None:
    """Returns once all mail that was due at the start has been delivered."""
    deadline, before = time.monotonic() + _PATIENCE, sink.count()
    while time.monotonic() < deadline:
        time.sleep(_CALM)
        now = sink.count()
        if now - before < _NEXT_TO_NOTHING:
            return
        before = now
    raise BenchError(f"the sink has not come to rest after {_PATIENCE:.0f} s")


def _send(port: int, messages: int, sink: Sink) -> float:
    """Messages a second that the relay accepts; returns when they have been delivered too."""
    recipients = (f"recipient@d{number % long_queue.DOMAINS}.test" for number in itertools.count())
    before, began = sink.count(), time.monotonic()
    uvloop.run(generator.send(port, itertools.islice(recipients, messages), sessions=_SESSIONS, size=_SIZE))
    took = time.monotonic() - began
    sink.wait(before + messages, _PATIENCE)
    return messages / took


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

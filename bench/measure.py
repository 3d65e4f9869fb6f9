"""One measurement: one relay, freshly started with an empty queue, under one load.

Called by `bench.compare`. Relays are only known through `bench.relays.relay.Relay`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, process, slowsync, tls_submit
from bench.fault import BenchError
from bench.load import Load, Run, Sink
from bench.relays.relay import Place, Relay
from bench.slowsync import SlowSync
from bench.tls_submit import Certificate

WIRE = "wire"
"""The name of the measurement without a relay: source straight to sink."""
_FIRST = 300
"""Messages of the first warm-up: enough to start every process and cache."""
_SECOND = 1.0
"""Seconds that the second warm-up should take; its rate sets the size of the measurement."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one relay did in one row of one round."""

    messages: int
    rate: float
    """Messages a second, from the first connection until the sink has the last."""
    accepted: float
    """Messages a second, until the last was answered 250."""
    cpu: float
    """CPU seconds a message, whole box: source, tunnels, relay, sink, kernel."""
    memory: int
    """Most octets (PSS) of all processes of the relay."""
    syncs: float | None
    """fsync and fdatasync calls a message, where they were counted."""
    surplus: int
    """Messages that arrived twice."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements of one run share."""

    directory: Path
    certificate: Certificate
    seconds: float
    """How long a measurement should take."""
    delay: float
    """Seconds added to a sync on the slow disk."""
    keys: Mapping[str, Path] = field(default_factory=dict)
    """A DKIM key of each algorithm."""


@dataclass(frozen=True, slots=True)
class _Path:
    """The way of a message: ports on 127.0.0.1, and the sink at its end."""

    submit: int
    relay: int
    sink: Sink


def measure(
    bench: Bench, relay: Relay | None, wanted: Load, *, tls: bool, slow: bool, dkim: Sequence[str] = ()
) -> Cell:
    """Measures `relay`, or the bare wire when it is None; raises BenchError when a message does not arrive.

    `dkim` are the algorithms of the keys with which the relay signs all messages.
    """
    with _directory(bench, relay) as directory:
        shim = slowsync.build(directory, bench.delay) if slow and relay else None
        with _path(directory, bench.certificate, relay=relay is not None, tls=tls) as path:
            if relay is None:
                return _load(bench, wanted, path, root=None, shim=None)
            preload = shim.environment() if shim else {}
            keys = [bench.keys[algorithm] for algorithm in dkim]
            place = Place(directory, path.relay, path.sink.port, bench.certificate, preload, keys)
            with _running(relay, place) as root:
                return _load(bench, wanted, path, root, shim)


def handed_on(bench: Bench, relay: Relay, dkim: Sequence[str]) -> bytes:
    """One message as the sink gets it from `relay`, which signs with keys of these algorithms."""
    with _directory(bench, relay) as directory:
        taken = directory / "taken"
        taken.mkdir()
        taken.chmod(0o777)  # the sink is another user
        with load.smtp_sink(dump=taken / "mail") as sink:
            keys = [bench.keys[algorithm] for algorithm in dkim]
            place = Place(directory, process.free_port(), sink.port, bench.certificate, {}, keys)
            with _running(relay, place):
                load.drive(Load(1, reuse=False, size=1024), 1, place.port, sink)
        return (taken / "mail").read_bytes()


@contextmanager
def _directory(bench: Bench, relay: Relay | None) -> Iterator[Path]:
    """An empty one, which other users may enter."""
    directory = bench.directory / (relay.name if relay else WIRE)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _path(directory: Path, certificate: Certificate, *, relay: bool, tls: bool) -> Iterator[_Path]:
    """Opens the way from source to sink, with a gap for a relay or without."""
    with load.tls_sink(certificate) if tls else load.smtp_sink() as sink:
        listen = process.free_port() if relay else sink.port
        if not tls:
            yield _Path(listen, listen, sink)
            return
        opened = tls_submit.open_tunnel(directory, listen)
        try:
            yield _Path(opened.port, listen, sink)
        finally:
            opened.service.stop()


@contextmanager
def _running(relay: Relay, place: Place) -> Iterator[int]:
    """A started relay that greets; yields the root of its processes."""
    service = relay.start(place)
    try:
        process.wait_for_greeting(service, place.port)
        yield service.pid
    except BenchError as error:
        raise BenchError(f"{relay.name}: {error}\n--- its log ends:\n{service.tail()}") from error
    finally:
        relay.stop(place, service)


def _load(bench: Bench, wanted: Load, path: _Path, root: int | None, shim: SlowSync | None) -> Cell:
    """Warms up twice, then measures for about the wanted time."""
    rate = _rate(load.drive(wanted, _FIRST, path.submit, path.sink))
    rate = _rate(load.drive(wanted, max(_FIRST, round(rate * _SECOND)), path.submit, path.sink))
    messages = max(_FIRST, round(rate * bench.seconds))
    syncs, cpu = shim.read() if shim else None, process.box_cpu()
    if root is None:
        run, peak = load.drive(wanted, messages, path.submit, path.sink), 0
    else:
        with process.watch_memory(root) as watched:
            run = load.drive(wanted, messages, path.submit, path.sink)
        peak = watched.peak
    spent = process.box_cpu() - cpu
    counted = shim.since(syncs).count / messages if shim and syncs else None
    return Cell(messages, _rate(run), messages / run.accepted_after, spent / messages, peak, counted, run.surplus)


def _rate(run: Run) -> float:
    return run.messages / run.delivered_after

"""The two ends of a benchmark: Postfix's `smtp-source` submits, Postfix's `smtp-sink` takes delivery and counts.

With TLS the sink is `bench.tls_sink`. Knows nothing of the relay between them. Called by `bench.measure` and
`bench.destinations`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench import process
from bench.fault import BenchError
from bench.tls_submit import Certificate

SENDER = "sender@bench.test"
RECIPIENT = "recipient@bench.test"
_COUNTER = re.compile(rb"mesg=(\d+)")
_COUNTER_LINE = 64
"""More than one of the sink's counter lines, in octets."""
_POLL = 0.02
_SOURCE_TIMEOUT = 600.0
_USER = "nobody"
_SINK_SESSIONS, _SINK_BACKLOG = "5000", "4096"


@dataclass(frozen=True, slots=True)
class Load:
    """The load that `smtp-source` sends."""

    sessions: int
    reuse: bool
    """All messages of a session over one connection (`-d`), or a connection a message."""
    size: int
    """Octets of body."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one load did; times are seconds from its start."""

    messages: int
    accepted_after: float
    delivered_after: float
    surplus: int
    """Messages that arrived beyond those sent: duplicates."""


class Sink:
    """A running sink that prints counters as `smtp-sink -c` does; a context manager.

    The counters go to a memory file, of which only the end is ever read: no pipe to keep empty.
    """

    def __init__(self, port: int, command: Sequence[str]) -> None:
        self.port = port
        self._command = command
        self._counters = os.memfd_create("sink")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sink:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._counters,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        process.wait_for_port(self._process, "the sink", self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        os.close(self._counters)

    def count(self) -> int:
        """Messages taken so far; raises BenchError when the sink has ended."""
        size = os.fstat(self._counters).st_size
        end = os.pread(self._counters, _COUNTER_LINE, max(0, size - _COUNTER_LINE))
        if self._process is not None and self._process.poll() is not None:
            raise BenchError(f"the sink ended ({self._process.returncode}): {end.decode(errors='replace')}")
        found: list[bytes] = _COUNTER.findall(end.rpartition(b"\r")[0])
        return int(found[-1]) if found else 0

    def wait(self, count: int, patience: float) -> None:
        """Returns once `count` messages are here; raises BenchError after `patience` seconds without a new one."""
        here, moved = self.count(), time.monotonic()
        while here < count:
            time.sleep(_POLL)
            seen = self.count()
            if seen > here:
                here, moved = seen, time.monotonic()
            elif time.monotonic() - moved > patience:
                raise BenchError(
                    f"{count - here} of the messages sent have not arrived after {patience:.0f} s of silence"
                )


def smtp_sink(host: str = "127.0.0.1", port: int = 0, dump: Path | None = None) -> Sink:
    """Postfix's `smtp-sink`, on a free port where none is given. It appends what it takes to `dump`."""
    port = port or process.free_port()
    user = ["-u", _USER] if os.geteuid() == 0 else []  # it refuses to stay root
    kept = ["-D", str(dump)] if dump else []
    return Sink(port, ["smtp-sink", *user, *kept, "-c", "-m", _SINK_SESSIONS, f"{host}:{port}", _SINK_BACKLOG])


def tls_sink(certificate: Certificate) -> Sink:
    """Our own, which demands STARTTLS."""
    port = process.free_port()
    command = [sys.executable, "-m", "bench.tls_sink", str(port), str(certificate.cert), str(certificate.key)]
    return Sink(port, command)


def submit(load: Load, messages: int, port: int) -> None:
    """Sends `messages` and returns when the last one was answered 250; raises BenchError on any other answer."""
    command = ["smtp-source", *(["-d"] if load.reuse else []), "-s", str(load.sessions), "-m", str(messages)]
    command += ["-l", str(load.size), "-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{port}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SOURCE_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"smtp-source has not got rid of its mail after {_SOURCE_TIMEOUT:.0f} s") from None
    if done.returncode or done.stderr:
        raise BenchError(f"smtp-source: {(done.stderr or done.stdout).strip()[-500:]}")


def drive(load: Load, messages: int, port: int, sink: Sink, patience: float = 30.0) -> Run:
    """Sends `messages` through the relay on `port` and waits until the sink has them all."""
    before, began = sink.count(), time.monotonic()
    submit(load, messages, port)
    accepted = time.monotonic() - began
    sink.wait(before + messages, patience)
    delivered = time.monotonic() - began
    return Run(messages, accepted, delivered, sink.count() - before - messages)

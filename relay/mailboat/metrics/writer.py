"""Writes lines to a file descriptor from a thread, so that no reader of the log can stall the event loop.

A bounded buffer connects loop and thread. If the reader is too slow, lines are lost, and counted; the loop never
waits. Lines go out in writes of at most PIPE_BUF octets, whole lines only: several processes on one pipe do
not cut into each other's lines then (pipe(7)). Used by `events`; knows nothing of what a line says.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Iterator

_LINGER = 0.02
"""Seconds that lines are gathered before the thread writes: a wake-up a line would cost more than the line."""


class LineWriter:
    """A bounded buffer and the thread that empties it."""

    def __init__(self, fd: int = 1, limit: int = 8 * 2**20) -> None:
        """`fd` stays open; `limit`: octets that may wait for the reader."""
        self._fd = fd
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._put = 0
        self._taken = 0
        self._refused = 0
        self._failed = 0
        self._awake = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        # A daemon: a reader that is stuck for ever must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that are lost: the buffer was full, or writing failed."""
        return self._refused + self._failed

    def put(self, line: bytes) -> bool:
        """Have a line (with its line feed) written soon; False when it was lost. Never blocks. One thread only."""
        size = len(line)
        # Each of these counters has one writer, so no lock is needed to compare them.
        if self._put - self._taken + size > self._limit or self._closing.is_set():
            self._refused += 1
            return False
        self._put += size
        self._lines.append(line)
        if not self._awake:
            self._awake = True
            self._wake.set()
        return True

    def close(self, timeout: float = 2.0) -> bool:
        """Write what is there, for at most `timeout` seconds; whether all went out."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive() and not self._lines

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_LINGER)
            self._wake.clear()
            # Before emptying, not after: a line that comes in between is either seen now or wakes us again.
            self._awake = False
            self._drain()
        self._drain()

    def _drain(self) -> None:
        for batch, lines in self._batches():
            try:
                self._write(batch)
            except OSError:
                self._failed += lines
            self._taken += len(batch)

    def _batches(self) -> Iterator[tuple[bytes, int]]:
        """What is waiting, as pieces of whole lines that one write can carry."""
        batch: list[bytes] = []
        size = 0
        while self._lines:
            line = self._lines.popleft()
            if batch and size + len(line) > select.PIPE_BUF:
                yield b"".join(batch), len(batch)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            yield b"".join(batch), len(batch)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                # The descriptor was made non-blocking; it is shared with the parent process.
                select.select([], [self._fd], [])

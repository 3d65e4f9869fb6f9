"""Threads for sync hooks: they never run on the event loop, and a hop to a thread is shared by as many as possible.

The jobs of one turn of the event loop wake one thread, which works off whatever has come by then; finished jobs wake
the event loop once, however many they are. More threads are woken when jobs wait: some hooks block. A thread whose
hook never comes back is given up by `chain` and replaced.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol

MAX_THREADS = 32
"""Threads at once, those not counted that were given up."""
PATIENCE = 0.003
"""Seconds that jobs wait before more threads are woken."""


class Job(Protocol):
    """Hooks that are called one after the other in one thread."""

    def work(self, thread: Thread) -> None:
        """Call them; in the thread."""

    def finished(self) -> None:
        """Hear of it; on the event loop."""


class Thread:
    """One thread of the pool. Daemonic: one that hangs for ever does not keep the process."""

    def __init__(self, pool: Threads) -> None:
        self._pool = pool
        self.given_up: Callable[[], None] | None = None
        """To be called on the event loop when it comes back after all; None: it is not missed."""
        threading.Thread(target=self._run, name="hook", daemon=True).start()

    def _run(self) -> None:
        pool = self._pool
        while pool.wait():
            while (job := pool.next_job()) is not None:
                job.work(self)
                pool.done(job)
                if self.given_up is not None:
                    pool.tell(self.given_up)
                    return


class Threads:
    """The pool of one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: deque[Job] = deque()
        self._done: deque[Job] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[Thread] = set()
        self._active = 0
        """Threads that look for jobs, or have been sent to."""
        self._flushing = False
        self._watching = False
        self._woken = False
        """The event loop has been told that jobs are done, and has not looked yet."""

    # On the event loop.

    def submit(self, job: Job) -> None:
        """Have a job done."""
        self._jobs.append(job)
        if not self._flushing:
            self._flushing = True
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)

    def give_up(self, thread: Thread, back: Callable[[], None]) -> None:
        """Its hook does not come back: another thread may take its place. `back` is called should it return."""
        thread.given_up = back
        with self._lock:
            self._threads.discard(thread)
            self._active -= 1
        self._wake(1)

    def close(self) -> None:
        """End the threads as they become idle."""
        for _ in self._threads:
            self._tokens.put(False)

    def _flush(self) -> None:
        self._flushing = False
        if not self._active:
            self._wake(1)
        if not self._watching and self._loop is not None:
            self._watching = True
            self._loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        """Jobs that wait by now wait for threads that are stuck in hooks: as many more may help."""
        self._watching = False
        if self._jobs and self._loop is not None:
            self._wake(max(1, self._active))
            self._watching = True
            self._loop.call_later(PATIENCE, self._look)

    def _wake(self, count: int) -> None:
        """Send so many threads to work, and no more than there are jobs."""
        for _ in range(min(count, len(self._jobs))):
            with self._lock:
                if self._active >= len(self._threads) and not self._grow():
                    return
                self._active += 1
            self._tokens.put(True)

    def _grow(self) -> bool:
        if len(self._threads) >= MAX_THREADS:
            return False
        try:
            self._threads.add(Thread(self))
        except RuntimeError:  # the system has no more of them; those that are here go on
            return False
        return True

    def _drain(self) -> None:
        """Tell of all that is done."""
        self._woken = False  # before looking: what is done from now on wakes again
        done = self._done
        while done:
            done.popleft().finished()

    # In a thread.

    def wait(self) -> bool:
        """Wait to be needed; False to end."""
        return self._tokens.get()

    def next_job(self) -> Job | None:
        """What to do next; None to wait."""
        while True:
            try:
                return self._jobs.popleft()
            except IndexError:
                pass
            with self._lock:
                # A job that came after the look above has either been seen here, or its `_flush` sees this.
                if not self._jobs:
                    self._active -= 1
                    return None

    def done(self, job: Job) -> None:
        """A job is done."""
        self._done.append(job)
        if not self._woken:
            self._woken = True
            self.tell(self._drain)

    def tell(self, callback: Callable[[], None]) -> None:
        """Have something called on the event loop."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know
                self._loop.call_soon_threadsafe(callback)

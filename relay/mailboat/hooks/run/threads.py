"""Threads for sync hooks: they never run on the event loop, and as many as possible share one wake-up of a thread.

The jobs of one turn of the event loop wake one thread, which works off whatever has come by then; finished jobs wake
the event loop once, however many they are. More threads are woken when jobs wait: some hooks block. A thread whose
hook never comes back is given up by `watch` and replaced.

Most hooks take microseconds, less than it costs to wake the event loop again. So it blocks for `YIELD_MS` at most, and
the thread has the interpreter to itself; where that was not enough, it does not do so the next few times (`_backoff`).
What both wait for are pipes: Linux lets the reader of one run where the writer is about to sleep, which the
locks below `queue` and `threading` do not get, and a wake-up on another CPU costs more than all hooks of a message.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

log = logging.getLogger(__name__)

MAX_THREADS = 32
"""Threads at once, those not counted that were given up."""
BATCH_TURNS = 32
"""Turns of the event loop that jobs wait at most for others to share a wake-up with; each takes microseconds."""
IDLE_TURNS = 3
"""Turns without another job after which a thread is woken."""
YIELD_MS = 1
"""Milliseconds that the event loop blocks at most."""
BACKOFF_MAX = 1000
"""Flushes without blocking after it was in vain, at most; 1, 3, 7, … until then."""
RECHECK_S = 0.003
"""Seconds that jobs wait before more threads are woken."""


class Job(Protocol):
    """Hooks that are called one after the other in one thread."""

    def work(self, thread: Thread) -> None:
        """Call them; in the thread."""

    def finished(self) -> None:
        """Hear of it; on the event loop."""


class _Pipe:
    """Octets for those who wait, one each."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._poll = select.poll()  # `select` knows only the first 1,024 descriptors
        self._poll.register(self._reader, select.POLLIN)

    def __del__(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def put(self, octet: bytes) -> None:
        """Wake one who waits."""
        os.write(self._writer, octet)

    def get(self) -> bytes:
        """Wait for one."""
        return os.read(self._reader, 1)

    def wait(self, milliseconds: int) -> None:
        """Wait until there is one, and leave it there."""
        self._poll.poll(milliseconds)


_WORK, _END = b"w", b"e"


class Thread:
    """One thread of the pool. Daemonic: one that hangs does not keep the process alive."""

    def __init__(self, pool: Threads) -> None:
        self._pool = pool
        self.job: Job | None = None
        """What it is at; changed and read under the pool's lock."""
        self.given_up: Callable[[], None] | None = None
        """To be called on the event loop when it returns after all; None: it was not given up."""
        threading.Thread(target=self._run, name="hook", daemon=True).start()

    def _run(self) -> None:
        pool = self._pool
        while pool.tokens.get() == _WORK:
            while (job := pool.next_job(self)) is not None:
                try:
                    job.work(self)
                except BaseException:  # a fault of ours must not stop the thread
                    log.exception("a job in a hook thread failed")
                pool.done(job, self)
                if self.given_up is not None:
                    pool.tell(self.given_up)
                    return


class Threads:
    """The pool of one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: deque[Job] = deque()
        self._done: deque[Job] = deque()
        self.tokens: _Pipe
        """What threads wait for: one octet wakes one of them, to work or to end."""
        self._lock = threading.Lock()
        self._threads: set[Thread] = set()
        self._active = 0
        """Threads that look for jobs, or were woken to."""
        self._flushing = False
        self._submitted = False
        """A job has come in this turn of the event loop."""
        self._rechecking = False
        self._woken = False
        """The event loop was woken because jobs are done, and has not looked yet."""
        self._yielding = False
        """The event loop is blocked in `_yield_to_thread`: it looks afterwards anyway."""
        self._all_done: _Pipe
        """Ends that: all jobs are done."""
        self._is_open = False
        self._skips, self._backoff = 0, 0
        """Flushes to go without blocking, and how many were set the last time."""

    # On the event loop.

    def open(self) -> None:
        """Make the pipes. Else the first job does, which may come when the process has no descriptor left for them."""
        if not self._is_open:
            self.tokens, self._all_done = _Pipe(), _Pipe()
            self._is_open = True

    def submit(self, job: Job) -> None:
        """Have a job done."""
        self._jobs.append(job)
        self._submitted = True
        if not self._flushing:
            if self._loop is None:
                self.open()
                self._loop = asyncio.get_running_loop()
            self._flushing = True
            self._loop.call_soon(self._collect, BATCH_TURNS, IDLE_TURNS)

    def give_up(self, thread: Thread, job: Job, back: Callable[[], None]) -> None:
        """Its hook does not come back: another thread may take its place. `back` is called should it return."""
        with self._lock:
            stuck = thread.job is job
            if stuck:
                thread.given_up = back
                self._threads.discard(thread)
                self._active -= 1
        if stuck:
            self._wake(1)
        else:  # it has come back just now
            back()

    def close(self) -> None:
        """End the threads as they become idle."""
        for _ in self._threads:
            self.tokens.put(_END)

    def _collect(self, turns: int, quiet: int) -> None:
        """Wait for more jobs, until none has come for a while."""
        if self._submitted:
            self._submitted, quiet = False, IDLE_TURNS
        if turns and quiet and self._loop is not None:
            self._loop.call_soon(self._collect, turns - 1, quiet - 1)
        else:
            self._flush()

    def _flush(self) -> None:
        self._flushing = False
        if self._jobs and not self._active:
            if self._skips:
                self._skips -= 1
                self._wake(1)
            elif self._yield_to_thread():
                return
        if not self._rechecking and self._loop is not None:
            self._rechecking = True
            self._loop.call_later(RECHECK_S, self._recheck)

    def _yield_to_thread(self) -> bool:
        """Wake a thread and block until it has done all jobs, `YIELD_MS` at most; whether it has."""
        self._yielding = True  # before waking: it may be done at once
        self._wake(1)
        self._all_done.wait(YIELD_MS)
        with self._lock:
            is_done = not self._yielding
            self._yielding = False  # before looking: what is done from now on wakes the event loop
        if is_done:
            self._all_done.get()
        self._backoff = 0 if is_done else min(2 * self._backoff + 1, BACKOFF_MAX)
        self._skips = self._backoff
        self._drain()
        return is_done

    def _recheck(self) -> None:
        """Jobs that wait by now wait for threads that are stuck in hooks: as many more may help."""
        self._rechecking = False
        if self._jobs and self._loop is not None:
            self._wake(max(1, self._active))
            self._rechecking = True
            self._loop.call_later(RECHECK_S, self._recheck)

    def _wake(self, count: int) -> None:
        """Wake so many threads, and no more than there are jobs."""
        for _ in range(min(count, len(self._jobs))):
            with self._lock:
                if self._active >= len(self._threads) and not self._grow():
                    return
                self._active += 1
            self.tokens.put(_WORK)

    def _grow(self) -> bool:
        if len(self._threads) >= MAX_THREADS:
            return False
        try:
            self._threads.add(Thread(self))
        except RuntimeError:  # the system has no more of them; those that are here go on
            return False
        return True

    def _drain(self) -> None:
        """Report all that is done."""
        self._woken = False  # before looking: what is done from now on wakes again
        done = self._done
        while done:
            try:
                done.popleft().finished()
            except Exception:  # a fault of one caller must not stop the others
                log.exception("the continuation of a hook failed")

    # In a thread.

    def next_job(self, thread: Thread) -> Job | None:
        """What to do next; None to wait."""
        with self._lock:
            # A job that comes later has a `_flush` that sees what is done here.
            if self._jobs:
                thread.job = self._jobs.popleft()
                return thread.job
            self._active -= 1
            is_done = self._yielding and not self._active
            if is_done:
                self._yielding = False
        if is_done:
            self._all_done.put(_END)
        return None

    def done(self, job: Job, thread: Thread) -> None:
        """A job is done."""
        with self._lock:
            thread.job = None
        self._done.append(job)
        if not self._woken and not self._yielding:
            self._woken = True
            self.tell(self._drain)

    def tell(self, callback: Callable[[], None]) -> None:
        """Have something called on the event loop."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(callback)

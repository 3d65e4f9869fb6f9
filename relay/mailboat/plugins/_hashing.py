"""Password checks in separate threads: as many at once as memory and CPUs allow.

For `auth_flat_file`. In the threads that all sync hooks share, password guessing would block other plugins.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from mailboat.loading.memory import memory_limit

SHARE = 0.25
"""Of the memory limit, for all checks of all workers together."""


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """One check."""

    run: Callable[[], bool]
    memory: int
    """Octets that it takes while it runs; 0: it takes no time either."""


class Hashing:
    """The checks of one worker. Everything but the checks is on the event loop."""

    def __init__(self, workers: int, memory: Callable[[], float] = memory_limit) -> None:
        """`workers` share the machine, which has `memory` octets."""
        self._memory = memory() * SHARE / workers
        self._cpus = max(1, len(os.sched_getaffinity(0)) // workers)
        self._threads = ThreadPoolExecutor(self._cpus, "password")
        self._running = 0
        self._in_use = 0
        """Octets."""
        self._first: deque[tuple[PasswordCheck, asyncio.Future[None]]] = deque()
        self._others: deque[tuple[PasswordCheck, asyncio.Future[None]]] = deque()

    async def run(self, check: PasswordCheck, *, first: bool) -> bool:
        """The result of a check; one with `first` has priority."""
        if not check.memory:
            return check.run()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        (self._first if first else self._others).append((check, turn))
        self._start()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._over(check)
            raise

        def over() -> None:  # also when the answer is not waited for any more: the thread was busy until now
            self._over(check)

        job = self._threads.submit(check.run)
        job.add_done_callback(lambda _: _tell(loop, over))
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Take no more."""
        self._threads.shutdown(wait=False)

    def _start(self) -> None:
        """Start waiting checks in order, as far as there is room."""
        while queue := self._first or self._others:
            check, turn = queue[0]
            if not turn.done():
                if not self._has_room(check):
                    return
                self._running += 1
                self._in_use += check.memory
                turn.set_result(None)
            queue.popleft()

    def _has_room(self, check: PasswordCheck) -> bool:
        """One check is always allowed, so that a costly hash or a low limit does not block all clients."""
        return not self._running or (self._running < self._cpus and self._in_use + check.memory <= self._memory)

    def _over(self, check: PasswordCheck) -> None:
        self._running -= 1
        self._in_use -= check.memory
        self._start()


def _tell(loop: asyncio.AbstractEventLoop, over: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: the relay has ended
        loop.call_soon_threadsafe(over)

"""A queue of keys: each waits once, runs once at a time, and comes again later when it failed or asked to.

The same promises as controller-runtime's. Knows no Kubernetes; `app` gives it the function to run.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from mailboat_operator.metrics import CONTROLLER, Metrics

log = logging.getLogger(__name__)

WORKERS = 16
FIRST_DELAY = 0.1
"""Seconds before the first further try; each one after it waits twice as long."""
LONGEST_DELAY = 60.0

_Key = TypeVar("_Key", bound=Hashable)


class RetryAfter(Exception):  # noqa: N818 - it says what to do
    """Raised by a run that failed in an expected way: again, after at least this many seconds."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class WorkQueue(Generic[_Key]):
    """Runs `work(key)` for keys that were added. `work` returns seconds after which to run again, or None."""

    def __init__(
        self,
        work: Callable[[_Key], Awaitable[float | None]],
        metrics: Metrics,
        workers: int = WORKERS,
        controller: str = CONTROLLER,
    ) -> None:
        """`controller` is the name of the queue in its metrics."""
        self._work = work
        self._controller = controller
        self._workers = workers
        self._metrics = metrics
        self._waiting: dict[_Key, float] = {}
        """Keys in the order in which they were added, each with when."""
        self._running: dict[_Key, float] = {}
        self._again: set[_Key] = set()
        """Added while they ran."""
        self._later: dict[_Key, asyncio.TimerHandle] = {}
        self._failures: dict[_Key, int] = {}
        self._ready = asyncio.Semaphore(0)
        """Counts what waits."""
        metrics.depth.labels(controller).set_function(lambda: len(self._waiting))
        metrics.longest.labels(controller).set_function(self.longest_running)
        metrics.active.labels(controller).set_function(lambda: len(self._running))
        metrics.workers.labels(controller).set(workers)

    def add(self, key: _Key) -> None:
        """Run it as soon as there is a worker; once, however often it is added before that."""
        self._cancel(key)
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._metrics.adds.labels(self._controller).inc()
            self._waiting[key] = asyncio.get_running_loop().time()
            self._ready.release()

    def add_later(self, key: _Key, seconds: float) -> None:
        """Run it by then; a run before that replaces this one."""
        loop = asyncio.get_running_loop()
        known = self._later.get(key)
        if known is None or known.when() > loop.time() + seconds:
            self._cancel(key)
            self._later[key] = loop.call_later(seconds, self.add, key)

    def hurry(self) -> None:
        """What failed is tried again at once: its cause is over."""
        for key in [key for key in self._failures if key in self._later]:
            self.add(key)

    def longest_running(self) -> float:
        """Seconds that the oldest run under way has taken so far."""
        if not self._running:
            return 0.0
        return asyncio.get_running_loop().time() - min(self._running.values())

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self._running

    async def run(self) -> None:
        """Work until cancelled; runs under way are then given up at their next await."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._next()
            try:
                await self._run(key)
            finally:
                del self._running[key]
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _next(self) -> _Key:
        await self._ready.acquire()
        key = next(iter(self._waiting))
        now = asyncio.get_running_loop().time()
        self._metrics.queued.labels(self._controller).observe(now - self._waiting.pop(key))
        self._running[key] = now
        return key

    async def _run(self, key: _Key) -> None:
        started = asyncio.get_running_loop().time()
        result = "error"
        try:
            again = await self._work(key)
            result = "success" if again is None else "requeue_after"
        except RetryAfter as error:
            log.warning("%s: %s", key, error)
            again = self._failed(key, error.seconds)
        except Exception:
            log.exception("%s: reconciling failed", key)
            again = self._failed(key)
        else:
            self._failures.pop(key, None)
        if again is not None:
            self.add_later(key, again)
        self._metrics.duration.labels(self._controller).observe(asyncio.get_running_loop().time() - started)
        self._metrics.reconciles.labels(self._controller, result).inc()

    def _failed(self, key: _Key, at_least: float = 0.0) -> float:
        """Seconds to wait after a failure."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self._metrics.errors.labels(self._controller).inc()
        self._metrics.retries.labels(self._controller).inc()
        delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 20), LONGEST_DELAY)
        # Not all at once, when many failed together.
        return float(max(delay, at_least) * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    def _cancel(self, key: _Key) -> None:
        timer = self._later.pop(key, None)
        if timer is not None:
            timer.cancel()

"""The queue of keys: once each, one at a time, and again when it failed or asked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from mailboat_operator.metrics import Metrics
from mailboat_operator.workqueue import RetryAfter, WorkQueue

PATIENCE = 20.0


class Work:
    """Runs are counted; each waits until it may go on, and answers what it was told to."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.at_once: dict[str, int] = {}
        self.most_at_once = 0
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.answers: dict[str, list[float | Exception | None]] = {}
        self.changed = asyncio.Event()

    async def __call__(self, key: str) -> float | None:
        self.runs.append(key)
        self.at_once[key] = self.at_once.get(key, 0) + 1
        self.most_at_once = max(self.most_at_once, self.at_once[key])
        self.changed.set()
        await self.may_go.wait()
        self.at_once[key] -= 1
        self.changed.set()
        answer = self.answers[key].pop(0) if self.answers.get(key) else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def until(self, good: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not good():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def running(workers: int = 4) -> AsyncIterator[tuple[WorkQueue[str], Work, Metrics]]:
    work, metrics = Work(), Metrics()
    queue: WorkQueue[str] = WorkQueue(work, metrics, workers)
    task = asyncio.create_task(queue.run())
    try:
        yield queue, work, metrics
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_key_runs_once_however_often_it_was_added() -> None:
    async with running() as (queue, work, _):
        for _ in range(5):
            queue.add("a")
        await work.until(lambda: work.runs == ["a"] and queue.idle)


async def test_what_is_added_while_it_runs_runs_once_more_and_never_beside_itself() -> None:
    async with running() as (queue, work, _):
        work.may_go.clear()
        queue.add("a")
        await work.until(lambda: work.runs == ["a"])
        for _ in range(3):
            queue.add("a")
        work.may_go.set()
        await work.until(lambda: work.runs == ["a", "a"])
        assert work.most_at_once == 1


async def test_other_keys_do_not_wait_for_a_slow_one() -> None:
    async with running(workers=2) as (queue, work, _):
        work.may_go.clear()
        queue.add("slow")
        await work.until(lambda: "slow" in work.runs)
        queue.add("other")
        await work.until(lambda: "other" in work.runs)
        assert queue.longest_running() >= 0


async def test_a_failure_is_tried_again_and_a_bug_does_not_end_the_queue() -> None:
    async with running() as (queue, work, metrics):
        work.answers["a"] = [ValueError("a bug"), RetryAfter("busy"), None]
        queue.add("a")
        await work.until(lambda: len(work.runs) == 3)
        assert b'workqueue_retries_total{name="outboundconfig"} 2.0' in metrics.exposition()


async def test_a_failure_waits_as_long_as_it_is_asked_to() -> None:
    async with running() as (queue, work, _):
        work.answers["a"] = [RetryAfter("busy", 3600)]
        queue.add("a")
        queue.add("b")
        await work.until(lambda: "b" in work.runs and queue.idle)
        assert work.runs.count("a") == 1

        queue.hurry()
        await work.until(lambda: work.runs.count("a") == 2)


async def test_it_comes_again_when_it_asked_to() -> None:
    async with running() as (queue, work, _):
        work.answers["a"] = [0.001, 0.001]
        queue.add("a")
        await work.until(lambda: len(work.runs) == 3)


async def test_the_earlier_of_two_wishes_counts_and_a_run_takes_both() -> None:
    async with running() as (queue, work, _):
        queue.add_later("a", 3600)
        queue.add_later("a", 0.001)
        queue.add_later("a", 3600)
        await work.until(lambda: work.runs == ["a"])
        queue.add_later("b", 3600)
        queue.add("b")
        await work.until(lambda: "b" in work.runs)
        queue.hurry()
        assert work.runs == ["a", "b"]

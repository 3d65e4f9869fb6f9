"""Hooks that never come back: left behind after their time, counted, and bounded; the chain goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Self

import pytest
from tests.support.plugin_chain import Chain, Function

from mailboat.hooks import CONTINUE, DENY, DENYSOFT, Decision, HookRun, Point
from mailboat.hooks.run import watch as watch_module

SHORT = 0.05
"""Seconds: the time that a hook of these tests may take."""


class Stuck:
    """Sync hooks that hang until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = 0

    def hook(self, *_: object) -> tuple[object, str]:
        """The function to register."""
        self.entered += 1
        self.go.wait(20)
        return DENY, "too late"


class Deaf:
    """Async hooks that do not end when they are cancelled."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.entered = 0
        self.cancelled = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()  # or the end of the event loop would wait for it

    async def hook(self, *_: object) -> tuple[object, str]:
        """The function to register."""
        self.entered += 1
        while not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return DENY, "too late"


async def sleeps(*_: object) -> tuple[object, str]:
    await asyncio.sleep(20)
    return DENY, "too late"


def last(*_: object) -> tuple[object, str]:
    return DENY, "the last one"


async def last_async(*_: object) -> tuple[object, str]:
    return DENY, "the last one"


@pytest.mark.parametrize("following", [last, last_async])
async def test_an_async_hook_that_takes_too_long_is_cancelled_and_passed_over(following: Function) -> None:
    chain = Chain(sleeps, following, timeout=SHORT)
    assert (await chain.ask()).text == "the last one"
    assert chain.failures.reasons == ["sleeps timeout"]
    await chain.until(lambda: chain.runtime.stuck_tasks == 0)


@pytest.mark.parametrize("following", [last, last_async])
async def test_a_sync_hook_that_takes_too_long_is_passed_over_and_its_thread_replaced(following: Function) -> None:
    stuck = Stuck()
    chain = Chain(stuck.hook, following, timeout=SHORT)
    assert (await chain.ask()).text == "the last one"
    assert chain.failures.reasons == ["hook timeout"]
    assert chain.runtime.stuck_threads == 1
    stuck.go.set()
    await chain.until(lambda: chain.runtime.stuck_threads == 0)
    assert chain.failures.reasons == ["hook timeout"]  # what it said later was not heard


async def test_a_hook_that_swallows_its_cancellation_is_left_behind_and_known() -> None:
    with Deaf() as deaf:
        chain = Chain(deaf.hook, last, timeout=SHORT)
        assert (await chain.ask()).text == "the last one"
        assert chain.runtime.stuck_tasks == 1
        await chain.until(lambda: deaf.cancelled == 1)
        deaf.go.set()
        await chain.until(lambda: chain.runtime.stuck_tasks == 0)


async def test_the_time_is_each_hooks_own() -> None:
    async def nearly(*_: object) -> None:
        await asyncio.sleep(SHORT * 4)

    chain = Chain(nearly, nearly, nearly, timeout=SHORT * 10)
    assert await chain.ask() is CONTINUE
    assert chain.failures.seen == []


async def test_no_timeout_waits() -> None:
    gate = asyncio.Event()

    async def waits(*_: object) -> object:
        await gate.wait()
        return DENY

    chain = Chain(waits, timeout=0)
    asking = asyncio.ensure_future(chain.ask())
    await asyncio.sleep(0)
    gate.set()
    assert (await asking).code is DENY


@pytest.mark.parametrize("point", [Point.AUTH, Point.GET_MX])
async def test_a_timeout_is_a_failure_like_others(point: Point) -> None:
    chain = Chain(sleeps, last, point=point, timeout=SHORT)
    assert await chain.ask() == Decision(DENYSOFT, None, "sleeps", failed=True)


async def test_a_hook_of_its_own_timeout_is_in_a_task_even_in_its_first_step() -> None:
    async def careful(*_: object) -> object:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "done"))
        return DENY, task.result()

    async def impatient(*_: object) -> object:
        async with asyncio.timeout(SHORT):
            await asyncio.sleep(20)
        return DENY

    assert (await Chain(careful).ask()).text == "done"
    chain = Chain(impatient, last)
    assert (await chain.ask()).text == "the last one"
    assert chain.failures.reasons == ["impatient raised"]


async def test_a_caller_that_goes_away_takes_its_hook_along() -> None:
    ended: list[str] = []

    async def waits(*_: object) -> None:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    chain = Chain(waits, last)
    running = chain.begin()
    assert isinstance(running, HookRun)
    running.on_done(lambda _: ended.append("decided"))
    running.cancel()
    asking = asyncio.ensure_future(chain.hooks.run(Point.MAIL))
    await asyncio.sleep(0)
    asking.cancel()
    await chain.until(lambda: chain.runtime.stuck_tasks == 0)
    assert ended == ["cancelled"] * 2 or ended == ["cancelled"]  # the first may not have been taken over yet
    assert asking.cancelled()
    assert chain.failures.seen == []


async def test_a_thread_whose_caller_went_away_is_given_up_after_its_time() -> None:
    stuck = Stuck()
    chain = Chain(stuck.hook, timeout=SHORT)
    running = chain.begin()
    assert isinstance(running, HookRun)
    await chain.until(lambda: stuck.entered)
    running.cancel()
    await chain.until(lambda: chain.runtime.stuck_threads == 1)
    stuck.go.set()
    await chain.until(lambda: chain.runtime.stuck_threads == 0)


async def test_a_plugin_with_too_many_stuck_threads_is_not_asked_until_they_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch_module, "MAX_STUCK_THREADS", 2)
    stuck = Stuck()
    chain = Chain(stuck.hook, last, timeout=SHORT)
    await asyncio.gather(*(chain.ask() for _ in range(3)))
    entered = stuck.entered
    before = time.monotonic()
    assert {(await chain.ask()).text for _ in range(50)} == {"the last one"}
    assert stuck.entered == entered
    assert time.monotonic() - before < 50 * SHORT
    assert chain.failures.reasons == ["hook timeout"] * (entered + 50)
    stuck.go.set()
    await chain.until(lambda: chain.runtime.stuck_threads == 0)
    assert (await chain.ask()).text == "too late"


async def test_a_plugin_with_too_many_deaf_tasks_is_not_asked_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "MAX_STUCK_TASKS", 2)
    with Deaf() as deaf:
        chain = Chain(deaf.hook, last_async, timeout=SHORT)
        await asyncio.gather(*(chain.ask() for _ in range(2)))
        assert (await chain.ask()).text == "the last one"
        assert deaf.entered == 2
        deaf.go.set()
        await chain.until(lambda: chain.runtime.stuck_tasks == 0)
        assert (await chain.ask()).text == "too late"


async def test_one_plugins_stuck_threads_do_not_stop_anothers() -> None:
    stuck = Stuck()
    bad = Chain(stuck.hook, timeout=30)
    good = Chain(last, runtime=bad.runtime)
    waiting = [bad.begin() for _ in range(5)]
    await bad.until(lambda: stuck.entered == 5)
    assert (await good.ask()).text == "the last one"
    stuck.go.set()
    await bad.until(lambda: bad.hooks.begin(Point.RCPT) is CONTINUE)
    await asyncio.wait_for(bad.hooks.drained(), 20)
    assert len(waiting) == 5


async def test_blocking_hooks_run_beside_one_another() -> None:
    barrier = threading.Barrier(10)
    chain = Chain(lambda *_: barrier.wait(20) and None)
    assert set(await asyncio.gather(*(chain.ask() for _ in range(10)))) == {CONTINUE}


async def test_hooks_that_block_and_hooks_that_do_not_all_come_back() -> None:
    def sometimes(number: int) -> tuple[object, str] | None:
        if number % 7 == 0:
            time.sleep(number % 3 / 1000)
        return (DENY, str(number)) if number % 2 else None

    chain = Chain(sometimes, last)
    answers = await asyncio.gather(*(chain.ask(number) for number in range(1000)))
    assert [a.text for a in answers] == [str(n) if n % 2 else "the last one" for n in range(1000)]
    assert chain.failures.seen == []


def test_what_runs_at_the_end_of_the_loop_harms_nothing(recwarn: pytest.WarningsRecorder) -> None:
    stuck = Stuck()

    async def life(ask: Callable[[], object]) -> None:
        ask()
        await asyncio.sleep(0.01)

    chain = Chain(stuck.hook, timeout=0)
    asyncio.run(life(chain.begin))
    stuck.go.set()
    asyncio.run(life(Chain(sleeps, timeout=0).begin))
    assert not recwarn.list

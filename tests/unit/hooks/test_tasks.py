"""Tasks that hooks start: known as their plugin's, counted while they live, and bounded."""

from __future__ import annotations

import asyncio
import gc

import pytest
import uvloop
from tests.support.plugin_chain import Chain

from mailboat.hooks import CONTINUE, DENY, Hook, Hooks, Point
from mailboat.hooks.run import tasks as tasks_module


class Leaky:
    """A hook that forgets its tasks."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.started: list[asyncio.Task[object]] = []

    async def hook(self, *_: object) -> None:
        """The function to register."""
        self.started.append(asyncio.create_task(self.go.wait()))


async def test_tasks_of_a_hook_are_counted_until_they_end() -> None:
    leaky = Leaky()
    chain = Chain(leaky.hook)
    for _ in range(3):
        assert await chain.ask() is CONTINUE
    assert len(chain.runtime.tasks) == 3
    leaky.go.set()
    await chain.until(lambda: len(chain.runtime.tasks) == 0)


async def test_tasks_of_its_tasks_and_of_its_later_steps_are_its_too() -> None:
    go = asyncio.Event()
    started: list[asyncio.Task[None]] = []

    async def inner() -> None:
        started.append(asyncio.create_task(outermost()))
        await go.wait()

    async def outermost() -> None:
        await go.wait()

    async def hook(*_: object) -> None:
        await asyncio.sleep(0)
        started.append(asyncio.create_task(inner()))

    chain = Chain(hook)
    assert await chain.ask() is CONTINUE
    await chain.until(lambda: len(started) == 2)
    assert len(chain.runtime.tasks) == 2
    go.set()
    await chain.until(lambda: len(chain.runtime.tasks) == 0)


async def test_others_tasks_are_not_counted() -> None:
    leaky = Leaky()
    chain = Chain(leaky.hook)
    answers: list[object] = []

    async def mine() -> None:
        answers.append(await chain.ask())
        await asyncio.create_task(asyncio.sleep(0))

    await asyncio.create_task(mine())
    running = Chain(lambda *_: None).begin()
    assert len(chain.runtime.tasks) == 1
    assert running is not None
    leaky.go.set()


async def test_one_task_too_many_is_an_error_of_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "MAX_TASKS", 5)
    leaky = Leaky()
    chain = Chain(leaky.hook, lambda *_: DENY)
    for _ in range(8):
        assert (await chain.ask()).code is DENY
    assert len(chain.runtime.tasks) == 5
    assert chain.failures.reasons == ["hook raised"] * 3
    leaky.go.set()
    await chain.until(lambda: len(chain.runtime.tasks) == 0)
    assert (await chain.ask()).code is DENY
    assert len(chain.failures.seen) == 3


def test_the_same_holds_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_tasks_of_a_hook_are_counted_until_they_end())
        runner.run(test_tasks_of_its_tasks_and_of_its_later_steps_are_its_too())


async def test_the_idle_tasks_of_hooks_that_are_no_more_end() -> None:
    async def hook(*_: object) -> None:
        pass

    hooks = Hooks([Hook(Point.MAIL, hook, "plugin")])
    assert await hooks.run(Point.MAIL) is CONTINUE
    (idle,) = [task for task in asyncio.all_tasks() if task.get_name() == "hook"]
    del hooks
    gc.collect()
    ended, _ = await asyncio.wait([idle], timeout=20)  # which does not cancel it
    assert ended == {idle}

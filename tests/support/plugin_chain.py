"""Chains of functions that stand for plugins, and what became of them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from mailboat.hooks import CONT, POINTS, Code, Decision, Hook, HookRun, Hooks, Point
from mailboat.hooks.run import HookRuntime
from mailboat.model.observer import HookFailure, Observer

Function = Callable[..., Any]


class Failures(Observer):
    """Remembers which plugin failed at what."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, HookFailure]] = []

    def hook_failed(self, point: str, plugin: str, reason: HookFailure) -> None:
        self.seen.append((point, plugin, reason))

    @property
    def reasons(self) -> list[str]:
        """Plugin and reason of each failure."""
        return [f"{plugin} {reason}" for _, plugin, reason in self.seen]


class Chain:
    """Hooks at one point, each of a plugin that is called after its function."""

    def __init__(
        self,
        *functions: Function,
        point: Point = Point.MAIL,
        timeout: float = 30.0,
        on_failure: Code = CONT,
        runtime: HookRuntime | None = None,
    ) -> None:
        self.point = point
        self.failures = Failures()
        if runtime is None:
            runtime = HookRuntime()
            weakref.finalize(self, runtime.close)
        self.runtime = runtime
        failure = POINTS[point].failure if on_failure is CONT else on_failure
        hooks = [Hook(point, f, getattr(f, "__name__", "plugin"), 0, failure, timeout) for f in functions]
        self.hooks = Hooks(hooks, (), self.failures, self.runtime)

    async def ask(self, *args: object) -> Decision:
        """What they say together."""
        async with asyncio.timeout(20):
            return await self.hooks.run(self.point, *args)

    def begin(self, *args: object) -> Decision | HookRun:
        """The same for a caller without a task."""
        return self.hooks.begin(self.point, *args)

    async def until(self, what: Callable[[], object]) -> None:
        """Wait until `what()` is true; for what tells nobody."""
        async with asyncio.timeout(20):
            while not what():  # noqa: ASYNC110 - threads and timers, mostly
                await asyncio.sleep(0.005)


async def decided(running: Decision | HookRun) -> Decision:
    """The decision of a chain that was begun."""
    if isinstance(running, Decision):
        return running
    future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    running.on_done(future.set_result)
    async with asyncio.timeout(20):
        return await future

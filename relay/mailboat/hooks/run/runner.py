"""Tasks that are lent out: a coroutine runs in the name of one, and costs none when it does not wait for anything.

Most hooks answer at once, and a task for each would cost many times what the hook does. So the first step of a hook's
coroutine is made right here, with an idle task of ours as the current one: `asyncio.timeout`, task groups and client
libraries find the task that they ask for. Only when the coroutine waits does that task really take it over.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from mailboat.hooks.run.tasks import PluginTasks

_T = TypeVar("_T")

MAX_IDLE = 64
"""Runners that are kept for later; more come and go with need."""


class Work(Protocol):
    """What a runner is lent for."""

    def done(self, result: Any) -> None:
        """The coroutine that waited has finished."""

    def plugin(self) -> str:
        """The plugin whose hook runs now; empty for none."""


class Runner:
    """One task of ours, idle or with a coroutine that waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = contextvars.copy_context()
        self._wake: asyncio.Future[None] | None = None
        self._job: tuple[_Rest[Any], Callable[[Any], None]] | None = None
        self.work: Work | None = None
        """Whose hooks run in it; None while it is idle."""
        # Not by the loop's factory, which would ask whose it is.
        self.task: asyncio.Task[None] = asyncio.Task(self._work(), loop=loop, name="hook", context=self._context)

    def step(self, coroutine: Coroutine[Any, Any, _T], work: Work) -> tuple[_T] | None:
        """Make the first step; its result if that was all, else None, and `work.done` is called with it later.

        The coroutine handles its own exceptions.
        """
        self.work = work
        loop, task = self._loop, self.task
        current = asyncio.current_task(loop)
        if current is not None:
            _leave_task(loop, current)
        _enter_task(loop, task)
        try:
            waited = self._context.run(coroutine.send, None)
        except StopIteration as end:
            self.work = None
            return (end.value,)
        finally:
            _leave_task(loop, task)
            if current is not None:
                _enter_task(loop, current)
        self._job = (_Rest(coroutine, waited), work.done)
        if self._wake is not None:
            self._wake.set_result(None)
        return None

    def plugin(self) -> str:
        """The plugin whose hook runs in it; empty while there is none."""
        return self.work.plugin() if self.work is not None else ""

    async def _work(self) -> None:
        """Wait for a coroutine to take over; end after it, because it may have changed the task's state."""
        early: asyncio.CancelledError | None = None
        if self._job is None:
            self._wake = self._loop.create_future()
            try:
                await self._wake
            except asyncio.CancelledError as error:
                early = error
        if self._job is None:
            return  # the end of the relay
        rest, done = self._job
        if early is not None:
            rest.cancelled = early
        done(await rest)


class _Rest(Generic[_T]):
    """What is left of a coroutine that has made a step: awaited, it goes on from where it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T], waited: Any) -> None:
        self._coroutine = coroutine
        self._waited = waited
        self.cancelled: BaseException | None = None
        """Came before the rest was taken over."""

    def __await__(self) -> Generator[Any, Any, _T]:
        coroutine, waited = self._coroutine, self._waited
        try:
            if self.cancelled is not None:
                waited = coroutine.throw(self.cancelled)
            while True:
                try:
                    sent = yield waited
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - a cancellation, mostly: it is the coroutine's
                    waited = coroutine.throw(error)
                else:
                    waited = coroutine.send(sent)
        except StopIteration as end:
            result: _T = end.value
            return result


class Runners:
    """Those of one event loop: the idle ones, and new ones where there is none."""

    def __init__(self, tasks: PluginTasks) -> None:
        self._tasks = tasks
        self._idle: list[Runner] = []

    def acquire(self) -> Runner:
        """One to step with."""
        while self._idle:
            runner = self._idle.pop()
            if not runner.task.cancelling():  # a hook may have left a timer behind
                return runner
        loop = asyncio.get_running_loop()
        runner = Runner(loop)
        self._tasks.install(loop)
        self._tasks.lend(runner.task, runner.plugin)
        return runner

    def release(self, runner: Runner) -> None:
        """It was not needed any further."""
        if len(self._idle) < MAX_IDLE:
            self._idle.append(runner)
        else:
            runner.task.cancel()

    def close(self) -> None:
        """End the idle ones. In any thread: the garbage collector may call it."""
        for runner in self._idle:
            with suppress(RuntimeError):  # the loop is closed, and the task over
                runner.task.get_loop().call_soon_threadsafe(runner.task.cancel)
        self._idle.clear()

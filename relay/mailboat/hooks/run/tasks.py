"""Assigns tasks started by hooks to their plugins, and limits their number.

The event loop asks here for every task that is made. One that is made while a hook runs, or by a task of a plugin,
belongs to that plugin. Its lifetime is not limited, but a plugin that leaks tasks must not fill memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from typing import Any

MAX_TASKS = 1000
"""Tasks of one plugin at once; one more is an error in its hook."""


_Coroutine = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]


class TooManyTasksError(RuntimeError):
    """A plugin has started more tasks than it has seen end."""


class PluginTasks:
    """The tasks of the plugins of one event loop."""

    def __init__(self) -> None:
        self._owners: dict[asyncio.Task[Any], Callable[[], str]] = {}
        self._counts: Counter[str] = Counter()
        self._installed = False

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be asked for every task of this loop from now on."""
        if not self._installed:
            self._installed = True
            loop.set_task_factory(self._make)

    def __len__(self) -> int:
        """How many live."""
        return self._counts.total()

    def lend(self, task: asyncio.Task[Any], owner: Callable[[], str]) -> None:
        """A task of ours in which hooks run; `owner` says whose hook runs now, or nothing."""
        self._owners[task] = owner
        task.add_done_callback(self._forget)

    def _make(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any],
        **how: Any,
    ) -> asyncio.Task[Any]:
        current = asyncio.current_task(loop)
        owner = self._owners.get(current) if current is not None else None
        plugin = owner() if owner is not None else ""
        if not plugin:
            return asyncio.Task(coroutine, loop=loop, **how)
        if self._counts[plugin] >= MAX_TASKS:
            coroutine.close()  # or it would warn that it was never awaited
            raise TooManyTasksError(f"{MAX_TASKS} tasks of this plugin have not ended yet")
        task = asyncio.Task(coroutine, loop=loop, **how)
        self._counts[plugin] += 1
        self._owners[task] = lambda: plugin
        task.add_done_callback(lambda task: self._ended(task, plugin))
        return task

    def _ended(self, task: asyncio.Task[Any], plugin: str) -> None:
        self._counts[plugin] -= 1
        self._forget(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._owners.pop(task, None)

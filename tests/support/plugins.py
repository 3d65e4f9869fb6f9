"""Plugins for tests of where they are asked: functions put at points, without files and without a loader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mailboat.hooks import Connection, Hooks, Point
from mailboat.hooks.plugin import Hook
from mailboat.model.observer import Observer

Function = Callable[..., Any]


def chain(
    functions: Mapping[Point, Function | Sequence[Function]],
    *,
    offers: Callable[[Connection], Sequence[str]] | None = None,
    timeout: float = 30.0,
) -> Callable[[Observer], Hooks]:
    """Hooks of plugins that are called after their functions, for `serving(hooks=…)`."""
    hooks = [
        Hook(point, function, getattr(function, "__name__", "plugin"), timeout=timeout)
        for point, some in functions.items()
        for function in (some if isinstance(some, Sequence) else [some])
    ]
    return lambda observer: Hooks(hooks, [("test", offers)] if offers else [], observer)


def answering(answer: object, *, sync: bool = False) -> Function:
    """A hook that says one thing."""

    def at_once(*_: object) -> object:
        return answer

    async def in_a_while(*_: object) -> object:
        await asyncio.sleep(0)
        return answer

    return at_once if sync else in_a_while


class Gate:
    """A hook that waits until it is let go, and remembers what became of it."""

    __name__ = "gate"

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.waiting = 0
        self.cancelled = 0
        self.done = 0
        self._open = asyncio.Event()

    async def hook(self, *_: object) -> object:
        """The function to register."""
        self.waiting += 1
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        self.done += 1
        return self.answer

    def open(self) -> None:
        """Let everybody go."""
        self._open.set()

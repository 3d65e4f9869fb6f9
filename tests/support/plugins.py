"""Plugins for tests of where they are asked: functions put at points, without files and without a loader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mailboat.config.settings import PluginSettings, Settings
from mailboat.hooks import POINTS, Connection, Hooks, PluginConfig, Point
from mailboat.hooks.loader import Plugins
from mailboat.hooks.plugin import Hook
from mailboat.hooks.plugin_config import PluginFiles
from mailboat.model.observer import Observer

T = TypeVar("T")
Function = Callable[..., Any]


def chain(
    functions: Mapping[Point, Function | Sequence[Function]],
    *,
    offers: Callable[[Connection], Sequence[str]] | None = None,
    timeout: float = 30.0,
) -> Callable[[Observer], Hooks]:
    """Hooks of plugins that are called after their functions, for `serving(hooks=…)`."""
    hooks = [
        Hook(point, function, getattr(function, "__name__", "plugin"), 0, POINTS[point].failure, timeout)
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


def loaded(directory: Path, *names: str) -> Callable[[Observer], Hooks]:
    """Hooks of real plugins, which read their files in `directory`, for `serving(hooks=…)`."""

    def make(observer: Observer) -> Hooks:
        settings = Settings(
            str(directory), "relay.test", plugins=PluginSettings(names, tuple(range(1, len(names) + 1)))
        )
        return Plugins(observer).stage(settings).commit()

    return make


def read(parse: Callable[[PluginConfig[None]], T], directory: Path, name: str, text: str) -> T:
    """What a plugin makes of a file with this text. Raises ConfigError."""
    (directory / name).write_text(text)
    value: T = PluginFiles(directory).config(name, parse).value
    return value

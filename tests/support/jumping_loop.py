"""An event loop whose time costs nothing: as soon as nobody has anything to do, it jumps to the next timer.

Sockets are real, and what goes on at them takes no time. So what a program makes of pauses is measured the same on
every machine, however busy. For code that asks no other clock than `JumpingLoop.clock`, and has no threads.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_ON_THE_WAY = 0.002
"""Seconds, by the machine's clock, in which the kernel brings what was sent to a socket of this process."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._now = 1_000_000.0
        super().__init__(_Selector(self))
        self.clock = _Clock(self)

    def time(self) -> float:
        """Seconds since an instant of its own."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    @classmethod
    def run(cls, main: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns."""
        with asyncio.Runner(loop_factory=cls) as runner:
            return runner.run(main)


class _Clock:
    """Both times of a loop in one."""

    def __init__(self, loop: JumpingLoop) -> None:
        self.now = self.monotonic = loop.time


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not timeout:
            return super().select(timeout)
        events = super().select(_ON_THE_WAY)
        if not events:
            self._loop.jump(timeout)
        return events

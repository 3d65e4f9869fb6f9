"""Tells the hook `delivered` of deliveries once they are recorded, without keeping the attempts waiting.

A hook that takes long takes places of its own destination, so that its messages come no faster than it can hear of
them, and the other destinations go on. Owned by `engine`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from mailboat.delivery.hooks import Consultation
from mailboat.queue.entry import Transition
from mailboat.queue.schedule import Schedule


class Telling:
    """The hooks that are being told."""

    def __init__(self, schedule: Schedule, room: Callable[[], None], places: Callable[[], int]) -> None:
        """`room` is called when there is room for attempts again; `places` says how many a destination has."""
        self._schedule = schedule
        self._room = room
        self._places = places
        self._recording: set[asyncio.Future[None]] = set()
        """Changes that are not recorded yet."""
        self._counts: Counter[str] = Counter()
        """How many of them a destination has."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Hooks that had to wait."""
        self._cancelled = False

    @property
    def pending(self) -> list[asyncio.Future[None]]:
        """What there is to wait for until everybody has been told."""
        return [*self._recording, *self._tasks]

    def soon(self, destination: str, hooks: Consultation, change: Transition, recorded: asyncio.Future[None]) -> None:
        """Tell of a change once `recorded` is done."""
        self._recording.add(recorded)
        self._counts[destination] += 1
        # Attempts that end faster than the disk records them would all have hooks at once, later.
        crowded = self._counts[destination] >= self._places()
        if crowded:
            self._schedule.occupy(destination)
        recorded.add_done_callback(partial(self._recorded, destination, hooks, change, crowded))

    def cancel(self) -> None:
        """Tell nobody any more."""
        self._cancelled = True
        self._recording.clear()
        for task in self._tasks:
            task.cancel()

    def _recorded(
        self, destination: str, hooks: Consultation, change: Transition, occupied: bool, recorded: asyncio.Future[None]
    ) -> None:
        self._recording.discard(recorded)
        self._counts[destination] -= 1
        if not self._counts[destination]:
            del self._counts[destination]
        telling = None
        # What is not recorded will be attempted again, and told then.
        if not (self._cancelled or recorded.cancelled() or recorded.exception()):
            telling = hooks.tell(change)
        if telling is not None:
            if not occupied:
                self._schedule.occupy(destination)
            task = asyncio.get_running_loop().create_task(self._wait(destination, telling))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif occupied:
            self._schedule.finish(destination)
            self._room()

    async def _wait(self, destination: str, telling: Coroutine[Any, Any, None]) -> None:
        try:
            await telling
        finally:
            self._schedule.finish(destination)
            self._room()

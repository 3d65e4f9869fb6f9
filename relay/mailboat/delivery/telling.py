"""Tells the hook `delivered` of deliveries once they are recorded, without keeping the attempts waiting.

A hook that takes long takes places of its own destination, so that its messages come no faster than it can hear of
them, and the other destinations go on. Owned by `pipeline`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from mailboat.delivery.destination import Destination
from mailboat.delivery.gate import Gate
from mailboat.delivery.hooks import Consultation
from mailboat.delivery.places import Place
from mailboat.model.clock import Clock
from mailboat.queue.entry import Transition


class Telling:
    """The hooks that are being told."""

    def __init__(self, gate: Gate, clock: Clock, room: Callable[[], None], places: Callable[[], int]) -> None:
        """`room` is called when there is room for attempts again; `places` says how many a destination has."""
        self._gate = gate
        self._clock = clock
        self._room = room
        self._places = places
        self._recording: set[asyncio.Future[None]] = set()
        """Changes that are not recorded yet."""
        self._counts: Counter[Destination] = Counter()
        """How many of them a destination has."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Hooks that had to wait."""
        self._cancelled = False

    @property
    def pending(self) -> list[asyncio.Future[None]]:
        """What there is to wait for until everybody has been told."""
        return [*self._recording, *self._tasks]

    def soon(
        self, destination: Destination, hooks: Consultation, change: Transition, recorded: asyncio.Future[None]
    ) -> None:
        """Tell of a change once `recorded` is done."""
        self._recording.add(recorded)
        self._counts[destination] += 1
        # Attempts that end faster than the disk records them would all have hooks at once, later.
        crowded = self._counts[destination] >= self._places()
        place = self._occupy(destination) if crowded else None
        recorded.add_done_callback(partial(self._recorded, destination, hooks, change, place))

    def cancel(self) -> None:
        """Tell nobody any more."""
        self._cancelled = True
        self._recording.clear()
        for task in self._tasks:
            task.cancel()

    def _recorded(
        self,
        destination: Destination,
        hooks: Consultation,
        change: Transition,
        place: Place | None,
        recorded: asyncio.Future[None],
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
            place = place or self._occupy(destination)
            task = asyncio.get_running_loop().create_task(self._wait(place, telling))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif place is not None:
            self._leave(place)

    async def _wait(self, place: Place, telling: Coroutine[Any, Any, None]) -> None:
        try:
            await telling
        finally:
            self._leave(place)

    def _occupy(self, destination: Destination) -> Place:
        return self._gate.occupy(destination, self._clock.monotonic())

    def _leave(self, place: Place) -> None:
        self._gate.end(place, self._clock.monotonic())
        self._room()

"""Calls the hook `delivered` once deliveries are recorded, without keeping the attempts waiting.

A slow hook takes places of its own destination, so that mail is delivered there no faster than the hook can follow, and
other destinations go on. Owned by `pipeline`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from mailboat.delivery.destination import Destination
from mailboat.delivery.gate import Gate
from mailboat.delivery.hooks import AttemptHooks
from mailboat.delivery.places import Place
from mailboat.model.clock import Clock
from mailboat.queue.entry import Transition


class DeliveredNotifier:
    """The calls of `delivered` that are due or under way."""

    def __init__(self, gate: Gate, clock: Clock, room: Callable[[], None], places: Callable[[], int]) -> None:
        """`room` is called when a place is free again; `places` says how many a destination has."""
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
        """What there is to wait for until no call is left."""
        return [*self._recording, *self._tasks]

    def notify(
        self, destination: Destination, hooks: AttemptHooks, change: Transition, recorded: asyncio.Future[None]
    ) -> None:
        """Call the hook for a change once `recorded` is done."""
        self._recording.add(recorded)
        self._counts[destination] += 1
        # Attempts that end faster than the disk records them would all have hooks at once, later.
        crowded = self._counts[destination] >= self._places()
        place = self._occupy(destination) if crowded else None
        recorded.add_done_callback(partial(self._recorded, destination, hooks, change, place))

    def cancel(self) -> None:
        """Call the hook no more."""
        self._cancelled = True
        self._recording.clear()
        for task in self._tasks:
            task.cancel()

    def _recorded(
        self,
        destination: Destination,
        hooks: AttemptHooks,
        change: Transition,
        place: Place | None,
        recorded: asyncio.Future[None],
    ) -> None:
        self._recording.discard(recorded)
        self._counts[destination] -= 1
        if not self._counts[destination]:
            del self._counts[destination]
        call = None
        # What is not recorded will be attempted again, and the hook is called then.
        if not (self._cancelled or recorded.cancelled() or recorded.exception()):
            call = hooks.notify_delivered(change)
        if call is not None:
            place = place or self._occupy(destination)
            task = asyncio.get_running_loop().create_task(self._wait(place, call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif place is not None:
            self._leave(place)

    async def _wait(self, place: Place, call: Coroutine[Any, Any, None]) -> None:
        try:
            await call
        finally:
            self._leave(place)

    def _occupy(self, destination: Destination) -> Place:
        return self._gate.occupy(destination, self._clock.monotonic())

    def _leave(self, place: Place) -> None:
        self._gate.end(place, self._clock.monotonic())
        self._room()

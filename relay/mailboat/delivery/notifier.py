"""Calls the hook `delivered` after deliveries are recorded, without delaying the attempts.

A slow hook uses places of its own destination, so that mail is delivered there no faster than the hook allows, and
other destinations are not affected. Owned by `pipeline`.
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
    """The pending and running calls of `delivered`."""

    def __init__(self, gate: Gate, clock: Clock, room: Callable[[], None], places: Callable[[], int]) -> None:
        """`room` is called when a place is free again; `places` returns the number of places of a destination."""
        self._gate = gate
        self._clock = clock
        self._room = room
        self._places = places
        self._recording: set[asyncio.Future[None]] = set()
        """Changes that are not recorded yet."""
        self._counts: Counter[Destination] = Counter()
        """Their number for each destination."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Hooks that wait."""
        self._cancelled = False

    @property
    def pending(self) -> list[asyncio.Future[None]]:
        """Futures to wait for until no call is left."""
        return [*self._recording, *self._tasks]

    def notify(
        self, destination: Destination, hooks: AttemptHooks, change: Transition, recorded: asyncio.Future[None]
    ) -> None:
        """Call the hook for a change once `recorded` is done."""
        self._recording.add(recorded)
        self._counts[destination] += 1
        # Attempts that end faster than the disk records them would later run all their hooks at once.
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
        # An unrecorded delivery is attempted again, and the hook is called then.
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

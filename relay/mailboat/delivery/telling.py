"""Tells the hook `delivered` of deliveries once they are recorded, without keeping the attempts waiting.

A hook that takes long takes places of its own destination, so that its messages come no faster than it can hear of
them, and the other destinations go on. Owned by `engine`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mailboat.delivery.hooks import Consultation
from mailboat.queue.entry import Transition
from mailboat.queue.schedule import Schedule
from mailboat.queue.store import StorageError


class Telling:
    """The hooks that are being told."""

    def __init__(self, schedule: Schedule, room: Callable[[], None]) -> None:
        """`room` is called when there is room for attempts again."""
        self._schedule = schedule
        self._room = room
        self.tasks: set[asyncio.Task[None]] = set()

    def soon(self, destination: str, hooks: Consultation, change: Transition, recorded: asyncio.Future[None]) -> None:
        """Tell of a change once `recorded` is done."""
        task = asyncio.create_task(self._tell(destination, hooks, change, recorded))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def cancel(self) -> None:
        """Tell nobody any more."""
        for task in self.tasks:
            task.cancel()

    async def _tell(
        self, destination: str, hooks: Consultation, change: Transition, recorded: asyncio.Future[None]
    ) -> None:
        try:
            await asyncio.shield(recorded)
        except StorageError:
            return  # it will be attempted again, and told then
        self._schedule.occupy(destination)
        try:
            await hooks.delivered(change)
        finally:
            self._schedule.finish(destination)
            self._room()

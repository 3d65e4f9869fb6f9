"""Says what holds mail that is due, by what gate, limits and schedule know. Pure; each answer is a few look-ups."""

from __future__ import annotations

from collections.abc import Callable

from mailboat.delivery.destination import Destination
from mailboat.delivery.gate import Gate
from mailboat.model.waiting import HeldBy, WaitCause


class Holders:
    """What holds the mail of one worker."""

    def __init__(self, gate: Gate, has_turn: Callable[[str], bool]) -> None:
        """`has_turn`: whether a ready queue waits for a place (`Schedule.has_turn`)."""
        self._gate = gate
        self._has_turn = has_turn

    def of(self, name: str, now: float) -> HeldBy | None:
        """What does not let mail of a ready queue start; None: nothing is known to."""
        limits = self._gate.limits
        if limits is not None and (held := limits.holding(name)) is not None:
            return HeldBy(WaitCause(held.check.kind.value), held.check.cause, held.until)
        destination = self._gate.destination(name)
        if destination is None:
            return None
        if (until := self.backoff(destination, now)) is not None:
            return HeldBy(WaitCause.BACKOFF, WaitCause.BACKOFF, until)
        if name in destination.blocked or any(name in address.blocked for address in destination.addresses):
            return HeldBy(WaitCause.WINDOW, WaitCause.WINDOW)
        return HeldBy(WaitCause.PLACES, WaitCause.PLACES) if self._has_turn(name) else None

    @staticmethod
    def backoff(destination: Destination, now: float) -> float | None:
        """When the back-off of all its hosts ends; None: one may be tried."""
        until = destination.dead_until()
        return until if destination.trouble is not None and until > now else None

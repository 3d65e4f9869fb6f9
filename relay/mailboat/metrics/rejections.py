"""Limits the refusals in the event log: a client that is refused endlessly must not fill the disk.

Pure; `events` asks it. The metrics count every refusal.
"""

from __future__ import annotations

from collections import Counter

from mailboat.model.observer import RejectReason

LIMIT = 20
"""Lines a second for one reason, so that a flood of one hides no other."""


class RejectionLimit:
    """Counts the lines of this second, and those that are left out."""

    def __init__(self) -> None:
        self._second = -1
        self._told: Counter[RejectReason] = Counter()
        self._omitted: Counter[RejectReason] = Counter()

    def allows(self, reason: RejectReason, now: float) -> bool:
        """Whether there is a line for this refusal; it is counted as left out otherwise. `now` is in seconds."""
        if int(now) != self._second:
            self._second = int(now)
            self._told.clear()
        allowed = self._told[reason] < LIMIT
        (self._told if allowed else self._omitted)[reason] += 1
        return allowed

    @property
    def has_omitted(self) -> bool:
        """Some were left out since `pop_omitted`."""
        return bool(self._omitted)

    def pop_omitted(self) -> dict[RejectReason, int]:
        """How many were left out, by reason, and forget them."""
        omitted = dict(self._omitted)
        self._omitted.clear()
        return omitted

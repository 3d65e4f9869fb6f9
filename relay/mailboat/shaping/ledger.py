"""Counts what limits allow: connections in use, and how far each rate is used up. Pure; whole nanoseconds.

All checks of a message or a connection are taken together, or none is. Permits of rates are lent, which
`rate.RateLimit.lent` allows for. Kept by `owner`, for all workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailboat.shaping.limits import LimitKey
from mailboat.shaping.rate import SECOND, RateLimit

RESERVED = 5 * SECOND
"""How far the stored mark of a rate is ahead of its use: what a crash costs of the rate at most."""
REMEMBERED = 100_000
"""Rates in memory; those that are not used up at all are forgotten beyond it."""


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One limit, as it counts for one message."""

    key: str
    """What it is counted at: messages with the same key share it."""
    kind: LimitKey
    limit: int
    """Connections at once, or units in each period."""
    period: int = 0
    """Nanoseconds; 0 for connections."""
    burst: int = 1
    """Units that may be used at once after a rest; 1 to `limit`."""
    cause: str = ""
    """What holds mail that waits for it, for people: `limit rate of domain:example.com`."""
    provider: str = ""
    """The provider that it belongs to; empty: none."""

    @property
    def slack(self) -> int:
        """How many nanoseconds late a permit may be used; it is void after that."""
        return self._rate.slack

    @property
    def lent(self) -> RateLimit:
        """The rate by which it is used up, as permits may be used late."""
        return self._rate.lent

    @property
    def _rate(self) -> RateLimit:
        return RateLimit(self.limit, self.period, self.burst)


@dataclass(frozen=True, slots=True)
class Mark:
    """Until when a rate may be used up, as it is stored."""

    until: int
    longest: int
    """How long it can be used up from any time on: more is of a clock that was set back since."""


@dataclass(frozen=True, slots=True)
class LimitRefused:
    """Nothing was taken."""

    check: LimitCheck
    """The limit that does not allow it."""
    until: int | None
    """When that limit allows it; None: when a connection is given back."""


class Ledger:
    """All counters of one owner."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._used_up: dict[str, int] = {}
        """By rate, the theoretical arrival time: when it is not used up at all any more."""
        self._marks: dict[str, int] = {}
        """By rate, the stored time up to which it may be used up after a restart."""
        self.unsaved: dict[str, Mark] = {}
        """Marks that must be durable before what was taken since the last save is used; `app.limits` clears them."""

    def open(self, key: str) -> int:
        """Connections in use."""
        return self._open.get(key, 0)

    def used_up(self, key: str) -> int:
        """When the rate is not used up at all any more; 0: it is not."""
        return self._used_up.get(key, 0)

    def take(self, wanted: Sequence[tuple[LimitCheck, int]], now: int, ahead: int = 0) -> int | LimitRefused:
        """Take units of all checks, or nothing; returns from when they may be used, `ahead` from now at most.

        More units of a rate than it has in its period count as so many.
        """
        start = now
        refused: LimitRefused | None = None
        for check, units in wanted:
            if not check.period:
                if self.open(check.key) + units > check.limit:
                    return LimitRefused(check, None)
            elif (at := self._earliest(check, units)) > start:
                start, refused = at, LimitRefused(check, at)
        if refused is not None and start > now + ahead:
            return refused
        for check, units in wanted:
            if check.period:
                self._use_up(check, min(units, check.limit), start)
            else:
                self._open[check.key] = self.open(check.key) + units
        if len(self._used_up) > REMEMBERED:
            self._forget(now)
        return start

    def _earliest(self, check: LimitCheck, units: int) -> int:
        used_up = self._used_up.get(check.key)
        return 0 if used_up is None else check.lent.earliest(used_up, min(units, check.limit))

    def _use_up(self, check: LimitCheck, units: int, start: int) -> None:
        key, rate = check.key, check.lent
        until = self._used_up[key] = rate.take(self.used_up(key), start, units)
        if until > self._marks.get(key, 0):
            self._marks[key] = until + RESERVED
            self.unsaved[key] = Mark(until + RESERVED, rate.count * rate.interval + RESERVED)

    def give_back(self, key: str, units: int = 1) -> None:
        """Connections were closed."""
        left = self.open(key) - units
        if left > 0:
            self._open[key] = left
        else:
            self._open.pop(key, None)

    def restore(self, marks: Mapping[str, int]) -> None:
        """Rates are used up until these times, as far as is known."""
        self._used_up.update(marks)
        self._marks.update(marks)

    def _forget(self, now: int) -> None:
        for key in [key for key, until in self._used_up.items() if until + RESERVED < now]:
            del self._used_up[key]
            self._marks.pop(key, None)


def restored(stored: Mapping[str, Mark], wall: int, now: int) -> dict[str, int]:
    """Stored marks, which are wall time, as times of this process: `wall` and `now` are the same instant."""
    return {key: now + min(mark.until - wall, mark.longest) for key, mark in stored.items() if mark.until > wall}

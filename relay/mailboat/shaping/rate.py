"""Rates that hold in every window of their length: GCRA in whole nanoseconds. Pure; times are arguments.

The state of a rate is one number, the theoretical arrival time (TAT) in nanoseconds of any clock that does not go back.
The burst is taken out of the rate: with the usual increment of T/N, a window may hold N + burst - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 10**9
"""In nanoseconds."""
UNUSED = -(1 << 62)
"""The state of a rate of which nothing was taken."""
UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND}
"""Nanoseconds of each unit in which times are written."""
_MAX_SLACK = SECOND


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` in any half-open window of `period`."""

    count: int
    period: int
    """Nanoseconds."""
    burst: int = 1
    """How many may be taken at one moment, from 1 to `count`."""

    @property
    def interval(self) -> int:
        """Nanoseconds between two when all that may be taken is taken: rounded up, so that no window has too many."""
        return -(-self.period // (self.count - self.burst + 1))

    @property
    def slack(self) -> int:
        """Nanoseconds by which a permit that was lent may be used late; after that it is void."""
        return min(_MAX_SLACK, self.period // 10)

    @property
    def lent(self) -> RateLimit:
        """The rate by which permits are lent, so that this one holds even if they are used late by `slack`."""
        return RateLimit(self.count, self.period + self.slack, self.burst)

    def earliest(self, tat: int, cost: int = 1) -> int:
        """When `cost` may be taken at once: any time from then on. `cost` is at most `count`.

        What exceeds the burst is paid in advance, by time in which nothing was taken.
        """
        return tat + (cost - self.burst) * self.interval

    def take(self, tat: int, now: int, cost: int = 1) -> int:
        """The state after `cost` was taken, for which `earliest` must have come."""
        return max(tat, now) + cost * self.interval

    def give_back(self, tat: int, taken: int, cost: int = 1) -> int:
        """The state after what was taken is given back, if nothing was taken since: `taken` is what `take` returned.

        Otherwise it lapses.
        """
        return tat - cost * self.interval if tat == taken else tat

    def __str__(self) -> str:
        number, unit = next(
            (self.period // UNITS[unit], unit) for unit in ("d", "h", "m", "s") if self.period % UNITS[unit] == 0
        )
        return f"{self.count}/{number}{unit}" + (f" burst {self.burst}" if self.burst != usual_burst(self) else "")


def usual_burst(rate: RateLimit) -> int:
    """The burst where none is said: 1 for a period of up to a minute, else a twentieth of the count."""
    return 1 if rate.period <= UNITS["m"] else max(1, rate.count // 20)


def whole_number(text: str) -> int | None:
    """A number in decimal digits, at most 18; None: it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def parse_rate(text: str) -> RateLimit:
    """`N/T` or `N/T burst B`, with T in s, m, h or d. ValueError with the reason."""
    amount, has_burst, burst = text.partition(" burst ")
    number, slash, period = amount.strip().partition("/")
    count, length, unit = whole_number(number), whole_number(period[:-1]), period[-1:]
    if count is None or not slash or length is None or unit not in UNITS:
        raise ValueError("is not a rate such as 30/1m: a number, a slash, and a time in s, m, h or d")
    rate = RateLimit(count, length * UNITS[unit])
    if not rate.count or not rate.period:
        raise ValueError("is a rate of nothing: write a number of at least 1 and a time of at least 1s")
    if rate.period > 366 * UNITS["d"] or rate.count > 10**12:
        raise ValueError("is out of range: at most 1000000000000 in at most 366d")
    taken_at_once = whole_number(burst.strip()) if has_burst else usual_burst(rate)
    if not taken_at_once:
        raise ValueError("has a burst that is not a whole number from 1")
    if taken_at_once > rate.count:
        raise ValueError(f"has a burst of {taken_at_once}, which is more than the rate's {rate.count}")
    return RateLimit(rate.count, rate.period, taken_at_once)

"""Rate limits: each message gets a place in the first window with room. For `limit`."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_NAMES = 10_000
"""Names that are remembered before those whose windows are over are forgotten."""
FARTHEST = 86400.0
"""Seconds ahead for which places are assigned."""

_RATE = re.compile(r"(\d{1,9})\s*/\s*(\d{0,6})\s*([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds; `count` 0: no limit."""

    count: int
    span: float


def parse_rate(text: str) -> Rate:
    """A rate such as 100/1m. ValueError for what is none."""
    if text.strip() == "0":
        return Rate(0, 1.0)
    match = _RATE.fullmatch(text.strip().lower())
    if match is None or match[2] == "0":
        raise ValueError("is not a rate such as 100/1m or 10/30s")
    return Rate(int(match[1]), float(int(match[2] or 1) * _UNITS[match[3]]))


@dataclass(slots=True)
class _Window:
    """One span of time of a rate, by its number since the epoch."""

    number: int
    ends: float
    given: int = 0
    """Places in it that are taken."""


class Turns:
    """The places of each name."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        """By name: the last window in which a place was given."""

    def acquire(self, name: str, rate: Rate, now: float) -> float | None:
        """Take a place; returns its time, `now` if at once; None: too far ahead, and no place is taken."""
        window = self._window(name, rate, now)
        # Within a later window, places are spread over the time.
        turn = max(now, window.ends - rate.span)
        if turn > now:
            turn += window.given / rate.count * rate.span
        if turn - now > FARTHEST:
            return None
        window.given += 1
        return turn

    def _window(self, name: str, rate: Rate, now: float) -> _Window:
        """The first window with room: windows fill one after the other, so it is the last one, or the next."""
        current = int(now // rate.span)
        window = self._windows.get(name)
        if window is None or not _holds(window, rate, current):
            window = _Window(current, (current + 1) * rate.span)
        elif window.given >= rate.count:
            window = _Window(window.number + 1, (window.number + 2) * rate.span)
        if len(self._windows) > MOST_NAMES:
            self._windows = {key: value for key, value in self._windows.items() if value.ends > now}
        self._windows[name] = window
        return window


def _holds(window: _Window, rate: Rate, current: int) -> bool:
    """Whether a window still counts: it is not over, and neither the clock nor the rate has been changed."""
    same = window.ends == (window.number + 1) * rate.span
    return same and current <= window.number <= current + FARTHEST / rate.span + 1

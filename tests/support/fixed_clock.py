"""A clock that stands still until a test moves it."""

from __future__ import annotations


class FixedClock:
    """Both times in one: `advance` moves them together."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """The same number: tests do not care."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

"""Learns how many concurrent attempts a destination accepts, from their results. Pure; time is an argument.

After Postfix's queue manager: a success makes the window larger, a failure smaller, and a window that is not used does
not grow. A reply that there are too many connections sets a ceiling for `TRIAL` seconds. Held by `destination`.
"""

from __future__ import annotations

import math

from mailboat.shaping.limits import WindowRange

START = 2.0
"""Concurrent attempts to an unknown destination."""
SLACK = 2
"""How far the window grows beyond the running attempts."""
TRIAL = 600.0
"""Seconds until one attempt above the ceiling is tried."""


class Window:
    """The window of one destination."""

    __slots__ = ("_bounds", "_ceiling", "_size", "_trial")

    def __init__(self) -> None:
        self._bounds: WindowRange | None = None
        self._size = START
        self._ceiling: float = math.inf
        """The ceiling: more attempts than this were refused."""
        self._trial = 0.0
        """When one more than the ceiling is tried."""

    def bound(self, bounds: WindowRange | None) -> None:
        """Take what shaping.ini says of it. New bounds make it begin at their start."""
        if bounds != self._bounds:
            self._bounds = bounds
            self._size = START if bounds is None else float(bounds.start)

    def limit(self, most: int, now: float) -> int:
        """Attempts that may run at once, 1 to `most`."""
        bounds = self._bounds
        if bounds is not None:
            most = min(most, bounds.most)
            if bounds.pinned:
                return most
        size = min(self._size, most)
        if size > self._ceiling:
            size = min(size, self._ceiling + (now >= self._trial))
        return int(size) or 1

    def succeeded(self, running: int, conversing: int, now: float) -> None:
        """The host answered, while this many attempts ran, of which `conversing` had a session."""
        if self._size < running + SLACK:
            self._size += 1 / self._size
        if conversing > self._ceiling:
            self._ceiling, self._trial = conversing, now + TRIAL

    def failed(self) -> None:
        """An attempt failed because of the host."""
        self._size = max(1.0, self._size - 1)

    def restart(self) -> None:
        """One attempt comes first, as nothing was attempted for a while."""
        self._size = 1.0

    def turned_away(self, others: int, now: float) -> None:
        """The host refused an attempt while `others` (1 or more) were running."""
        self.failed()
        self._ceiling, self._trial = max(1, min(others, self._ceiling)), now + TRIAL

    def forget_ceiling(self) -> None:
        """Try one above the ceiling as soon as there is mail for it."""
        self._trial = 0.0

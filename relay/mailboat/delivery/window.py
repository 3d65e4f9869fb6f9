"""How many attempts at once a destination takes, learnt from what becomes of them. Pure; time is an argument.

After Postfix's queue manager: a success makes the window larger, a failure smaller, and a window that is not used does
not grow. A host that says that there are too many connections is believed for `TRIAL` seconds. Held by `destination`.
"""

from __future__ import annotations

import math

START = 2.0
"""Attempts at once to a destination that nothing is known of."""
SLACK = 2
"""How far the window grows beyond what runs."""
TRIAL = 600.0
"""Seconds until one attempt more is tried than the host lately let in."""


class Window:
    """The window of one destination."""

    __slots__ = ("_ceiling", "_size", "_trial")

    def __init__(self) -> None:
        self._size = START
        self._ceiling: float = math.inf
        """More than this were turned away."""
        self._trial = 0.0
        """When one more than the ceiling is tried."""

    def limit(self, most: int, now: float) -> int:
        """Attempts that may run at once, 1 to `most`."""
        size = min(self._size, most)
        if size > self._ceiling:
            size = min(size, self._ceiling + (now >= self._trial))
        return int(size) or 1

    def succeeded(self, running: int, conversing: int, now: float) -> None:
        """The host answered, while so many attempts ran, and so many of them had got a session."""
        if self._size < running + SLACK:
            self._size += 1 / self._size
        if conversing > self._ceiling:
            self._ceiling, self._trial = conversing, now + TRIAL

    def failed(self) -> None:
        """An attempt failed for a reason that lies in the host."""
        self._size = max(1.0, self._size - 1)

    def turned_away(self, others: int, now: float) -> None:
        """The host did not let an attempt in, and `others` (1 or more) ran beside it."""
        self.failed()
        self._ceiling, self._trial = max(1, min(others, self._ceiling)), now + TRIAL

    def forget_ceiling(self) -> None:
        """Try one more than the host let in as soon as there is mail for it."""
        self._trial = 0.0

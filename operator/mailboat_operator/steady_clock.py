"""The time of day, going on evenly from what it was at the start: who sets the clock does not age a key by that."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def steady_clock() -> Callable[[], datetime]:
    """The clock. It goes on while the machine sleeps."""
    began, at = datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME)
    return lambda: began + timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - at)

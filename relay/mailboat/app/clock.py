"""Detects that the wall clock was set back, and corrects the times of waiting mail. Run by `worker`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mailboat.model.clock import Clock
from mailboat.queue.backoff import RetryPlan
from mailboat.queue.store import StorageError, Store
from mailboat.queue.waits import Earlier, after_jump, at_start, longest

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two checks."""
JUMP = 2.0
"""Smallest step back in seconds that counts; gradual adjustments do no harm."""


class ClockWatch:
    """Compares the wall clock with the monotonic one."""

    def __init__(self, clock: Clock, store: Store, plan: Callable[[], RetryPlan]) -> None:
        """`plan` returns the retry plan in force."""
        self._clock = clock
        self._store = store
        self._plan = plan
        self._ahead = clock.now() - clock.monotonic()
        """Difference of the wall clock and the monotonic clock in seconds at the last check."""

    async def run(self) -> None:
        """Check until cancelled; first the times stored by an earlier process."""
        now, plan = self._clock.now(), self._plan()
        await self._bring_forward(now + longest(plan), at_start(plan, now))
        while True:
            await asyncio.sleep(PERIOD)
            await self.look()

    async def look(self) -> None:
        """Check once."""
        now = self._clock.now()
        ahead = now - self._clock.monotonic()
        back = self._ahead - ahead
        if back > JUMP:
            log.warning("the clock was set back by %.0f s", back)
            if not await self._bring_forward(now, after_jump(self._plan(), now, back)):
                return  # the next check tries again
        self._ahead = ahead

    async def _bring_forward(self, since: float, earlier: Earlier) -> bool:
        try:
            count = await self._store.bring_forward(since, earlier)
        except StorageError as error:
            log.warning("delays that are too long by the clock could not be shortened: %s", error)
            return False
        if count:
            log.warning("the clock was set back: shortened the delays of %d entries", count)
        return True

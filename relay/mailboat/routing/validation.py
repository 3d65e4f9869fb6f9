"""Finds out whether DNS answers are validated, without which there is no DANE (RFC 7672 2.1).

Reports only: whether an answer is secure, it says itself (`records`). Run by `app.worker`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

log = logging.getLogger(__name__)

PERIOD = 3600.0
"""Seconds between two probes."""
RETRY = 60.0
"""Seconds until the next one after one that failed."""


class ValidatingResolver(Protocol):
    """The part of `resolver.Resolver` that is asked."""

    async def not_validated(self) -> str:
        """Why no answer can be secure; empty if answers are validated."""


class DnssecProbe:
    """Probes the resolver at the start, after each change of the configuration, and every hour."""

    def __init__(self, resolver: ValidatingResolver) -> None:
        self._resolver = resolver
        self._changed = asyncio.Event()
        self.unavailable = "not known yet"
        """Why DANE is not available; empty if it is."""

    def again(self) -> None:
        """Probe now: the configuration has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            self._changed.clear()
            await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY if self.unavailable else PERIOD):
                    await self._changed.wait()

    async def look(self) -> None:
        """Probe once; warns when DANE becomes unavailable, or for another reason."""
        before, self.unavailable = self.unavailable, await self._resolver.not_validated()
        if self.unavailable and self.unavailable != before:
            log.warning("DANE is not available: %s", self.unavailable)
        elif before and not self.unavailable:
            log.info("DANE is available: DNS answers are validated")

"""Limits listings of the queue: one at a time, with a pause after each. Used by `queue_api`.

A page costs as much CPU time as dozens of messages. The pauses, in which no listing is served, leave most of the time
to mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from mailboat.admin.problem import ProblemError

PAUSE = 2.0
"""The pause after a page, as a multiple of the time that the page took."""
LONGEST_PAUSE = 1.0
"""Seconds."""
PATIENCE = 20.0
"""Longest wait of a reader in seconds."""


class Listings:
    """The turns of one relay, on all its listeners."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn and hold it. Raises ProblemError after a timeout."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._turn.acquire()
        except TimeoutError:
            detail = "too many listings of the queue at once"
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "5"}) from None
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            loop.call_later(min(LONGEST_PAUSE, PAUSE * (loop.time() - began)), self._turn.release)

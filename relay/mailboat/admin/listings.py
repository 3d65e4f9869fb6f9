"""Whose turn it is to list the queue: one at a time, with a pause after each. Used by `queue_api`.

A page costs the interpreter as much as dozens of messages do. Readers that ask for one after the other leave the mail
most of the time nevertheless: no listing is served during the pause.
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
"""Seconds that a reader waits for its turn."""


class Listings:
    """The turns of one relay, on all its listeners."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and have it. Raises ProblemError when that takes too long."""
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

"""Reads everything again: from time to time, and when a watch was interrupted. Run by `app` beside the watches."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from mailboat_operator.kube import ApiError
from mailboat_operator.observed import ObjectKey

log = logging.getLogger(__name__)

AGAIN = 2.0
"""Seconds between a watch that begins again and the resync, since others may follow; and after a failed one."""
_SPREAD = 60.0
"""Seconds over which the resources are looked at again after it."""


class Lists(Protocol):
    """What reads everything (`listing.Lister`)."""

    async def refresh(self, changed: set[ObjectKey]) -> None:
        """Add the resources that something has changed for; may raise ApiError half-way."""


class Resync:
    """The task, and its signal."""

    def __init__(
        self,
        lists: Lists,
        resources: Callable[[], Iterable[ObjectKey]],
        look_at: Callable[[ObjectKey, float], None],
        missed: Callable[[int], None],
        period: float,
    ) -> None:
        """`look_at` a resource in so many seconds; `missed` so many that no watch has told of; `period` in seconds."""
        self._lists = lists
        self._resources = resources
        self._look_at = look_at
        self._missed = missed
        self._period = period
        self._wanted = asyncio.Event()

    def soon(self) -> None:
        """A watch begins again with a list, which does not show what was deleted in between."""
        self._wanted.set()

    async def run(self) -> None:
        """Resync until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period * random.uniform(0.9, 1.1)):  # noqa: S311 - no secret
                    await self._wanted.wait()
            await asyncio.sleep(min(AGAIN, self._period))
            self._wanted.clear()
            changed = await self._read()
            self._missed(len(changed))
            spread = min(_SPREAD, self._period / 2)
            for key in list(self._resources()):
                self._look_at(key, 0.0 if key in changed else random.uniform(0, spread))  # noqa: S311

    async def _read(self) -> set[ObjectKey]:
        """What has changed for whom; read until that succeeds."""
        changed: set[ObjectKey] = set()
        while True:
            try:
                await self._lists.refresh(changed)
            except ApiError as error:
                log.warning("resync failed, next one in %g s: %s", AGAIN, error)
                await asyncio.sleep(AGAIN)
            else:
                return changed

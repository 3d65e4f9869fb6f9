"""The MTA-STS policies of a relay as a command sees them: read beside its workers, which notice nothing.

What is looked up meanwhile is remembered in memory only. `routing.sts_cache` asks; `mailboat tls` makes one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mailboat.model.sts import StsEntry
from mailboat.queue.offline import OfflineQueue


class StsCopy:
    """In the place of `sts_table.StsTable`, with the same methods."""

    def __init__(self, queue: OfflineQueue | None) -> None:
        """Read which domains are known. None: there is no queue to read. Raises StorageError."""
        self._queue = queue
        self._stored = set() if queue is None else queue.sts_domains()
        self._written: dict[str, StsEntry] = {}

    async def domains(self) -> Sequence[str]:
        """All domains of which something is stored."""
        return list(self._stored)

    async def read(self, domain: str) -> StsEntry | None:
        """What is remembered of a domain. Raises StorageError."""
        if domain in self._written or self._queue is None:
            return self._written.get(domain)
        return self._queue.sts(domain)

    async def due(self, *_: object) -> Sequence[StsEntry]:
        """None: the relay refreshes its policies."""
        return ()

    async def past(self, _: float) -> Sequence[str]:
        """None: the relay forgets them."""
        return ()

    async def least_used(self, _: int) -> Sequence[str]:
        """None, likewise."""
        return ()

    def write(self, entry: StsEntry) -> asyncio.Future[None]:
        """Remember it until the command ends."""
        self._written[entry.domain] = entry
        return _done()

    def remove(self, _: Sequence[str]) -> asyncio.Future[None]:
        """Nothing of the relay's is removed."""
        return _done()


def _done() -> asyncio.Future[None]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future

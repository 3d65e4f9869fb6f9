"""The store on several databases of one worker: its own, and spare ones of former workers.

New mail is stored in its own; mail in the others is delivered, too, and each is removed when it is empty. `opening`
makes it.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterator, Sequence

from mailboat.model.envelope import Body, Draft, Entry, State
from mailboat.queue import schema
from mailboat.queue.bodies import remove
from mailboat.queue.queries import Cursor
from mailboat.queue.selection import order
from mailboat.queue.spool import Spool, read_place
from mailboat.queue.store import (
    PAGE_OCTETS,
    AttemptRecord,
    Page,
    QueueListener,
    Selection,
    StateStats,
    StorageError,
    Verb,
    total,
)
from mailboat.queue.waits import Earlier

log = logging.getLogger(__name__)


class SpoolSet:
    """A store over several databases. See `Store` for what its methods promise."""

    def __init__(self, primary: Spool, spares: Sequence[Spool]) -> None:
        """`primary` stores new mail."""
        self._primary = primary
        self._spools = {spool.index: spool for spool in (primary, *spares)}
        self._removals: set[asyncio.Task[None]] = set()
        self._closing = False
        for spare in spares:
            self._remove_if_empty(spare)

    def subscribe(self, listener: QueueListener) -> None:
        """Name the one listener."""
        for spool in self._spools.values():
            spool.subscribe(listener)

    def reserve_id(self) -> str:
        """A fresh queue id."""
        return self._primary.reserve_id()

    def new_body_file(self) -> tuple[str, int]:
        """A new file for a `SpooledBody`."""
        return self._primary.new_body_file()

    def accept(self, draft: Draft) -> asyncio.Future[Sequence[Entry]]:
        """C1, in the worker's own database."""
        return self._primary.accept(draft)

    def record(self, entry: Entry, record: AttemptRecord) -> asyncio.Future[None]:
        """C2, in the database that holds the entry: its bounce too, since one commit records both."""
        spool = self._spools.get(entry.key.spool)
        if spool is None:
            # Only an empty database leaves the set: the entry has been deleted.
            if record.bounce is not None:
                self._primary.bodies.discard(record.bounce.body)
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone.set_result(None)
            return gone
        done = spool.record(entry, record)
        if spool is not self._primary:
            done.add_done_callback(lambda _: self._remove_if_empty(spool))
        return done

    async def due(self, until: float, limit: int, after: Cursor | None = None) -> Sequence[Entry]:
        """Entries that are due in any of the databases."""
        found = [await spool.due(until, limit, after) for spool in self.databases()]
        return list(heapq.merge(*found, key=order))[:limit]

    async def due_in(self, domain: str, until: float, limit: int) -> Sequence[Entry]:
        """Entries of one domain that are due in any of the databases."""
        found = [await spool.due_in(domain, until, limit) for spool in self.databases()]
        return list(heapq.merge(*found, key=order))[:limit]

    async def next_due(self, after: float) -> float | None:
        """The earliest `next_attempt` later than `after`."""
        times = [await spool.next_due(after) for spool in self.databases()]
        return min((time for time in times if time is not None), default=None)

    async def body(self, entry: Entry) -> Body:
        """The message as queued."""
        spool = self._spools.get(entry.key.spool)
        if spool is None:
            raise StorageError(f"the body of {entry.id} is gone")
        return await spool.body(entry)

    async def page(self, selection: Selection, limit: int, after: str | None = None) -> Page:
        """Entries for people to see: the adopted databases first, since theirs are older."""
        spools = sorted(self._spools.values(), key=self._position)
        if after is not None:
            start = self._start(after)
            spools = [spool for spool in spools if self._position(spool) >= start]
        entries: list[Entry] = []
        octets = 0
        for spool in spools:
            if len(entries) == limit or octets >= PAGE_OCTETS:
                return Page(entries, f"{spool.index}:0", octets)
            # A database that was emptied since that page: the next one is read from its beginning.
            here = after if after is not None and after.startswith(f"{spool.index}:") else None
            page = await spool.page(selection, limit - len(entries), here)
            entries += page.entries
            octets += page.octets
            if page.next is not None:
                return Page(entries, page.next, octets)
        return Page(entries, None, octets)

    def _position(self, spool: Spool) -> tuple[bool, int]:
        return (spool is self._primary, spool.index)

    def _start(self, after: str) -> tuple[bool, int]:
        index, _ = read_place(after)
        return (index == self._primary.index, index)

    async def get(self, id: str) -> Sequence[Entry]:  # noqa: A002 - the field's word
        """The entries that an id names."""
        return [entry for spool in self.databases() for entry in await spool.get(id)]

    async def change(self, verb: Verb, selection: Selection) -> int:
        """In each database."""
        return sum([await spool.change(verb, selection) for spool in self.databases()])

    async def bring_forward(self, since: float, earlier: Earlier) -> int:
        """Reschedule entries with too long delays."""
        return sum([await spool.bring_forward(since, earlier) for spool in self.databases()])

    def stats(self) -> dict[State, StateStats]:
        """The queue's size by state, all databases together."""
        return total([spool.stats() for spool in self._spools.values()])

    @property
    def pressure(self) -> float:
        """How near a commit queue is to its mark."""
        return max(spool.pressure for spool in self._spools.values())

    @property
    def fault(self) -> str:
        """Why storage failed last, in the first database where it did."""
        return next((spool.fault for spool in self._spools.values() if spool.fault), "")

    @property
    def failed(self) -> bool:
        """Whether nothing is committed any more in one of the databases."""
        return any(spool.failed for spool in self._spools.values())

    @property
    def stalled(self) -> bool:
        """Whether outcomes wait because storage fails."""
        return any(spool.stalled for spool in self._spools.values())

    async def probe(self) -> None:
        """Write and sync a test record in each database."""
        for spool in self.databases():
            await spool.probe()

    async def close(self) -> None:
        """Finish what is under way, release the locks."""
        self._closing = True
        for spool in list(self._spools.values()):
            await spool.close()
        if self._removals:
            await asyncio.wait(list(self._removals))

    def databases(self) -> Iterator[Spool]:
        """Each in turn, the worker's own first; a spare one that is empty after its turn is removed."""
        for spool in list(self._spools.values()):
            if spool.index in self._spools:
                yield spool
                self._remove_if_empty(spool)

    def _remove_if_empty(self, spool: Spool) -> None:
        if spool is self._primary or self._closing or not spool.is_empty or spool.index not in self._spools:
            return
        # Removed from the set first: later calls find neither it nor its entries.
        del self._spools[spool.index]
        task = asyncio.get_running_loop().create_task(_remove(spool))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)


async def _remove(spool: Spool) -> None:
    """The database is removed before its lock is released, so that no other process opens it in between."""
    log.info("%s is empty and belongs to no worker: removing it", spool.path)
    await spool.close(and_then=lambda: [remove(path) for path in schema.database_files(spool.path)])


Databases = Spool | SpoolSet
"""A store with exports to archives and imports from them."""

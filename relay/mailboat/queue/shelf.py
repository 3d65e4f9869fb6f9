"""The databases of one worker: its own, and spare ones left by workers that are no more.

When the number of workers shrinks, the databases above it would lie there for ever: worker K adopts each whose number
is K modulo the number of workers, delivers what is in it, and removes it when it is empty. New mail goes to the
worker's own. `open_store` is what `app` calls; without spare databases it answers with the spool itself.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, Entry, State
from mailboat.model.observer import Observer
from mailboat.queue import schema
from mailboat.queue.bodies import remove
from mailboat.queue.intake import Tuning
from mailboat.queue.queries import Cursor
from mailboat.queue.spool import EVERYTHING, Spool, read_place
from mailboat.queue.store import (
    PAGE_OCTETS,
    Batch,
    Page,
    QueueListener,
    Selection,
    Settlement,
    StateStats,
    Step,
    StorageError,
    Verb,
)
from mailboat.queue.waits import Earlier

log = logging.getLogger(__name__)


async def open_store(
    queue_dir: str, worker: int, nodes: int, clock: Clock, observer: Observer, tuning: Tuning | None = None
) -> Databases:
    """The queue of one worker of `nodes` (0 counts as 1).

    Raises `QueueInUse` or `StorageError`; then nothing is left open.
    """
    directory, spares = await asyncio.to_thread(spare_databases, queue_dir, worker, max(1, nodes))
    opened: list[Spool] = []
    try:
        for index in [worker, *spares]:
            opened.append(await Spool.open(directory, index, clock, observer, tuning))  # noqa: PERF401 - for `except`
    except BaseException:
        for spool in opened:
            await spool.close()
        raise
    if len(opened) == 1:
        return opened[0]
    log.info("adopted %s", ", ".join(str(spool.path) for spool in opened[1:]))
    return Shelf(opened[0], opened[1:])


def spare_databases(queue_dir: str, worker: int, nodes: int) -> tuple[Path, list[int]]:
    """The queue directory and the numbers of the databases in it that this worker adopts. Raises `StorageError`."""
    directory = Path(queue_dir).absolute()
    if not directory.exists():
        return directory, []
    return directory, [i for i in database_numbers(directory) if i >= nodes and i % nodes == worker]


def database_numbers(queue_dir: Path) -> list[int]:
    """The numbers of all databases in a queue directory, ascending. Raises `StorageError`."""
    return [number for number, _ in schema.databases(queue_dir)]


class Shelf:
    """A store over several databases. See `Store` for what its methods promise."""

    def __init__(self, primary: Spool, spares: Sequence[Spool]) -> None:
        """`primary` takes new mail."""
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

    def settle(self, entry: Entry, settlement: Settlement) -> asyncio.Future[None]:
        """C2, in the database that holds the entry: its bounce too, since one commit records both."""
        spool = self._spools.get(entry.key.spool)
        if spool is None:
            # Only an empty database leaves the shelf: the entry was deleted meanwhile, and stays so.
            if settlement.bounce is not None:
                self._primary.discard(settlement.bounce.body)
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone.set_result(None)
            return gone
        done = spool.settle(entry, settlement)
        if spool is not self._primary:
            done.add_done_callback(lambda _: self._remove_if_empty(spool))
        return done

    async def due(self, until: float, limit: int, after: Cursor | None = None) -> Sequence[Entry]:
        """Entries that are due in any of the databases."""
        found = [await spool.due(until, limit, after) for spool in self._open()]
        return list(heapq.merge(*found, key=_order))[:limit]

    async def due_in(self, domain: str, until: float, limit: int) -> Sequence[Entry]:
        """Entries of one domain that are due in any of the databases."""
        found = [await spool.due_in(domain, until, limit) for spool in self._open()]
        return list(heapq.merge(*found, key=_order))[:limit]

    async def next_due(self, after: float) -> float | None:
        """The earliest `next_attempt` later than `after`."""
        times = [await spool.next_due(after) for spool in self._open()]
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
        return [entry for spool in self._open() for entry in await spool.get(id)]

    async def change(self, verb: Verb, selection: Selection) -> int:
        """In each database."""
        return await self._all(lambda spool: spool.change(verb, selection))

    async def bring_forward(self, since: float, earlier: Earlier) -> int:
        """Have what waits too long attempted earlier."""
        return sum([await spool.bring_forward(since, earlier) for spool in self._open()])

    async def export(self, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
        """A step of an export, in each database."""
        return await self._all(lambda spool: spool.export(step, batch, selection))

    async def take_in(self, archive: str) -> int:
        """Take what an archive holds for each database, the worker's own first."""
        return sum([await spool.take_in(archive) for spool in self._open()])

    async def _all(self, change: Callable[[Spool], Awaitable[int]]) -> int:
        count = 0
        for spool in self._open():
            count += await change(spool)
            self._remove_if_empty(spool)
        return count

    def stats(self) -> dict[State, StateStats]:
        """The queue's size by state, all databases together."""
        parts = [spool.stats() for spool in self._spools.values()]
        return {state: _sum([part[state] for part in parts]) for state in State}

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
        """Write and sync a trifle in each database."""
        for spool in self._open():
            await spool.probe()

    async def close(self) -> None:
        """Finish what is under way, release the locks."""
        self._closing = True
        for spool in list(self._spools.values()):
            await spool.close()
        if self._removals:
            await asyncio.wait(list(self._removals))

    def _open(self) -> Iterator[Spool]:
        """Each database in turn, unless it was emptied and removed while the one before was asked."""
        for spool in list(self._spools.values()):
            if spool.index in self._spools:
                yield spool

    def _remove_if_empty(self, spool: Spool) -> None:
        if spool is self._primary or self._closing or not spool.is_empty or spool.index not in self._spools:
            return
        # Off the shelf first: whatever comes for it from here on finds it gone, as its entries are.
        del self._spools[spool.index]
        task = asyncio.get_running_loop().create_task(_remove(spool))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)


async def _remove(spool: Spool) -> None:
    """The database goes before its lock, so that nobody opens it meanwhile."""
    log.info("%s is empty and no worker's own: removing it", spool.path)
    await spool.close(and_then=lambda: [remove(path) for path in schema.database_files(spool.path)])


def _order(entry: Entry) -> tuple[float, int, int]:
    return (entry.next_attempt or 0.0, entry.key.spool, entry.key.row)


def _sum(parts: Sequence[StateStats]) -> StateStats:
    return StateStats(
        sum(part.messages for part in parts),
        sum(part.size for part in parts),
        min((part.oldest for part in parts if part.oldest is not None), default=None),
    )


Databases = Spool | Shelf
"""A store that can give entries away to an archive and take them in."""

"""The store over one SQLite database: its reading half, operators' verbs, and its life from lock to close.

Decides nothing about delivery. Writing is `intake` and its commit thread, reading is `reader`. Made by
`shelf.open_store`; callers know it as a `Store`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, Entry, SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue import ids, queries, schema, transfers
from mailboat.queue.exports import Exports
from mailboat.queue.faults import storage_error
from mailboat.queue.imports import Imports
from mailboat.queue.intake import Intake, Surroundings, Tuning, closed
from mailboat.queue.lock import Lock, make_directory, private_files, sync_directory
from mailboat.queue.reader import Reader
from mailboat.queue.selection import fits
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

EVERYTHING = Selection()
CHANGE = 2000
"""Rows that one operation of an operator changes: more would make new mail wait."""
_PLACE = re.compile(r"([0-9]{1,6}):([0-9]{1,18})")


def database_path(queue_dir: Path, index: int) -> Path:
    """The database of a worker."""
    return queue_dir / f"queue-{index}.db"


class Spool:
    """One database, open. See `Store` for what its methods promise."""

    def __init__(self, path: Path, index: int, identity: schema.Identity, around: Surroundings) -> None:
        """For `Spool.open`, which holds the lock."""
        self.index = index
        self.path = path
        self._place = queries.Place(index, identity.tag)
        self._intake = Intake(path, index, identity, around)
        self._reader = Reader(str(path), lambda: schema.open_reader(str(path), around.tuning.connect))
        self._exports = Exports(self._intake, self._reader, self._place, self._rows)
        self._imports = Imports(path, self._intake, self._reader, self._place)
        self._lock: Lock | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, queue_dir: Path, index: int, clock: Clock, observer: Observer, tuning: Tuning | None = None
    ) -> Spool:
        """Lock and open database `index`, making it where it is missing. Raises `QueueInUse` or `StorageError`."""
        around = Surroundings(clock, observer, tuning or Tuning())
        path = database_path(queue_dir, index)
        lock, identity = await asyncio.to_thread(_lock_and_prepare, path, around.tuning)
        try:
            spool = cls(path, index, identity, around)
        except (sqlite3.Error, OSError, StorageError) as error:
            lock.release()
            raise storage_error(error, str(path)) from error
        spool._begin(lock)
        try:
            await spool._resolve()
        except BaseException:
            await spool.close()
            raise
        return spool

    def _begin(self, lock: Lock) -> None:
        self._lock = lock
        self._intake.start()
        self._sweeping = asyncio.create_task(self._sweep())

    async def _resolve(self) -> None:
        """End the exports, and end or go on with the imports, that a process left in the middle."""
        exports, imports = await self._reader.ask(transfers.unfinished)
        for batch in exports:
            await self._exports.resolve(batch)
        for batch, state in imports:
            await self._imports.resolve(batch, state)

    async def close(self, and_then: Callable[[], object] | None = None) -> None:
        """Finish what is under way, do `and_then` while the lock is still held, release it. Twice is once."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        await self._intake.close()
        if self._sweeping is not None:
            await self._sweeping
        await self._reader.close()
        if and_then is not None:
            and_then()
        lock.release()

    # New messages and outcomes.

    def subscribe(self, listener: QueueListener) -> None:
        """Name the one listener."""
        self._intake.listener = listener

    def reserve_id(self) -> str:
        """A fresh queue id."""
        return self._intake.reserve_id()

    def new_body_file(self) -> tuple[str, int]:
        """A new file for a `SpooledBody`: path and descriptor. Raises OSError."""
        return self._intake.new_body_file()

    def discard(self, body: Body) -> None:
        """Remove the new file of a body that will not be stored."""
        self._intake.bodies.discard(body)

    def accept(self, draft: Draft) -> asyncio.Future[Sequence[Entry]]:
        """C1. Raises ValueError for a draft that no store takes."""
        return self._intake.accept(draft)

    def settle(self, entry: Entry, settlement: Settlement) -> asyncio.Future[None]:
        """C2. Raises ValueError for a bounce that no store takes."""
        return self._intake.settle(entry, settlement)

    # Reading.

    async def due(self, until: float, limit: int, after: queries.Cursor | None = None) -> Sequence[Entry]:
        """Entries that are due, in order."""
        return await self._sound(lambda db: queries.due(db, self._place, until, limit, after))

    async def due_in(self, domain: str, until: float, limit: int) -> Sequence[Entry]:
        """Entries of one domain that are due."""
        return await self._sound(lambda db: queries.due_in(db, self._place, domain, until, limit))

    async def next_due(self, after: float) -> float | None:
        """The earliest `next_attempt` later than `after`."""
        return await self._reader.ask(queries.next_due, after)

    async def body(self, entry: Entry) -> Body:
        """The message as queued."""
        number = ids.number_of(entry.key.row)
        cached = self._intake.cache.get(number)
        if cached is not None:
            return cached
        found = await self._reader.ask(queries.body, number)
        if isinstance(found, bytes):
            return found
        if found is None:
            raise StorageError(f"{self.path}: the body of {entry.id} is gone")
        return SpooledBody(str(self._intake.bodies.path_of(found)), entry.message.size)

    async def page(self, selection: Selection, limit: int, after: str | None = None) -> Page:
        """Entries for people to see. Raises ValueError for an `after` that no page gave."""
        index, place = read_place(after) if after is not None else (self.index, 0)
        if index < self.index:
            raise ValueError(f"not a place in this queue: {after!r}")
        if index > self.index:
            place = 0  # an adopted database, which comes before this one and was emptied and removed meanwhile
        entries: list[Entry] = []
        octets = 0
        while len(entries) < limit and octets < PAGE_OCTETS:
            shown, place = await self._select(selection, place, limit - len(entries), PAGE_OCTETS - octets)
            entries += shown.entries
            octets += shown.octets
            if not place:
                return Page(entries, None, octets)
        return Page(entries, f"{self.index}:{place}", octets)

    async def get(self, id: str) -> Sequence[Entry]:  # noqa: A002 - the field's word
        """The entries that an id names."""
        rows = await self._reader.ask(queries.named, self._place.tag, [id])
        return await self._reader.ask(queries.read, self._place, rows)

    async def _sound(self, question: Callable[[sqlite3.Connection], queries.Found]) -> Sequence[Entry]:
        """What a question finds, once rows that cannot be read are held: one bad row never stops the others."""
        while True:
            found = await self._reader.ask(question)
            if not found.damaged:
                return found.entries
            for trouble in found.damaged:
                log.error("%s: %s: it is held", self.path, trouble)
                await self._intake.quarantine(trouble.row, str(trouble))

    async def _select(self, selection: Selection, after: int, limit: int, octets: int) -> tuple[queries.Shown, int]:
        """Some entries of a selection, and where to go on; 0 at the end."""
        if selection.ids:
            rows = [row for row in await self._rows_named(selection) if row > after]
            place = rows[limit - 1] if len(rows) > limit else 0
        else:
            rows, place = await self._reader.ask(queries.walk, selection, after, limit)
        shown = await self._reader.ask(queries.read_some, self._place, rows[:limit], octets)
        if selection.ids:
            shown = shown._replace(entries=[entry for entry in shown.entries if fits(selection, entry)])
        return shown, shown.cut_after or place

    async def _rows_named(self, selection: Selection) -> list[int]:
        return await self._reader.ask(queries.named, self._place.tag, list(selection.ids))

    # Operators.

    async def change(self, verb: Verb, selection: Selection) -> int:
        """Step by step, so that new mail shares the commits; what comes meanwhile behind the last row is in too."""
        count = place = 0
        while True:
            rows, place = await self._rows(selection, place, CHANGE)
            if rows:
                count += len(await self._intake.change(verb, rows, named=bool(selection.ids)))
            if not place:
                return count

    async def _rows(self, selection: Selection, after: int, limit: int) -> tuple[Sequence[int], int]:
        """Some rows of a selection, and where to go on; 0 at the end."""
        if not selection.ids:
            return await self._reader.ask(queries.walk, selection, after, limit)
        shown, place = await self._select(selection, after, limit, PAGE_OCTETS)
        return [entry.key.row for entry in shown.entries], place

    # Archives.

    async def export(self, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
        """A step of an export; how many entries it was."""
        return await self._exports.step(step, batch, selection)

    async def take_in(self, archive: str) -> int:
        """Take what an archive holds for this database; how many entries. Raises `DamagedArchiveError`."""
        return await self._imports.take_in(archive)

    async def bring_forward(self, since: float, earlier: Earlier) -> int:
        """Have what waits too long attempted earlier, step by step, so that new mail shares the commits."""
        count = 0
        now = self._intake.clock.now()
        while rows := await self._reader.ask(queries.active_later, now, CHANGE):
            await self._intake.reschedule([(row, now) for row in rows])
            count += len(rows)
        after: tuple[object, int] = (since, 0)
        while found := await self._reader.ask(queries.waiting, since, after, CHANGE):
            after = found[-1][2], found[-1][0]
            times = [(row, when) for row, *wait in found if (when := _earlier(earlier, *wait)) is not None]
            if times:
                await self._intake.reschedule(times)
                count += len(times)
        return count

    # Health.

    def stats(self) -> dict[State, StateStats]:
        """The queue's size by state, as of the last commit."""
        return dict(self._intake.stats)

    @property
    def is_empty(self) -> bool:
        """Nothing is queued and nothing waits to be."""
        return not self._intake.waiting and not any(state.messages for state in self._intake.stats.values())

    @property
    def pressure(self) -> float:
        """How near the commit queue is to its mark."""
        return self._intake.pressure

    @property
    def fault(self) -> str:
        """Why storage failed last; empty while it works."""
        return self._intake.fault

    @property
    def failed(self) -> bool:
        """Whether nothing is committed any more."""
        return self._intake.failed

    @property
    def stalled(self) -> bool:
        """Whether outcomes wait because storage fails."""
        return self._intake.stalled

    async def probe(self) -> None:
        """Write and sync a trifle; sets or clears `fault`."""
        await self._intake.probe()

    async def _sweep(self) -> None:
        """Remove the body files that a crash left."""
        try:
            removed = await self._reader.ask(
                lambda db: self._intake.bodies.sweep(lambda numbers: self._with_file(db, numbers))
            )
        except StorageError as error:
            if not self._intake.closing:
                log.warning("body files left by a crash were not all removed: %s", error)
        else:
            if removed:
                log.info("%s: removed %d body files that a crash left", self.path, removed)

    def _with_file(self, db: sqlite3.Connection, numbers: Sequence[int]) -> set[int]:
        if self._intake.closing:
            raise closed()
        return queries.with_file(db, numbers)


def _earlier(earlier: Earlier, attempts: object, next_attempt: object) -> float | None:
    """When a row is to be attempted that may be damaged: what is no time is later than all."""
    when = next_attempt if isinstance(next_attempt, float) else inf
    return earlier(attempts if isinstance(attempts, int) else 0, when)


def _lock_and_prepare(path: Path, tuning: Tuning) -> tuple[Lock, schema.Identity]:
    make_directory(path.parent)
    lock = Lock(path.with_suffix(".lock"))
    try:
        private_files(path)
        identity = schema.prepare(str(path), tuning.connect)
        sync_directory(path.parent)
    except OSError as error:
        lock.release()
        raise storage_error(error, str(path)) from error
    except BaseException:
        lock.release()
        raise
    return lock, identity


def read_place(after: str) -> tuple[int, int]:
    """The database and the row that a page's `next` names. Raises ValueError."""
    match = _PLACE.fullmatch(after)
    if match is None:
        raise ValueError(f"not a place in this queue: {after!r}")
    return int(match[1]), int(match[2])

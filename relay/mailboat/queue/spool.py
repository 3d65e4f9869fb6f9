"""The store on one SQLite database: writes, reads, and its life from lock to close.

Nothing here blocks. Each write is an operation for the commit thread (`commit`), whose reports `completions` handles;
large bodies are first synced in a thread pool. A few threads read (`reader`). Decides nothing about delivery and knows
no archives. Opened by `opening`; callers know it as a `Store`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TypeVar

from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, Entry, EntryKey, SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue import ids, queries, schema
from mailboat.queue.bodies import CACHE_OCTETS, BodyCache, BodyFiles
from mailboat.queue.commit import Committer
from mailboat.queue.completions import Completions
from mailboat.queue.faults import DiskReserve, storage_error
from mailboat.queue.lock import Lock
from mailboat.queue.operations import (
    Accept,
    Change,
    ChangeTable,
    NewMessage,
    Operation,
    Quarantine,
    RecordAttempt,
    Refused,
    Reschedule,
    Reserve,
    Transfer,
    WriteProbe,
)
from mailboat.queue.reader import Reader
from mailboat.queue.selection import entries_of
from mailboat.queue.store import (
    PAGE_OCTETS,
    AttemptRecord,
    Page,
    QueueListener,
    Selection,
    StateStats,
    StorageError,
    Verb,
)
from mailboat.queue.transaction import Writer
from mailboat.queue.transfers import Move
from mailboat.queue.waits import Earlier

log = logging.getLogger(__name__)

T = TypeVar("T")

CHANGE = 2000
"""Rows that one operation of an operator changes: more would delay new mail."""
_SYNC_THREADS = 4
_RETRY = 1.0
"""Seconds until syncing a bounce's file is retried."""
_PLACE = re.compile(r"([0-9]{1,6}):([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Parameters that tests and benchmarks change."""

    connect: schema.Connect = schema.connect
    reserve: Callable[[str], DiskReserve] = DiskReserve.of
    cache_octets: int = CACHE_OCTETS
    pressure_operations: int = 2000
    """Operations that wait for a commit when `pressure` is 1."""
    pressure_octets: int = 64 << 20
    """Octets of bodies that wait for a commit when `pressure` is 1."""


def database_path(queue_dir: Path, index: int) -> Path:
    """The database of a worker."""
    return queue_dir / f"queue-{index}.db"


class Spool:
    """One database, open. See `Store` for what its methods promise."""

    def __init__(
        self, path: Path, index: int, identity: schema.Identity, clock: Clock, observer: Observer, tuning: Tuning
    ) -> None:
        """For `opening`, which holds the lock; `start` begins. Raises sqlite3.Error, OSError or `StorageError`."""
        self.path = path
        self.index = index
        self.place = queries.DatabaseRef(index, identity.tag)
        self.clock = clock
        self.bodies = BodyFiles(path.parent, index, identity.first)
        self.bodies.prepare()
        self.reader = Reader(str(path), lambda: schema.open_reader(str(path), tuning.connect))
        self.closing = False
        self._next = identity.first
        self._reserved = identity.reserved
        self._tuning = tuning
        self._loop = asyncio.get_running_loop()
        self._cache = BodyCache(tuning.cache_octets)
        self._reserve = tuning.reserve(str(path.parent))
        self.completions = Completions(index, clock, observer, self.bodies, self._cache)
        self._committer = Committer(
            str(path),
            lambda: Writer(schema.open_writer(str(path), tuning.connect)),
            self.bodies,
            self._reserve,
            self.completions.complete,
        )
        self.completions.stats = self._committer.stats
        self._syncing = ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix=f"sync {path}")
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock: Lock | None = None

    def start(self, lock: Lock) -> None:
        """Start to commit; `close` releases the lock."""
        self._lock = lock
        self._committer.start()
        self._run(self._sweep())

    async def close(self, and_then: Callable[[], object] | None = None) -> None:
        """Finish running operations, call `and_then` while the lock is held, and release it. May be called again."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        self.closing = True
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        await self._committer.close()
        self._syncing.shutdown(wait=False)
        await self.reader.close()
        if and_then is not None:
            and_then()
        lock.release()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        """Remove the body files that a crash left."""
        try:
            removed = await self.reader.ask(lambda db: self.bodies.sweep(lambda numbers: self._with_file(db, numbers)))
        except StorageError as error:
            if not self.closing:
                log.warning("some body files left by a crash could not be removed: %s", error)
        else:
            if removed:
                log.info("%s: removed %d body files left by a crash", self.path, removed)

    def _with_file(self, db: sqlite3.Connection, numbers: Sequence[int]) -> set[int]:
        if self.closing:
            raise _closed()
        return queries.with_file(db, numbers)

    def databases(self) -> Iterator[Spool]:
        """Of several databases, each; see `spool_set.SpoolSet`."""
        yield self

    # New messages and outcomes.

    def subscribe(self, listener: QueueListener) -> None:
        """Name the one listener."""
        self.completions.listener = listener

    def reserve_id(self) -> str:
        """A fresh queue id."""
        return ids.message_id(self.place.tag, self.number())

    def number(self) -> int:
        """A number for a message."""
        number = self._next
        self._next += 1
        if number + schema.BLOCK // 2 > self._reserved:
            # Half a block early and without waiting: a message that needs it is committed later.
            self._reserved += schema.BLOCK
            operation = Reserve(self._reserved)
            self.completions.expect(operation)
            self._committer.submit(operation)
        return number

    def new_body_file(self) -> tuple[str, int]:
        """A new file for a `SpooledBody`: path and descriptor. Raises OSError, also when room runs short."""
        if self._reserve.shortage(0) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path.parent))
        return self.bodies.create()

    def accept(self, draft: Draft) -> asyncio.Future[Sequence[Entry]]:
        """C1. Raises ValueError for an invalid draft."""
        future: asyncio.Future[Sequence[Entry]] = self._loop.create_future()
        if self.closing:
            self.bodies.discard(draft.body)
            future.set_exception(_closed())
            return future
        operation = Accept(self._new_message(draft), future)
        self.completions.expect(operation)
        if isinstance(draft.body, SpooledBody):
            self._run(self._accept_file(operation, draft.body))
        else:
            self._committer.submit(operation)
        return future

    def record(self, entry: Entry, record: AttemptRecord) -> asyncio.Future[None]:
        """C2. Raises ValueError for an invalid bounce."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self.closing:
            future.set_exception(_closed())
            return future
        self._cache.used(ids.number_of(entry.key.row))
        bounce = record.bounce
        new = self._new_message(bounce) if bounce is not None else None
        operation = RecordAttempt(entry.key, record.remaining, new, future)
        self.completions.expect(operation)
        if bounce is not None and isinstance(bounce.body, SpooledBody):
            self._run(self._record_file(operation, bounce.body))
        else:
            self._committer.submit(operation)
        return future

    def _new_message(self, draft: Draft) -> NewMessage:
        parsed = ids.parse(draft.id) if draft.id else None
        # An id of another database (a bounce recorded on an adopted one) cannot name a row here.
        ours = parsed is not None and parsed.tag == self.place.tag and parsed.number < self._next
        number = parsed.number if parsed is not None and ours else self.number()
        try:
            if isinstance(draft.body, SpooledBody):
                self.bodies.check(draft.body)
            name = draft.id if ours else ids.message_id(self.place.tag, number)
            entries = entries_of(draft, name, EntryKey(self.index, ids.row_of(number, 0)), self.clock.now())
        except ValueError:
            self.bodies.discard(draft.body)
            raise
        return NewMessage(number, entries, draft.body if isinstance(draft.body, bytes) else None)

    # Bodies in files: synced and moved before they are submitted to the commit thread.

    async def _accept_file(self, operation: Accept, body: SpooledBody) -> None:
        try:
            message = await self._secure(operation.message, body)
        except OSError as error:
            self.bodies.discard(body)
            self.completions.complete([Refused([operation], storage_error(error, str(self.path)))])
        else:
            self._committer.submit(replace(operation, message=message))

    async def _record_file(self, operation: RecordAttempt, body: SpooledBody) -> None:
        """An outcome must not be lost because of its bounce: syncing the file is retried until it works."""
        assert operation.bounce is not None
        while True:
            try:
                message = await self._secure(operation.bounce, body)
            except OSError as error:
                trouble = storage_error(error, str(self.path))
                if self.closing or isinstance(error, FileNotFoundError):
                    self.completions.complete([Refused([operation], trouble)])
                    return
                self.completions.fault = str(trouble)
                await asyncio.sleep(_RETRY)
            else:
                self._committer.submit(replace(operation, bounce=message))
                return

    async def _secure(self, message: NewMessage, body: SpooledBody) -> NewMessage:
        name = await self._loop.run_in_executor(self._syncing, self.bodies.secure, body, message.number)
        return replace(message, file=name, head=body.head)

    # Changes of rows.

    async def change(self, verb: Verb, selection: Selection) -> int:
        """In steps, so that new mail shares the commits; entries added after the last row in between are included."""
        count = after = 0
        while True:
            rows, after = await self.reader.ask(queries.rows_of, self.place, selection, after, CHANGE)
            if rows:
                count += len(await self.change_rows(verb, rows, named=bool(selection.ids)))
            if not after:
                return count

    def change_rows(self, verb: Verb, rows: Sequence[int], *, named: bool = False) -> asyncio.Future[Sequence[int]]:
        """The same for rows, `named` by their ids or not; returns the changed ones."""
        future: asyncio.Future[Sequence[int]] = self._loop.create_future()
        return self._submit(Change(verb, rows, self.clock.now(), future, named), future)

    def transfer(self, move: Move, octets: int = 0) -> asyncio.Future[Sequence[int]]:
        """A change of `transfers`, which adds about `octets`; returns its rows."""
        future: asyncio.Future[Sequence[int]] = self._loop.create_future()
        if octets and not self.closing and (shortage := self._reserve.shortage(octets)) is not None:
            future.set_exception(shortage)
            return future
        return self._submit(Transfer(move, future, octets), future)

    def change_table(self, change: Callable[[sqlite3.Connection], object]) -> asyncio.Future[None]:
        """A change of a table that holds no mail; called in the commit thread."""
        future: asyncio.Future[None] = self._loop.create_future()
        return self._submit(ChangeTable(change, future), future)

    async def bring_forward(self, since: float, earlier: Earlier) -> int:
        """Reschedule entries with too long delays, in steps, so that new mail shares the commits."""
        count = 0
        now = self.clock.now()
        while rows := await self.reader.ask(queries.active_later, now, CHANGE):
            await self._reschedule([(row, now) for row in rows])
            count += len(rows)
        after: tuple[object, int] = (since, 0)
        while found := await self.reader.ask(queries.waiting, since, after, CHANGE):
            after = found[-1][2], found[-1][0]
            times = [(row, when) for row, *wait in found if (when := _earlier(earlier, *wait)) is not None]
            if times:
                await self._reschedule(times)
                count += len(times)
        return count

    def _reschedule(self, times: Sequence[tuple[int, float]]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        return self._submit(Reschedule(times, future), future)

    def _submit(self, operation: Operation, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """Submit it for the next commit; returns its future."""
        if self.closing:
            future.set_exception(_closed())
        else:
            self.completions.expect(operation)
            self._committer.submit(operation)
        return future

    # Reading.

    async def due(self, until: float, limit: int, after: queries.Cursor | None = None) -> Sequence[Entry]:
        """Entries that are due, in order."""
        return await self._sound(lambda db: queries.due(db, self.place, until, limit, after))

    async def due_in(self, domain: str, until: float, limit: int) -> Sequence[Entry]:
        """Entries of one domain that are due."""
        return await self._sound(lambda db: queries.due_in(db, self.place, domain, until, limit))

    async def _sound(self, question: Callable[[sqlite3.Connection], queries.DueEntries]) -> Sequence[Entry]:
        """The result of a query, after damaged rows are held, so that one does not stop the others."""
        while True:
            found = await self.reader.ask(question)
            if not found.damaged:
                return found.entries
            for trouble in found.damaged:
                log.error("%s: %s: it is held", self.path, trouble)
                future: asyncio.Future[None] = self._loop.create_future()
                await self._submit(Quarantine(trouble.row, str(trouble), future), future)

    async def next_due(self, after: float) -> float | None:
        """The earliest `next_attempt` later than `after`."""
        return await self.reader.ask(queries.next_due, after)

    async def body(self, entry: Entry) -> Body:
        """The message as queued."""
        number = ids.number_of(entry.key.row)
        cached = self._cache.get(number)
        if cached is not None:
            return cached
        found = await self.reader.ask(queries.body, number)
        if isinstance(found, bytes):
            return found
        if found is None:
            raise StorageError(f"{self.path}: the body of {entry.id} is gone")
        return SpooledBody(str(self.bodies.path_of(found.name)), entry.message.size, found.head)

    async def page(self, selection: Selection, limit: int, after: str | None = None) -> Page:
        """Entries for people to see. Raises ValueError for an `after` that no page gave."""
        index, row = read_place(after) if after is not None else (self.index, 0)
        if index < self.index:
            raise ValueError(f"not a position in this queue: {after!r}")
        if index > self.index:
            row = 0  # of an adopted database, which comes before this one and has been removed
        entries: list[Entry] = []
        octets = 0
        while len(entries) < limit and octets < PAGE_OCTETS:
            shown, row = await self.reader.ask(
                queries.select, self.place, selection, row, limit - len(entries), PAGE_OCTETS - octets
            )
            entries += shown.entries
            octets += shown.octets
            if not row:
                return Page(entries, None, octets)
        return Page(entries, f"{self.index}:{row}", octets)

    async def get(self, id: str) -> Sequence[Entry]:  # noqa: A002 - the field's word
        """The entries that an id names."""
        return await self.reader.ask(lambda db: queries.read(db, self.place, queries.named(db, self.place.tag, [id])))

    # Health.

    def stats(self) -> dict[State, StateStats]:
        """The queue's size by state, as of the last commit."""
        return dict(self.completions.stats)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued or waits for a commit."""
        return not self.completions.waiting and not any(part.messages for part in self.completions.stats.values())

    @property
    def pressure(self) -> float:
        """How near the commit queue is to its mark."""
        waiting, tuning = self.completions, self._tuning
        return max(waiting.waiting / tuning.pressure_operations, waiting.waiting_octets / tuning.pressure_octets)

    @property
    def fault(self) -> str:
        """Why storage failed last; empty while it works."""
        return self.completions.fault

    @property
    def failed(self) -> bool:
        """Whether nothing is committed any more."""
        return self._committer.failure is not None

    @property
    def stalled(self) -> bool:
        """Whether outcomes wait because storage fails."""
        return self._committer.stalled

    async def probe(self) -> None:
        """Write and sync a test record; sets or clears `fault`."""
        if not self.closing:
            future: asyncio.Future[None] = self._loop.create_future()
            await self._submit(WriteProbe(future), future)


def _earlier(earlier: Earlier, attempts: object, next_attempt: object) -> float | None:
    """The new time of a row that may be damaged: an invalid time counts as the latest."""
    when = next_attempt if isinstance(next_attempt, float) else inf
    return earlier(attempts if isinstance(attempts, int) else 0, when)


def _closed() -> StorageError:
    """The error of all calls after `close`."""
    return StorageError("the queue is closed")


def read_place(after: str) -> tuple[int, int]:
    """The database and the row that a page's `next` names. Raises ValueError."""
    match = _PLACE.fullmatch(after)
    if match is None:
        raise ValueError(f"not a position in this queue: {after!r}")
    return int(match[1]), int(match[2])

"""The writing half of a spool, on the event loop: messages numbered, outcomes handed over, everybody told afterwards.

Nothing here blocks: files are synced in a pool, everything else goes to the commit thread, whose reports resolve the
futures and reach the listener. Owned by `spool`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mailboat.model.clock import Clock
from mailboat.model.envelope import Draft, Entry, EntryKey, SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue import ids, schema
from mailboat.queue.bodies import CACHE_OCTETS, BodyCache, BodyFiles
from mailboat.queue.commit import Committer
from mailboat.queue.faults import Room, storage_error
from mailboat.queue.operations import (
    Accept,
    Change,
    Committed,
    NewMessage,
    Operation,
    Probe,
    Quarantine,
    Refused,
    Report,
    Reschedule,
    Reserve,
    Settle,
    Transfer,
)
from mailboat.queue.selection import entries_of
from mailboat.queue.store import QueueListener, Settlement, StorageError, Verb
from mailboat.queue.transaction import Writer
from mailboat.queue.transfers import Move

log = logging.getLogger(__name__)

T = TypeVar("T")

_SYNC_THREADS = 4
_RETRY = 1.0
"""Seconds until a bounce's file is synced again after it failed."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tests and benchmarks set otherwise."""

    connect: schema.Connect = schema.connect
    room: Callable[[str], Room] = Room.of
    cache_octets: int = CACHE_OCTETS
    pressure_operations: int = 2000
    """Operations that wait for a commit when `pressure` is 1."""
    pressure_octets: int = 64 << 20
    """Octets of bodies that wait for a commit when `pressure` is 1."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a database is opened with."""

    clock: Clock
    observer: Observer
    tuning: Tuning


class Intake:
    """Takes operations for one database. See `Store` for the promises."""

    def __init__(self, path: Path, index: int, identity: schema.Identity, around: Surroundings) -> None:
        """Open the database for writing; `start` begins. Raises sqlite3.Error or `StorageError`."""
        self._path = path
        self._index = index
        self._tag = identity.tag
        self._next = identity.first
        self._reserved = identity.reserved
        self.clock = around.clock
        self._observer = around.observer
        self._tuning = around.tuning
        self.bodies = BodyFiles(path.parent, index, identity.first)
        self.bodies.prepare()
        self.cache = BodyCache(around.tuning.cache_octets)
        self.listener: QueueListener | None = None
        self._loop = asyncio.get_running_loop()
        self._room = around.tuning.room(str(path.parent))
        self._committer = Committer(
            str(path),
            lambda: Writer(schema.open_writer(str(path), around.tuning.connect)),
            self.bodies,
            self._room,
            self._told,
        )
        self.stats = self._committer.stats
        """As of the last commit."""
        self._syncing = ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix=f"sync {path}")
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = 0
        """Operations that are not committed yet."""
        self._waiting_octets = 0
        self.fault = ""
        self.closing = False

    def start(self) -> None:
        """Begin to commit."""
        self._committer.start()

    @property
    def stalled(self) -> bool:
        """Whether outcomes wait because storage fails."""
        return self._committer.stalled

    @property
    def failed(self) -> bool:
        """Whether nothing is committed any more."""
        return self._committer.failure is not None

    @property
    def pressure(self) -> float:
        """How near the commit queue is to its mark."""
        return max(self.waiting / self._tuning.pressure_operations, self._waiting_octets / self._tuning.pressure_octets)

    # Taking operations.

    def reserve_id(self) -> str:
        """A fresh queue id."""
        return ids.message_id(self._tag, self.number())

    def new_body_file(self) -> tuple[str, int]:
        """A new file for a `SpooledBody`: path and descriptor. Raises OSError, also when room runs short."""
        if self._room.shortage(0) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path.parent))
        return self.bodies.create()

    def accept(self, draft: Draft) -> asyncio.Future[Sequence[Entry]]:
        """C1. Raises ValueError for a draft that no store takes."""
        future: asyncio.Future[Sequence[Entry]] = self._loop.create_future()
        if self.closing:
            self.bodies.discard(draft.body)
            future.set_exception(closed())
            return future
        operation = Accept(self._new_message(draft), future)
        self._count(operation, 1)
        if isinstance(draft.body, SpooledBody):
            self._start(self._accept_file(operation, draft.body))
        else:
            self._committer.submit(operation)
        return future

    def settle(self, entry: Entry, settlement: Settlement) -> asyncio.Future[None]:
        """C2. Raises ValueError for a bounce that no store takes."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self.closing:
            future.set_exception(closed())
            return future
        self.cache.used(ids.number_of(entry.key.row))
        bounce = settlement.bounce
        new = self._new_message(bounce) if bounce is not None else None
        operation = Settle(entry.key, settlement.remaining, new, future)
        self._count(operation, 1)
        if bounce is not None and isinstance(bounce.body, SpooledBody):
            self._start(self._settle_file(operation, bounce.body))
        else:
            self._committer.submit(operation)
        return future

    def change(self, verb: Verb, rows: Sequence[int], *, named: bool = False) -> asyncio.Future[Sequence[int]]:
        """An operator's verb on rows; `named`: by their ids."""
        future: asyncio.Future[Sequence[int]] = self._loop.create_future()
        if self.closing:
            future.set_exception(closed())
        else:
            self._submit(Change(verb, rows, self.clock.now(), future, named))
        return future

    def quarantine(self, row: int, reason: str) -> asyncio.Future[None]:
        """Hold a damaged row."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self.closing:
            future.set_exception(closed())
        else:
            self._submit(Quarantine(row, reason, future))
        return future

    def transfer(self, move: Move, octets: int = 0) -> asyncio.Future[Sequence[int]]:
        """A change of `transfers`, which adds about so many octets; answers with its rows."""
        future: asyncio.Future[Sequence[int]] = self._loop.create_future()
        if self.closing:
            future.set_exception(closed())
        elif octets and (shortage := self._room.shortage(octets)) is not None:
            future.set_exception(shortage)
        else:
            self._submit(Transfer(move, future, octets))
        return future

    def reschedule(self, times: Sequence[tuple[int, float]]) -> asyncio.Future[None]:
        """Attempt entries at other times: rows, and when."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self.closing:
            future.set_exception(closed())
        else:
            self._submit(Reschedule(times, future))
        return future

    def probe(self) -> asyncio.Future[None]:
        """Write and sync a trifle."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self.closing:
            future.set_result(None)
        else:
            self._submit(Probe(future))
        return future

    async def close(self) -> None:
        """Commit what is under way."""
        self.closing = True
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        await self._committer.close()
        self._syncing.shutdown(wait=False)

    def _submit(self, operation: Operation) -> None:
        self._count(operation, 1)
        self._committer.submit(operation)

    def _count(self, operation: Operation, sign: int) -> None:
        self.waiting += sign
        if isinstance(operation, Accept):
            self._waiting_octets += sign * len(operation.message.body or b"")

    def number(self) -> int:
        """A number for a message."""
        number = self._next
        self._next += 1
        if number + schema.BLOCK // 2 > self._reserved:
            # Half a block ahead of need, and without waiting: any message that needs it is committed later.
            self._reserved += schema.BLOCK
            self._submit(Reserve(self._reserved))
        return number

    def _new_message(self, draft: Draft) -> NewMessage:
        parsed = ids.parse(draft.id) if draft.id else None
        # An id of another database (a bounce settled on an adopted one) cannot name a row here.
        ours = parsed is not None and parsed.tag == self._tag and parsed.number < self._next
        number = parsed.number if parsed is not None and ours else self.number()
        try:
            if isinstance(draft.body, SpooledBody):
                self.bodies.check(draft.body)
            name = ids.message_id(self._tag, number)
            entries = entries_of(draft, name, EntryKey(self._index, ids.row_of(number, 0)), self.clock.now())
        except ValueError:
            self.bodies.discard(draft.body)
            raise
        return NewMessage(number, entries, draft.body if isinstance(draft.body, bytes) else None)

    # Bodies in files: synced and moved before the commit thread hears of them.

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept_file(self, operation: Accept, body: SpooledBody) -> None:
        try:
            message = await self._secure(operation.message, body)
        except OSError as error:
            self.bodies.discard(body)
            self._told([Refused([operation], storage_error(error, str(self._path)))])
        else:
            self._committer.submit(replace(operation, message=message))

    async def _settle_file(self, operation: Settle, body: SpooledBody) -> None:
        """An outcome is never lost for its bounce: the file is synced until that works."""
        assert operation.bounce is not None
        while True:
            try:
                message = await self._secure(operation.bounce, body)
            except OSError as error:
                trouble = storage_error(error, str(self._path))
                if self.closing or isinstance(error, FileNotFoundError):
                    self._told([Refused([operation], trouble)])
                    return
                self.fault = str(trouble)
                await asyncio.sleep(_RETRY)
            else:
                self._committer.submit(replace(operation, bounce=message))
                return

    async def _secure(self, message: NewMessage, body: SpooledBody) -> NewMessage:
        name = await self._loop.run_in_executor(self._syncing, self.bodies.secure, body, message.number)
        return replace(message, file=name)

    # What the commit thread reports.

    def _told(self, reports: Sequence[Report]) -> None:
        added: list[Entry] = []
        for report in reports:
            if isinstance(report, Refused):
                self._refused(report)
            else:
                self._committed(report, added)
        if added:
            self.hear(lambda listener: listener.added(added))

    def _refused(self, report: Refused) -> None:
        if report.storage:
            self.fault = str(report.error)
        for operation in report.operations:
            self._count(operation, -1)
            if isinstance(operation, Accept) and operation.message.file:
                self.bodies.remove([operation.message.file])
            if isinstance(operation, Probe):
                _resolve(operation.future, None)
            elif not isinstance(operation, Reserve) and not operation.future.done():
                operation.future.set_exception(report.error)

    def _committed(self, report: Committed, added: list[Entry]) -> None:
        applied = report.applied
        self.stats = applied.stats
        messages, needed_room = 0, False
        for position, operation in enumerate(report.operations):
            self._count(operation, -1)
            if isinstance(operation, Accept):
                messages += 1
                self._announce(operation.message, added)
                _resolve(operation.future, operation.message.entries)
            elif isinstance(operation, Settle):
                if operation.bounce is not None and operation.bounce.number not in applied.unannounced:
                    self._announce(operation.bounce, added)
                _resolve(operation.future, None)
            elif isinstance(operation, Change):
                self._changed(operation, applied.changed[position])
            elif isinstance(operation, Quarantine):
                self._withdraw([operation.row])
                _resolve(operation.future, None)
            elif isinstance(operation, Transfer):
                if position in applied.refused:
                    _fail(operation.future, StorageError(applied.refused[position]))
                _resolve(operation.future, applied.changed[position])
            elif isinstance(operation, Reschedule):
                self.hear(lambda listener: listener.woken())
                _resolve(operation.future, None)
            elif isinstance(operation, Probe):
                needed_room = True
                _resolve(operation.future, None)
        if self.fault and (messages or needed_room):
            log.info("%s: storage works again", self._path)
            self.fault = ""
        self._observer.committed(report.duration, messages)

    def _announce(self, message: NewMessage, added: list[Entry]) -> None:
        added += message.entries
        if message.body is not None:
            self.cache.put(message.number, message.body, len(message.entries), self.clock.monotonic())

    def _changed(self, change: Change, rows: Sequence[int]) -> None:
        if rows and change.verb.result is State.ACTIVE:
            self.hear(lambda listener: listener.woken())
        elif rows:
            self._withdraw(rows)
        _resolve(change.future, rows)

    def _withdraw(self, rows: Sequence[int]) -> None:
        for row in rows:
            self.cache.used(ids.number_of(row))
        self.hear(lambda listener: listener.withdrawn([EntryKey(self._index, row) for row in rows]))

    def hear(self, tell: Callable[[QueueListener], None]) -> None:
        """A listener's mistake must not cost the other futures of the commit."""
        if self.listener is None:
            return
        try:
            tell(self.listener)
        except Exception:
            log.exception("the queue's listener failed")


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():  # else its caller gave up waiting
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: StorageError) -> None:
    if not future.done():
        future.set_exception(error)


def closed() -> StorageError:
    """What everything is told after `close`."""
    return StorageError("the queue is closed")

"""Handles reports of the commit thread on the event loop: futures get their results, and the listener is called.

Also keeps what is known from reports only: how much waits for a commit, the queue's size, and why storage failed last.
Owned by `spool`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mailboat.model.clock import Clock
from mailboat.model.envelope import Entry, EntryKey, State
from mailboat.model.observer import Observer
from mailboat.queue import ids
from mailboat.queue.bodies import BodyCache, BodyFiles
from mailboat.queue.operations import (
    Accept,
    Change,
    ChangeTable,
    Committed,
    NewMessage,
    Operation,
    Quarantine,
    RecordAttempt,
    Refused,
    Report,
    Reschedule,
    Reserve,
    Stats,
    Transfer,
    WriteProbe,
)
from mailboat.queue.store import QueueListener, StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Completions:
    """The operations of one database that are not finished, and the futures and listener to notify."""

    def __init__(self, index: int, clock: Clock, observer: Observer, bodies: BodyFiles, cache: BodyCache) -> None:
        """`index` is the number of the database."""
        self._index = index
        self._clock = clock
        self._observer = observer
        self._bodies = bodies
        self._cache = cache
        self.listener: QueueListener | None = None
        self.stats: Stats = {}
        """As of the last commit."""
        self.fault = ""
        """Why the last commit or probe failed; empty while storage works."""
        self.waiting = 0
        """Operations that are not committed yet."""
        self.waiting_octets = 0
        """Octets of their bodies."""

    def expect(self, operation: Operation) -> None:
        """Count an operation until it is reported."""
        self.waiting += 1
        if isinstance(operation, Accept):
            self.waiting_octets += len(operation.message.body or b"")

    def complete(self, reports: Sequence[Report]) -> None:
        """Resolve the futures and call the listener."""
        added: list[Entry] = []
        for report in reports:
            self.waiting -= len(report.operations)
            if isinstance(report, Refused):
                self._refused(report)
            else:
                self._committed(report, added)
        if added:
            self.tell(lambda listener: listener.added(added))

    def _refused(self, report: Refused) -> None:
        if report.storage:
            self.fault = str(report.error)
        for operation in report.operations:
            if isinstance(operation, Accept):
                self._ended(operation.message)
                if operation.message.file:
                    self._bodies.remove([operation.message.file])
            if isinstance(operation, WriteProbe):
                _resolve(operation.future, None)
            elif not isinstance(operation, Reserve):
                _fail(operation.future, report.error)

    def _committed(self, report: Committed, added: list[Entry]) -> None:
        applied = report.applied
        self.stats = applied.stats
        messages, needed_room = 0, False
        for position, operation in enumerate(report.operations):
            if isinstance(operation, Accept):
                messages += 1
                self._ended(operation.message)
                self._announce(operation.message, added)
                _resolve(operation.future, operation.message.entries)
            elif isinstance(operation, RecordAttempt):
                if operation.bounce is not None and operation.bounce.number not in applied.unannounced:
                    self._announce(operation.bounce, added)
                _resolve(operation.future, None)
            elif isinstance(operation, Change):
                self._changed(operation, applied.changed[position])
            elif isinstance(operation, Quarantine):
                self._withdrawn([operation.row])
                _resolve(operation.future, None)
            elif isinstance(operation, Transfer):
                if position in applied.refused:
                    _fail(operation.future, StorageError(applied.refused[position]))
                _resolve(operation.future, applied.changed[position])
            elif isinstance(operation, Reschedule):
                self.tell(lambda listener: listener.woken())
                _resolve(operation.future, None)
            elif isinstance(operation, WriteProbe | ChangeTable):
                needed_room = needed_room or isinstance(operation, WriteProbe)
                _resolve(operation.future, None)
        if self.fault and (messages or needed_room):
            log.info("storage works again after: %s", self.fault)
            self.fault = ""
        self._observer.committed(report.duration, messages)

    def _ended(self, message: NewMessage) -> None:
        self.waiting_octets -= len(message.body or b"")

    def _announce(self, message: NewMessage, added: list[Entry]) -> None:
        added += message.entries
        if message.body is not None:
            self._cache.put(message.number, message.body, len(message.entries), self._clock.monotonic())

    def _changed(self, change: Change, rows: Sequence[int]) -> None:
        if rows and change.verb.result is State.ACTIVE:
            self.tell(lambda listener: listener.woken())
        elif rows:
            self._withdrawn(rows)
        _resolve(change.future, rows)

    def _withdrawn(self, rows: Sequence[int]) -> None:
        for row in rows:
            self._cache.used(ids.number_of(row))
        self.tell(lambda listener: listener.withdrawn([EntryKey(self._index, row) for row in rows]))

    def tell(self, fact: Callable[[QueueListener], None]) -> None:
        """Call the listener; its exception must not affect the other futures of the commit."""
        if self.listener is None:
            return
        try:
            fact(self.listener)
        except Exception:
            log.exception("the queue's listener failed")


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():  # else its caller no longer waits
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: StorageError) -> None:
    if not future.done():
        future.set_exception(error)

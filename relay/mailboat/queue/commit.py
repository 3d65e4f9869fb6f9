"""Group commit: one thread makes all operations durable that arrived during its previous commit.

The event loop appends operations; the thread applies all of them in one transaction, and reports to the loop once. If
storage fails, new mail is refused at once, but outcomes are retried until they are stored: none is lost while the
process lives. Knows transactions and body files, nothing of callers. Owned by `spool`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from mailboat.queue.bodies import BodyFiles
from mailboat.queue.faults import DiskReserve, is_storage_trouble, storage_error
from mailboat.queue.operations import (
    Accept,
    Change,
    Committed,
    NewMessage,
    Operation,
    RecordAttempt,
    Refused,
    Report,
    Reserve,
    Stats,
    Transfer,
    WriteProbe,
)
from mailboat.queue.schema import PAGE
from mailboat.queue.store import StorageError
from mailboat.queue.transaction import Writer

log = logging.getLogger(__name__)

BATCH = 4096
"""Maximum of operations in one transaction."""
RECORD_DELAY = 0.01
"""Seconds that the record of a finished delivery waits for a commit that is made anyway: no caller waits for it, and
a crash in between causes a duplicate only where one was possible before (promise 2)."""
BATCH_WINDOW = 0.005
"""Seconds that a commit waits for as many messages as the last one held: an fsync and two changes of threads for one
message cost nearly as much as for ten. It ends as soon as they have arrived, and a single client never waits."""
LONGEST_PAUSE = 1.0
"""Seconds between two attempts to store outcomes while storage fails; the first pause is a 32nd of it."""
SWITCH_INTERVAL = 0.0005
"""Seconds for `sys.setswitchinterval` in a process that runs this thread besides a busy event loop: with the
default, ten times as long, each commit waits longer for the interpreter lock than for the disk."""
_PIECE = 64
"""Outcomes in one transaction after a larger one has failed."""

Tell = Callable[[Sequence[Report]], None]


def _can_wait(operation: Operation) -> bool:
    return isinstance(operation, RecordAttempt) and operation.bounce is None


class Committer:
    """The commit thread and the queue in front of it."""

    def __init__(
        self, path: str, open_writer: Callable[[], Writer], bodies: BodyFiles, reserve: DiskReserve, tell: Tell
    ) -> None:
        """`tell` is called on the running event loop, once for each batch. Raises sqlite3.Error."""
        self._path = path
        self._open_writer = open_writer
        self._bodies = bodies
        self._reserve = reserve
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._writer: Writer | None = open_writer()
        self.stats: Stats = self._writer.stats
        """As of the opening; later ones come with each commit."""
        self._pending: deque[Operation] = deque()
        self._retained: list[Operation] = []
        self._batch: Sequence[Operation] = ()
        """The operations that the thread has taken and not reported on."""
        self.stalled = False
        """Whether outcomes wait because storage fails."""
        self.failure: StorageError | None = None
        """Why the thread ended early: nothing is committed any more."""
        self._trouble = ""
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = False
        self._wanted = False
        """An operation waits that needs a commit at once."""
        self._timer_set = False
        self._expected = 0
        """How many messages to wait for: as many as the last batch had, or one less than expected before."""
        # Each of these counters has one writer: the loop, then the thread.
        self._submitted = 0
        self._taken = 0
        self._awaited = 0
        self._closing = False
        self._pause = 0.0
        self._log_octets = 0
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"commit {path}", daemon=True)

    def start(self) -> None:
        """Start to commit."""
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Add an operation to the next commit. Called on the event loop."""
        if self.failure is not None:
            self._loop.call_soon(self._tell, [Refused([operation], self.failure)])
            return
        self._pending.append(operation)
        if type(operation) is Accept:
            self._submitted += 1
            if self._submitted == self._awaited:
                self._wake.put(None)
        if not _can_wait(operation):
            self._wake_thread()
        elif not self._timer_set:
            self._timer_set = True
            self._loop.call_later(RECORD_DELAY, self._flush_records)

    def _flush_records(self) -> None:
        self._timer_set = False
        self._wake_thread()

    def _wake_thread(self) -> None:
        self._wanted = True
        if self._idle:
            self._idle = False
            self._wake.put(None)

    async def close(self) -> None:
        """Commit what is pending and end the thread."""
        self._closing = True
        self._wake.put(None)
        if self._thread.ident is None:
            self._close_writer()
            return
        await asyncio.shield(self._closed)
        self._thread.join()

    # The thread.

    def _run(self) -> None:
        try:
            while operations := self._next_batch():
                self._batch = operations
                last_chance = self._closing
                reports = self._commit(operations)
                if last_chance and self._retained:
                    reports.append(Refused(self._retained, StorageError(f"{self._path}: closed while storage fails")))
                    self._retained = []
                self._secure_room()
                self._batch = ()
                self._report(reports)
                self._check_log()
        except BaseException as error:
            log.critical("%s: the commit thread failed; the process must start again", self._path, exc_info=True)
            self._call(self._fail, StorageError(f"{self._path}: the commit thread failed: {error!r}"))
        finally:
            self._close_writer()
            self._call(self._set_closed)

    def _fail(self, failure: StorageError) -> None:
        """On the event loop: refuse all operations that wait. Those in the failed batch may or may not be stored."""
        self.failure, self.stalled = failure, True
        waiting = [*(self._batch or self._retained), *self._pending]
        self._pending.clear()
        self._tell([Refused(waiting, failure)])

    def _set_closed(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def _call(self, function: Callable[..., None], *values: object) -> None:
        # The loop is closed if its owner did not wait for this thread: there is no one to report to.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *values)

    def _next_batch(self) -> list[Operation]:
        """The next batch, after waiting for it; empty at the end."""
        if self._retained and not self._closing:
            with contextlib.suppress(Empty):
                self._wake.get(timeout=self._pause)
        while True:
            if self._wanted or self._retained or self._closing:
                batch = self._gather()
                if batch or self._closing:
                    return batch
            # First `_idle`, then the last check: an operation that arrives in between is seen here or wakes this
            # thread.
            self._idle = True
            if not (self._wanted or self._closing):
                self._wake.get()
            self._idle = False

    def _gather(self) -> list[Operation]:
        """Everything that waits, up to a batch."""
        if self._expected > 1 and not self._closing:
            self._wait_for_batch()
        self._wanted = False
        batch, pending = self._retained, self._pending
        # Outcomes that cannot be stored must not delay the answer to new mail, however many they are.
        room = max(BATCH - len(batch), BATCH // 4)
        while pending and room:
            batch.append(pending.popleft())
            room -= 1
        messages = sum(type(operation) is Accept for operation in batch)
        self._taken += messages
        self._expected = max(messages, self._expected - 1)
        if pending:
            self._wanted = True
        return batch

    def _wait_for_batch(self) -> None:
        """The clients of the last commits are likely to send their next messages soon."""
        self._awaited = self._taken + self._expected
        if self._submitted < self._awaited:
            with contextlib.suppress(Empty):
                self._wake.get(timeout=BATCH_WINDOW)
        self._awaited = 0

    def _report(self, reports: list[Report]) -> None:
        self._call(self._tell, reports)
        for report in reports:
            if isinstance(report, Committed):
                self._bodies.remove(report.applied.files)

    def _commit(self, operations: Sequence[Operation]) -> list[Report]:
        """Store a batch, or as much of it as possible; operations to retry are in `_retained` afterwards."""
        self._retained = []
        reports: list[Report] = []
        shortage = self._no_room(operations)
        if shortage is not None:
            self._complain(shortage)
            reports.append(Refused([o for o in operations if isinstance(o, Accept | WriteProbe)], shortage))
            operations = [o for o in operations if not isinstance(o, Accept | WriteProbe)]
        trouble = self._try(operations, reports)
        if trouble is not None:
            self._salvage(operations, trouble, reports)
        elif any(isinstance(o, Accept | WriteProbe) for o in operations):
            self._trouble = ""
        self.stalled = bool(self._retained)
        self._pause = min(LONGEST_PAUSE, max(LONGEST_PAUSE / 32, self._pause * 2)) if self._retained else 0.0
        return reports

    def _try(self, operations: Sequence[Operation], reports: list[Report]) -> Exception | None:
        """One transaction; returns the error if storage failed. An operation that can never be stored is refused
        here."""
        if not operations:
            return None
        try:
            reports.append(self._transact(operations))
        except Exception as error:
            if is_storage_trouble(error):
                return error
            if len(operations) > 1:
                return self._one_by_one(operations, reports)
            log.exception("cannot be stored: %r", operations[0])
            reports.append(Refused(operations, storage_error(error, self._path), storage=False))
        return None

    def _one_by_one(self, operations: Sequence[Operation], reports: list[Report]) -> Exception | None:
        """Apply operations one by one, so that the faulty one does not fail the others."""
        for position, operation in enumerate(operations):
            trouble = self._try([operation], reports)
            if trouble is not None:
                self._salvage(operations[position:], trouble, reports)
                break
        return None

    def _transact(self, operations: Sequence[Operation]) -> Committed:
        if any(message.file for message in _messages(operations)):
            self._bodies.sync()
        if self._writer is None:
            self._writer = self._open_writer()
        began = time.monotonic()
        applied = self._writer.apply(operations)
        self._log_octets += _log_octets(operations)
        return Committed(operations, applied, time.monotonic() - began)

    def _salvage(self, operations: Sequence[Operation], trouble: Exception, reports: list[Report]) -> None:
        """Refuse new mail, and store outcomes separately: first those that need least space."""
        error = storage_error(trouble, self._path)
        self._complain(error)
        refused = [o for o in operations if not isinstance(o, RecordAttempt | Reserve)]
        reports.append(Refused(refused, error))
        self._reopen()
        keep = [o for o in operations if isinstance(o, RecordAttempt | Reserve)]
        bouncing = [o for o in keep if isinstance(o, RecordAttempt) and o.bounce is not None]
        plain = [o for o in keep if not (isinstance(o, RecordAttempt) and o.bounce is not None)]
        if len(plain) == len(operations) <= _PIECE:
            self._retained += plain  # these have just failed
            return
        self._piecewise(plain, reports)
        self._piecewise(bouncing, reports)

    def _piecewise(self, outcomes: Sequence[Operation], reports: list[Report]) -> None:
        """In small transactions, emptying the log in between: the rest of a full disk may be enough for this."""
        for start in range(0, len(outcomes), _PIECE):
            if self._try(outcomes[start : start + _PIECE], reports) is not None:
                self._retained += outcomes[start:]
                self._reopen()
                return
            self._copy_log()

    def _complain(self, error: StorageError) -> None:
        """Log a fault once, not at each retry."""
        if str(error) != self._trouble:
            log.error("commit failed: %s", error)
        self._trouble = str(error)

    def _reopen(self) -> None:
        """Replace a connection after an error, and empty the log if possible, so that it is reused from its
        beginning."""
        self._close_writer()
        try:
            self._writer = self._open_writer()
        except sqlite3.Error as error:
            self._complain(storage_error(error, self._path))
        else:
            self._copy_log()

    def _close_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None

    def _no_room(self, operations: Sequence[Operation]) -> StorageError | None:
        if not any(isinstance(o, Accept | WriteProbe) for o in operations):
            return None
        wanted = sum(len(message.body or b"") for message in _messages(operations))
        try:
            shortage = self._reserve.shortage(wanted)
            if shortage is None or self._writer is None:
                return shortage
            # A queue that filled its disk and was delivered has free space within its own file.
            return self._reserve.shortage(wanted, 0 if self._writer.shrink() else self._writer.spare())
        except (OSError, sqlite3.Error) as error:
            return storage_error(error, self._path)

    def _check_log(self) -> None:
        """Checkpoint the log when it has grown: between commits, after all reports."""
        if self._log_octets >= self._reserve.log_limit:
            self._copy_log()

    def _secure_room(self) -> None:
        """With little space left, checkpoint the log before any report.

        A checkpoint makes the database grow by the mail in the log, and before it the log cannot be reused: if another
        program used up the rest of the disk before, no outcome of that mail could be recorded.
        """
        if self._log_octets and self._reserve.is_tight():
            self._copy_log()

    def _copy_log(self) -> None:
        if self._writer is None:
            return
        try:
            pages = self._writer.checkpoint(wait=False)
            if pages * PAGE > 8 * self._reserve.log_limit:
                self._writer.checkpoint(wait=True)
        except sqlite3.Error as error:
            # Commits continue while there is space for the log; their errors are the ones that count.
            log.debug("the write-ahead log of %s cannot be checkpointed yet: %s", self._path, error)
        self._log_octets = 0


def _messages(operations: Sequence[Operation]) -> list[NewMessage]:
    messages = [o.message for o in operations if isinstance(o, Accept)]
    return messages + [o.bounce for o in operations if isinstance(o, RecordAttempt) and o.bounce is not None]


def _log_octets(operations: Sequence[Operation]) -> int:
    """Estimate of what a commit adds to the log: bodies, and the pages that each kind of operation changes."""
    total = 6 * PAGE
    for operation in operations:
        if isinstance(operation, RecordAttempt):
            # A finished message frees pages that new ones reuse; a deferral changes scattered pages.
            total += PAGE // 2 if operation.remaining is None else 4 * PAGE
        elif isinstance(operation, Change):
            total += 4 * PAGE * len(operation.rows)
        elif isinstance(operation, Transfer):
            total += operation.octets
    return total + sum(PAGE // 2 + len(message.body or b"") for message in _messages(operations))

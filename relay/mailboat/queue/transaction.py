"""Applies operations to the database, many in one transaction. The only module that writes rows.

Runs in the commit thread. Python's sqlite3 releases the interpreter lock at every step of a statement, and gets it back
slowly from a busy event loop. So each statement takes many rows and returns one, with what was found as JSON: the
number of steps does not grow with the batch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import orjson

from mailboat.model.envelope import State
from mailboat.queue import ids, queries, rows, transfers
from mailboat.queue.operations import (
    Accept,
    Applied,
    Change,
    ChangeTable,
    NewMessage,
    Operation,
    Quarantine,
    RecordAttempt,
    Reschedule,
    Reserve,
    Stats,
    Transfer,
    WriteProbe,
)
from mailboat.queue.schema import PAGE
from mailboat.queue.store import StateStats, Verb

_SIZES = (64, 32, *range(16, 0, -1))
"""Rows that one statement can have: any number that is common, and few statements are prepared."""

SHRINK_COPIES = 16 << 20
"""Most octets copied to shrink the database while all operations wait."""


def _statements(before: str, columns: int, after: str = "") -> dict[int, str]:
    row = "(" + ",".join("?" * columns) + ")"
    return {size: before + ",".join([row] * size) + after for size in _SIZES}


_INSERT_MESSAGE = _statements(
    "INSERT INTO message (id, sender_local, sender_domain, sender_ascii, queued_at, size, flags, notes, file,"
    " parameters, tenant, labels) VALUES ",
    12,
)
_INSERT_BODY = _statements("INSERT INTO body VALUES ", 2)
_INSERT_ENTRY = _statements(
    "INSERT INTO entry"
    " (id, domain, state, attempts, next_attempt, recipients, last_reply, last_mx, size, noted, parameters, reports)"
    " VALUES ",
    12,
)
# A row that was held during the attempt stays held (the constant is `rows.HELD`).
_UPDATE_ENTRY = _statements(
    "WITH new (id, state, attempts, next_attempt, recipients, last_reply, last_mx, noted, reports) AS (VALUES ",
    9,
    ") UPDATE entry SET state = iif(entry.state = 2, 2, new.state), attempts = new.attempts,"
    " next_attempt = iif(entry.state = 2, NULL, new.next_attempt), recipients = new.recipients,"
    " last_reply = new.last_reply, last_mx = new.last_mx, noted = new.noted, reports = new.reports"
    " FROM new WHERE entry.id = new.id",
)
# What belongs to a row goes with it, in the same step. Temporary: only the connection that writes knows them.
_CASCADE = (
    (
        "CREATE TEMP TRIGGER entry_deleted AFTER DELETE ON entry BEGIN DELETE FROM message WHERE id = OLD.id >> 20 AND"
        " NOT EXISTS (SELECT 1 FROM entry WHERE id BETWEEN OLD.id >> 20 << 20 AND ((OLD.id >> 20) + 1) << 20); END"
    ),
    "CREATE TEMP TRIGGER message_deleted AFTER DELETE ON message BEGIN DELETE FROM body WHERE id = OLD.id; END",
)
# JSON cannot hold what a damaged row may have in a column; -1 is invalid for it.
_FIND = (
    "SELECT json_group_array(json_array(id, iif(typeof(state) = 'integer', state, -1),"
    " iif(typeof(size) = 'integer', size, -1){})) FROM entry WHERE id IN (SELECT value FROM json_each(?))"
)
_FIND_STATES = _FIND.format("")
_FIND_FILES = _FIND.format(", (SELECT file FROM message WHERE id = entry.id >> 20 AND typeof(file) = 'text')")
_COUNT = _statements(
    "WITH new (state, entries, octets) AS (VALUES ",
    3,
    ") UPDATE tally SET entries = new.entries, octets = new.octets FROM new WHERE tally.state = new.state"  # noqa: S608
    f" RETURNING state, ({queries.OLDEST.format('tally.state')})",
)


class Writer:
    """The writing connection, with the queue's counters in memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the tally. Raises sqlite3.Error."""
        self._connection = connection
        for trigger in _CASCADE:
            connection.execute(trigger)
        self._counters = QueueCounters.read(connection)

    @property
    def stats(self) -> Stats:
        """The queue's size by state, as last committed."""
        return self._counters.stats()

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._connection.close()

    def apply(self, operations: Sequence[Operation]) -> Applied:
        """Apply all operations durably, or none. Raises the error, after a rollback."""
        counters = self._counters.copy()
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            applied = _Batch(connection, counters, operations).run()
            counters.write(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._counters = counters
        applied.stats = counters.stats()
        return applied

    def spare(self) -> int:
        """Unused octets of the database. Raises sqlite3.Error."""
        return PAGE * int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])

    def shrink(self) -> bool:
        """Shrink the file, if much is unused and little must be copied; whether it was done. Raises sqlite3.Error."""
        used = PAGE * int(self._connection.execute("PRAGMA page_count").fetchone()[0]) - self.spare()
        if used > SHRINK_COPIES or self.spare() < 2 * used:
            return False
        self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def checkpoint(self, *, wait: bool) -> int:
        """Checkpoint the write-ahead log; the number of its pages. `wait`: until it can be reused from its
        beginning."""
        statement = "PRAGMA wal_checkpoint(RESTART)" if wait else "PRAGMA wal_checkpoint(PASSIVE)"
        _, pages, _ = self._connection.execute(statement).fetchone()
        return int(pages)


class QueueCounters:
    """Entries and octets by state, updated in the transaction that changes them, so that rows are never counted."""

    def __init__(self, counts: dict[int, list[int]], oldest: dict[int, float | None]) -> None:
        """Counts by state code, and when the oldest of each was queued."""
        self._counts = counts
        self._oldest = oldest
        self._touched: set[int] = set()

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> QueueCounters:
        """The tally as stored."""
        counts = {state: list(counts) for state, counts in queries.tally(connection).items()}
        return cls(counts, {state: queries.oldest(connection, state) for state in range(len(rows.STATES))})

    def copy(self) -> QueueCounters:
        """A copy to change while the transaction may still fail."""
        return QueueCounters({state: list(counts) for state, counts in self._counts.items()}, dict(self._oldest))

    def move(self, size: int, source: int | None, target: int | None) -> None:
        """Move an entry of this size from one state to another; None is outside the queue."""
        for state, sign in ((source, -1), (target, 1)):
            if state is not None:
                self._counts[state][0] += sign
                self._counts[state][1] += sign * size
                self._touched.add(state)

    def count(self, connection: sqlite3.Connection) -> None:
        """Count again: some rows were damaged."""
        self._counts = {state: list(counts) for state, counts in queries.count(connection).items()}
        self._touched = set(self._counts)

    def write(self, connection: sqlite3.Connection) -> None:
        """Store what changed, and look up the oldest of those states again."""
        if not self._touched:
            return
        values = [(state, *self._counts[state]) for state in self._touched]
        found = connection.execute(_COUNT[len(values)], list(chain.from_iterable(values))).fetchall()
        self._oldest |= {state: rows.time_or_none(oldest) for state, oldest in found}
        self._touched.clear()

    def stats(self) -> Stats:
        """For `Store.stats`."""
        return {
            state: StateStats(self._counts[code][0], self._counts[code][1], self._oldest[code])
            for state, code in rows.STATE_CODES.items()
        }


class _Batch:
    """One transaction, from its operations to what it did."""

    def __init__(
        self, connection: sqlite3.Connection, counters: QueueCounters, operations: Sequence[Operation]
    ) -> None:
        self._connection = connection
        self._counters = counters
        self._operations = operations
        self._applied = Applied({})
        self._damaged = False

    def run(self) -> Applied:
        """New messages first, then outcomes, then changes by operators."""
        records = [operation for operation in self._operations if isinstance(operation, RecordAttempt)]
        messages = [operation.message for operation in self._operations if isinstance(operation, Accept)]
        messages += self._bounces(records)
        if messages:
            self._insert(messages)
        if records:
            self._remove([record.key.row for record in records if record.remaining is None])
            self._update(records)
        for position, operation in enumerate(self._operations):
            if isinstance(operation, Change):
                self._applied.changed[position] = self._change(operation)
            elif isinstance(operation, Quarantine):
                self._quarantine(operation)
            elif isinstance(operation, Transfer):
                self._transfer(position, operation)
            elif isinstance(operation, Reschedule):
                self._connection.executemany(
                    "UPDATE entry SET next_attempt = ? WHERE id = ? AND state IN (0, 1)",
                    [(next_attempt, row) for row, next_attempt in operation.times],
                )
            elif isinstance(operation, Reserve):
                self._execute("UPDATE meta SET value = max(value, ?) WHERE key = 'reserved'", operation.reserved)
            elif isinstance(operation, WriteProbe):
                self._execute("UPDATE meta SET value = value + 1 WHERE key = 'probe'")
            elif isinstance(operation, ChangeTable):
                operation.change(self._connection)
        if self._damaged:
            self._counters.count(self._connection)
        return self._applied

    def _transfer(self, position: int, transfer: Transfer) -> None:
        moved = transfer.move(self._connection)
        for octets, source, target in moved.sizes:
            self._counters.move(octets, source, target)
        self._applied.changed[position] = moved.rows
        if moved.refused:
            self._applied.refused[position] = moved.refused

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def _many(self, statements: dict[int, str], table: Sequence[Sequence[object]]) -> None:
        start = 0
        while start < len(table):
            left = len(table) - start
            size = left if left in statements else next(size for size in _SIZES if size < left)
            values = list(chain.from_iterable(table[start : start + size]))
            self._connection.execute(statements[size], values)
            start += size

    def _insert(self, messages: Sequence[NewMessage]) -> None:
        entries = [entry for message in messages for entry in message.entries]
        self._many(
            _INSERT_MESSAGE, [rows.message_row(new.number, new.entries[0].message, new.file) for new in messages]
        )
        stored = [(new.number, new.body if new.file is None else new.head or None) for new in messages]
        self._many(_INSERT_BODY, [row for row in stored if row[1] is not None])
        self._many(_INSERT_ENTRY, [rows.entry_row(entry) for entry in entries])
        for entry in entries:
            self._counters.move(entry.message.size, None, rows.STATE_CODES[entry.state])

    def _bounces(self, records: Sequence[RecordAttempt]) -> list[NewMessage]:
        """The bounces whose entry still exists: a deleted message causes no bounce."""
        bouncing = [record for record in records if record.bounce is not None]
        if not bouncing:
            return []
        alive = self._states([record.key.row for record in bouncing])
        queued: list[NewMessage] = []
        for record in bouncing:
            assert record.bounce is not None
            # Once for each entry: a second record of the same attempt is a repetition.
            if alive.pop(record.key.row, None) is not None:
                queued.append(record.bounce)
            else:
                self._applied.unannounced.add(record.bounce.number)
                self._applied.files += [record.bounce.file] if record.bounce.file else []
        return queued

    def _update(self, records: Sequence[RecordAttempt]) -> None:
        remaining = {record.key.row: record.remaining for record in records if record.remaining is not None}
        if not remaining:
            return
        states = self._states(list(remaining))
        self._many(_UPDATE_ENTRY, [rows.remaining_row(remaining[row]) for row in states])
        if held := [remaining[row] for row, (state, _) in states.items() if state == rows.HELD]:
            transfers.reschedule(self._connection, held)
        for row, (state, size) in states.items():
            self._counters.move(
                size, state, rows.HELD if state == rows.HELD else rows.STATE_CODES[remaining[row].state]
            )

    def _states(self, of: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The state code and size of each existing row."""
        return {row: self._counted(state, size) for row, state, size in self._find(_FIND_STATES, of)}

    def _find(self, statement: str, of: Sequence[int]) -> list[list[Any]]:
        found: list[list[Any]] = orjson.loads(self._execute(statement, _json(of))[0][0])
        return found

    def _counted(self, state: object, size: object) -> tuple[int, int]:
        """A row's state and size as the tally has them. Nobody knows where it has a damaged row: count again."""
        if isinstance(state, int) and 0 <= state < len(rows.STATES) and rows.is_count(size):
            return state, size  # type: ignore[return-value]
        self._damaged = True
        return rows.HELD, 0

    def _remove(self, of: Sequence[int]) -> None:
        if not of:
            return
        found = self._find(_FIND_FILES, of)
        for _, state, size, _ in found:
            code, octets = self._counted(state, size)
            self._counters.move(octets, code, None)
        if held := [row for row, state, _, _ in found if state == rows.HELD]:
            transfers.forget(self._connection, held)
        self._execute("DELETE FROM entry WHERE id IN (SELECT value FROM json_each(?))", _json(of))
        if files := {ids.number_of(row): file for row, _, _, file in found if file is not None}:
            self._applied.files += [
                files[number] for number in files.keys() - queries.with_file(self._connection, [*files])
            ]

    def _change(self, change: Change) -> Sequence[int]:
        states = self._states(change.rows)
        touched = [row for row, (state, _) in states.items() if rows.STATES[state] in change.verb.touches]
        if kept := [row for row in touched if states[row][0] == rows.HELD]:
            touched = self._changeable(change, touched, kept)
        if change.verb.result is None:
            self._remove(touched)
            return touched
        target = rows.STATE_CODES[change.verb.result]
        self._execute(
            "UPDATE entry SET state = ?, next_attempt = ?, held_reason = NULL"
            " WHERE id IN (SELECT value FROM json_each(?))",
            target,
            change.now if change.verb.result is State.ACTIVE else None,
            _json(touched),
        )
        for row in touched:
            self._counters.move(states[row][1], states[row][0], target)
        return touched

    def _quarantine(self, quarantine: Quarantine) -> None:
        for state, size in self._states([quarantine.row]).values():
            self._counters.move(size, state, rows.HELD)
        self._execute(
            "UPDATE entry SET state = ?, next_attempt = NULL, last_reply = ? WHERE id = ?",
            rows.HELD,
            rows.clean(quarantine.reason),
            quarantine.row,
        )

    def _changeable(self, change: Change, touched: Sequence[int], held: Sequence[int]) -> list[int]:
        """The rows without those of transfers, and without exported ones in a release of everything."""
        left_alone = transfers.locked(self._connection, held)
        if change.verb is Verb.RELEASE and not change.named:
            left_alone |= transfers.exported(self._connection, held)
        changed = [row for row in touched if row not in left_alone]
        if change.verb is Verb.RELEASE:
            transfers.forget(self._connection, changed)
        return changed


def _json(numbers: Iterable[int]) -> str:
    return orjson.dumps(list(numbers)).decode()

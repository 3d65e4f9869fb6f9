"""The tables of transfers and all changes of them: entries that are being exported to or imported from an archive.

`transfer` has a row for each entry that is held for it: which batch (archive) it belongs to, and the former or future
state of the entry. An entry that is exported a second time has its `earlier` batch; one that an import gives back has
that one's id in `taken_by`. `outbox` lists exports that are not complete, `inbox` imports. Each change is a `Move`: a
function for the commit thread, and what it moves between states.

Made by `exports` and `imports`, applied by `transaction`. No decisions here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import orjson

from mailboat.model.envelope import Entry
from mailboat.queue import ids, rows
from mailboat.queue.operations import Moved, NewMessage
from mailboat.queue.queries import DatabaseRef

EXPORTED = "exported"
IMPORTING = "importing"
ARCHIVE = "archive"
"""`outbox.target` and `inbox.source` of files; other databases are named by their tag."""
STEP = 2000
"""Most rows of one change: more would delay new mail."""

_MESSAGES_HERE = "SELECT id FROM message WHERE id IN (SELECT value FROM json_each(?))"
_EXPORTED = "SELECT id FROM entry WHERE held_reason = 'exported' AND id IN (SELECT value FROM json_each(?))"
_STATES = (
    "SELECT entry.id, entry.size, entry.state, transfer.state FROM entry JOIN transfer ON transfer.entry = entry.id"
    " WHERE entry.id IN (SELECT value FROM json_each(?))"
)

Move = Callable[[sqlite3.Connection], Moved]


class Outbox(IntEnum):
    """The progress of an export."""

    OPEN = 0
    """Entries are marked and read: its file cannot exist yet."""
    SEALED = 1
    """All entries have been read: its file may exist."""
    UNDONE = 2
    """Its file will never exist: entries are restored."""


class Inbox(IntEnum):
    """The progress of an import."""

    STAGED = 0
    """Messages are stored and held: they do not count as imported yet."""
    ACCEPTED = 1
    """Accepted as a whole; never imported again."""
    REFUSED = 2
    """Refused: its stored messages are deleted."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Messages of an archive, numbered, for one change."""

    messages: Sequence[NewMessage]
    added: Sequence[Entry]
    """Entries of messages that this database already has."""
    given_back: Sequence[int]
    """Rows that are held as exported here."""


# Exports.


def open_export(batch: str, address: str, now: float) -> Move:
    """Begin; `address` is the path of its file."""

    def move(db: sqlite3.Connection) -> Moved:
        if outbox_of(db, batch) or rows_of(db, batch):
            return Moved(refused=f"export {batch} already exists")
        db.execute("INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", (batch, ARCHIVE, address, now, Outbox.OPEN))
        return Moved()

    return move


def mark(batch: str, numbers: Sequence[int], *, again: bool) -> Move:
    """Hold all entries of these messages as exported; returns their rows. `again`: also those already exported."""

    def move(db: sqlite3.Connection) -> Moved:
        if _outbox_state(db, batch) is not Outbox.OPEN:
            return Moved(refused="the export was abandoned")
        found = db.execute(
            "SELECT entry.id, entry.state, entry.size FROM json_each(:numbers) JOIN entry"
            " ON entry.id BETWEEN json_each.value << 20 AND json_each.value << 20 | 1048575"
            " WHERE (:again OR entry.held_reason IS NOT 'exported') AND NOT EXISTS (SELECT 1 FROM transfer"
            " WHERE transfer.entry = entry.id AND transfer.batch IN (SELECT batch FROM outbox))"
            " AND entry.held_reason IS NOT 'importing'",
            {"numbers": _json(numbers), "again": again},
        ).fetchall()
        marked = _json(row for row, _, _ in found)
        db.execute(
            "INSERT INTO transfer (entry, batch, state, next_attempt)"
            " SELECT id, ?, state, next_attempt FROM entry WHERE id IN (SELECT value FROM json_each(?))"
            " ON CONFLICT (entry) DO UPDATE SET earlier = transfer.batch, batch = excluded.batch",
            (batch, marked),
        )
        db.execute(
            "UPDATE entry SET state = ?, next_attempt = NULL, held_reason = 'exported'"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (rows.HELD, marked),
        )
        return Moved([row for row, _, _ in found], [(size, state, rows.HELD) for _, state, size in found])

    return move


def seal(batch: str) -> Move:
    """All entries have been read."""

    def move(db: sqlite3.Connection) -> Moved:
        if _outbox_state(db, batch) is not Outbox.OPEN:
            return Moved(refused="the export was abandoned")
        db.execute("UPDATE outbox SET state = ? WHERE batch = ?", (Outbox.SEALED, batch))
        return Moved()

    return move


def give_up(batch: str) -> Move:
    """Undo an export that is not sealed."""
    return _move("UPDATE outbox SET state = 2 WHERE batch = ? AND state = 0", batch)


def set_undone(batch: str) -> Move:
    """Its file will never be there."""
    return _move("UPDATE outbox SET state = ? WHERE batch = ?", Outbox.UNDONE, batch)


def close_export(batch: str) -> Move:
    """Complete an export: its entries stay held."""
    return _move("DELETE FROM outbox WHERE batch = ?", batch)


def undo(batch: str) -> Move:
    """Restore some entries of an export; returns their rows, none at the end."""

    def move(db: sqlite3.Connection) -> Moved:
        db.execute(
            "UPDATE transfer SET batch = earlier, earlier = NULL WHERE batch = ? AND earlier IS NOT NULL", (batch,)
        )
        return _restore(db, "SELECT entry FROM transfer WHERE batch = :batch LIMIT :limit", batch)

    return move


# Imports.


def open_import(batch: str, now: float) -> Move:
    """Begin; returns whether it was accepted before."""

    def move(db: sqlite3.Connection) -> Moved:
        state = _inbox_state(db, batch)
        if state is not None and state is not Inbox.ACCEPTED:
            return Moved(refused=f"the archive {batch} is already being imported")
        if state is None:
            db.execute("INSERT INTO inbox VALUES (?, ?, ?, ?)", (ARCHIVE, batch, Inbox.STAGED, now))
        return Moved([int(state is Inbox.ACCEPTED)])

    return move


def stage(batch: str, staged: Staged) -> Move:
    """Store messages of an archive, held until it is accepted; returns the rows."""

    def move(db: sqlite3.Connection) -> Moved:
        if _inbox_state(db, batch) is not Inbox.STAGED:
            return Moved(refused="the import was abandoned")
        here = {number for (number,) in _ask(db, _MESSAGES_HERE, map(_number, staged.added))}
        if any(_number(entry) not in here for entry in staged.added):
            return Moved(refused="the queue changed during the import: import again")
        for message in staged.messages:
            _insert_message(db, message)
        entries = [*staged.added, *(entry for message in staged.messages for entry in message.entries)]
        for entry in entries:
            _insert_held(db, batch, entry)
        db.execute(
            "UPDATE transfer SET taken_by = ? WHERE taken_by IS NULL AND entry IN (SELECT value FROM json_each(?))",
            (batch, _json(staged.given_back)),
        )
        stored = [entry.key.row for entry in entries]
        return Moved([*stored, *staged.given_back], [(entry.message.size, None, rows.HELD) for entry in entries])

    return move


def set_inbox(batch: str, state: Inbox) -> Move:
    """Accept an import as a whole, or refuse it."""
    statement = "UPDATE inbox SET state = ? WHERE source = 'archive' AND batch = ?"
    return _move(statement, state, batch)


def restore_some(batch: str) -> Move:
    """Give some entries of an accepted import their states; returns their rows, none at the end."""
    return lambda db: _restore(
        db,
        "SELECT entry FROM (SELECT entry FROM transfer WHERE batch = :batch"
        " UNION SELECT entry FROM transfer WHERE taken_by = :batch) LIMIT :limit",
        batch,
    )


def let_go(batch: str) -> Move:
    """Remove a refused import, whose messages are deleted."""

    def move(db: sqlite3.Connection) -> Moved:
        db.execute("UPDATE transfer SET taken_by = NULL WHERE taken_by = ?", (batch,))
        db.execute("DELETE FROM transfer WHERE batch = ?", (batch,))
        db.execute("DELETE FROM inbox WHERE source = 'archive' AND batch = ?", (batch,))
        return Moved()

    return move


# Questions.


def unfinished(db: sqlite3.Connection) -> tuple[list[str], list[tuple[str, Inbox]]]:
    """Exports and imports that a process did not finish."""
    exports = db.execute("SELECT batch FROM outbox WHERE target = 'archive'").fetchall()
    imports = db.execute(
        "SELECT batch, state FROM inbox WHERE source = 'archive' AND (state <> 1"
        " OR EXISTS (SELECT 1 FROM transfer WHERE transfer.batch = inbox.batch OR transfer.taken_by = inbox.batch))"
    ).fetchall()
    return [batch for (batch,) in exports], [(batch, Inbox(state)) for batch, state in imports]


def outbox_of(db: sqlite3.Connection, batch: str) -> tuple[str, Outbox] | None:
    """The path of an export's file, and its progress; None if it is over."""
    found = db.execute("SELECT address, state FROM outbox WHERE batch = ?", (batch,)).fetchone()
    return None if found is None else (found[0], Outbox(found[1]))


def last_row(db: sqlite3.Connection) -> int:
    """The newest entry's row; 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM entry").fetchone()[0])


def rows_of(db: sqlite3.Connection, batch: str) -> list[int]:
    """Some rows of a batch."""
    return [row for (row,) in db.execute("SELECT entry FROM transfer WHERE batch = ? LIMIT ?", (batch, STEP))]


def entries_of(db: sqlite3.Connection, place: DatabaseRef, batch: str) -> Iterator[Entry]:
    """The entries of an export in order, each as it was before. Raises `rows.Damaged`."""
    after = 0
    while True:
        found = db.execute(
            "SELECT transfer.state, transfer.next_attempt, listing.* FROM transfer JOIN listing"
            " ON listing.id = transfer.entry WHERE transfer.batch = ? AND transfer.entry > ?"
            " ORDER BY transfer.entry LIMIT 500",
            (batch, after),
        ).fetchall()
        for state, next_attempt, *row in found:
            row[2], row[4], row[9] = state, next_attempt, None
            yield rows.read_entry(row, place.spool, place.tag)
        if not found:
            return
        after = found[-1][2]


def sound(db: sqlite3.Connection, place: DatabaseRef, numbers: Iterable[int]) -> tuple[list[int], list[str]]:
    """The messages whose rows can be read, and the faults of the others."""
    good: list[int] = []
    faults: list[str] = []
    for number in numbers:
        of_message = ids.row_of(number, 0), ids.row_of(number, ids.MAX_ORDINAL)
        try:
            for row in db.execute("SELECT * FROM listing WHERE id BETWEEN ? AND ?", of_message):
                rows.read_entry(row, place.spool, place.tag)
        except rows.Damaged as error:
            faults.append(str(error))
        else:
            good.append(number)
    return good, faults


def locked(db: sqlite3.Connection, of: Sequence[int]) -> set[int]:
    """The rows that belong to a running export or import: no verb may change them."""
    return {
        row
        for (row,) in db.execute(
            "SELECT entry FROM transfer WHERE entry IN (SELECT value FROM json_each(?)) AND (batch IN"
            " (SELECT batch FROM outbox) OR coalesce(taken_by, batch) IN (SELECT batch FROM inbox WHERE state < 2))",
            (_json(of),),
        )
    }


def exported(db: sqlite3.Connection, of: Sequence[int]) -> set[int]:
    """The rows that are held as exported."""
    return {row for (row,) in _ask(db, _EXPORTED, of)}


def forget(db: sqlite3.Connection, of: Sequence[int]) -> None:
    """Remove rows from batches: an operator has released or deleted them."""
    db.execute("DELETE FROM transfer WHERE entry IN (SELECT value FROM json_each(?))", (_json(of),))


def reschedule(db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """An attempt was under way when these were held: store its result as their former state."""
    db.executemany(
        "UPDATE transfer SET state = ?, next_attempt = ? WHERE entry = ? AND state <> 2",
        [(rows.STATE_CODES[entry.state], entry.next_attempt, entry.key.row) for entry in entries],
    )


def _restore(db: sqlite3.Connection, which: str, batch: str) -> Moved:
    """Give some entries the state in their transfer, and remove the transfer."""
    chosen = [row for (row,) in db.execute(which, {"batch": batch, "limit": STEP})]
    found = _ask(db, _STATES, chosen)
    db.execute(
        "UPDATE entry SET state = transfer.state, next_attempt = transfer.next_attempt, held_reason = NULL"
        " FROM transfer WHERE transfer.entry = entry.id AND entry.id IN (SELECT value FROM json_each(?))",
        (_json(chosen),),
    )
    forget(db, chosen)
    return Moved(chosen, [(size, state, target) for _, size, state, target in found])


def _insert_message(db: sqlite3.Connection, message: NewMessage) -> None:
    shared = message.entries[0].message
    values = (*rows.message_row(message.number, shared, message.file), shared.origin)
    db.execute(
        "INSERT INTO message (id, sender_local, sender_domain, sender_ascii, queued_at, size, flags, notes, file,"
        " parameters, tenant, labels, origin) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    if message.body is not None:
        db.execute("INSERT INTO body VALUES (?, ?)", (message.number, message.body))


def _insert_held(db: sqlite3.Connection, batch: str, entry: Entry) -> None:
    row, domain, state, attempts, next_attempt, *others = rows.entry_row(entry)
    db.execute(
        "INSERT INTO entry (id, domain, state, attempts, next_attempt, recipients, last_reply, last_mx, size, noted,"
        " parameters, reports, held_reason) VALUES (?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row, domain, rows.HELD, attempts, *others, IMPORTING),
    )
    db.execute(
        "INSERT INTO transfer (entry, batch, state, next_attempt) VALUES (?, ?, ?, ?)",
        (row, batch, state, next_attempt),
    )


def _move(statement: str, *values: object) -> Move:
    def move(db: sqlite3.Connection) -> Moved:
        db.execute(statement, values)
        return Moved()

    return move


def _outbox_state(db: sqlite3.Connection, batch: str) -> Outbox | None:
    found = outbox_of(db, batch)
    return None if found is None else found[1]


def _inbox_state(db: sqlite3.Connection, batch: str) -> Inbox | None:
    found = db.execute("SELECT state FROM inbox WHERE source = 'archive' AND batch = ?", (batch,)).fetchone()
    return None if found is None else Inbox(found[0])


def _number(entry: Entry) -> int:
    return ids.number_of(entry.key.row)


def _ask(db: sqlite3.Connection, question: str, numbers: Iterable[int]) -> list[tuple[int, ...]]:
    return db.execute(question, (_json(numbers),)).fetchall()


def _json(numbers: Iterable[int]) -> str:
    return orjson.dumps(list(numbers)).decode()

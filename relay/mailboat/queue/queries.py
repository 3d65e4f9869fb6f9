"""Queries of the database, each a few index steps or one bounded scan. Runs in reader threads.

Also used by `offline`. Everything takes a connection and returns values; nothing here writes.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from mailboat.model.envelope import DEFAULT_TENANT, Entry, EntryKey
from mailboat.queue import ids, rows
from mailboat.queue.selection import fits, read_sender
from mailboat.queue.store import PAGE_OCTETS, Selection

WINDOW = 20_000
"""Rows that one step of a scan reads, so that a rare match does not block the reader for long."""
_LAST = 2**63 - 1
_BURST = 16
"""Rows that are read for people at once: a third of a millisecond, in which no other Python thread runs."""
_STAND_ASIDE = 0.001
"""Seconds of pause after them: otherwise each step of a commit would wait for the interpreter."""
_ROW_OCTETS = 300
"""Octets of a shown entry in addition to its texts."""


@dataclass(frozen=True, slots=True)
class DatabaseRef:
    """The database of rows."""

    spool: int
    tag: str


class Shown(NamedTuple):
    """Entries for people to see."""

    entries: list[Entry]
    octets: int
    """Their approximate size."""
    cut_after: int
    """The row after which entries were omitted because of their size; 0: none was."""


@dataclass(frozen=True, slots=True)
class DueEntries:
    """Entries, and damaged rows."""

    entries: list[Entry]
    damaged: list[rows.Damaged]


Cursor = tuple[float, EntryKey]


def due(db: sqlite3.Connection, place: DatabaseRef, until: float, limit: int, after: Cursor | None) -> DueEntries:
    """Entries that are due, after `after` in order of (next_attempt, spool, row)."""
    since, row = float("-inf"), -_LAST  # below every time and row that a damaged database may hold
    if after is not None:
        since, key = after
        # For equal times, the database with the lower number comes first.
        row = key.row if key.spool == place.spool else 0 if key.spool < place.spool else _LAST
    found = db.execute(
        "SELECT * FROM listing WHERE next_attempt = ? AND id > ? AND next_attempt <= ? ORDER BY id LIMIT ?",
        (since, row, until, limit),
    ).fetchall()
    if len(found) < limit:
        found += db.execute(
            "SELECT * FROM listing WHERE next_attempt > ? AND next_attempt <= ? ORDER BY next_attempt, id LIMIT ?",
            (since, until, limit - len(found)),
        ).fetchall()
    return _read(found, place)


def due_in(db: sqlite3.Connection, place: DatabaseRef, domain: str, until: float, limit: int) -> DueEntries:
    """Entries of one domain that are due."""
    found = db.execute(
        "SELECT * FROM listing WHERE state = 0 AND domain = :domain AND next_attempt <= :until"
        " UNION ALL SELECT * FROM listing WHERE state = 1 AND domain = :domain AND next_attempt <= :until"
        " ORDER BY next_attempt, id LIMIT :limit",
        {"domain": domain, "until": until, "limit": limit},
    )
    return _read(found.fetchall(), place)


def waiting(db: sqlite3.Connection, since: float, after: tuple[object, int], limit: int) -> list[tuple[int, int, Any]]:
    """Row, attempts and `next_attempt` of deferred entries that are due later than `since`, after `after`, in order.

    A damaged row with text instead of a number comes last: in SQLite, text is greater than all numbers.
    """
    when, row = after
    return db.execute(
        "SELECT id, attempts, next_attempt FROM entry INDEXED BY entry_due"
        " WHERE state = 1 AND next_attempt > :since AND next_attempt >= :when"
        " AND (next_attempt > :when OR id > :row) ORDER BY next_attempt, id LIMIT :limit",
        {"since": since, "when": when, "row": row, "limit": limit},
    ).fetchall()


def active_later(db: sqlite3.Connection, now: float, limit: int) -> list[int]:
    """Rows of active entries with a later `next_attempt`; active entries should be due."""
    found = db.execute(
        # By the index of states: few entries are active, millions may wait.
        "SELECT id FROM entry INDEXED BY entry_state WHERE state = 0 AND next_attempt > ? LIMIT ?",
        (now, limit),
    )
    return [row for (row,) in found]


def next_due(db: sqlite3.Connection, after: float) -> float | None:
    """The earliest `next_attempt` later than `after`."""
    (found,) = db.execute("SELECT min(next_attempt) FROM entry WHERE next_attempt > ?", (after,)).fetchone()
    return rows.time_or_none(found)  # text, in a damaged row, sorts after all numbers


class StoredFile(NamedTuple):
    """A body in a file."""

    name: str
    head: bytes
    """The octets before those of the file."""


def body(db: sqlite3.Connection, number: int) -> bytes | StoredFile | None:
    """A message's octets, or its file; None if there is no such message."""
    found = db.execute(
        "SELECT body.data, message.file FROM message LEFT JOIN body ON body.id = message.id WHERE message.id = ?",
        (number,),
    ).fetchone()
    if found is None:
        return None
    data: bytes | None
    file: str | None
    data, file = found
    return data if file is None else StoredFile(file, data or b"")


def with_file(db: sqlite3.Connection, numbers: Sequence[int]) -> set[int]:
    """Which of these messages have their body in a file."""
    found = db.execute(
        "SELECT id FROM message WHERE file IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
        (orjson.dumps(list(numbers)).decode(),),
    )
    return {number for (number,) in found}


def walk(db: sqlite3.Connection, selection: Selection, after: int, limit: int) -> tuple[list[int], int]:
    """Rows of a selection (without its ids) after `after`, from one window; and where to continue, 0 at the end."""
    last, count = db.execute(
        "SELECT max(id), count(*) FROM (SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?)", (after, WINDOW)
    ).fetchone()
    if not count:
        return [], 0
    sender = read_sender(selection.sender) if selection.sender else None
    found = db.execute(
        "SELECT entry.id FROM entry LEFT JOIN message ON message.id = entry.id >> 20"
        " WHERE entry.id > :after AND entry.id <= :last"
        " AND (:domain = '' OR domain = :domain) AND (:state < 0 OR state = :state)"
        " AND (:local IS NULL OR (sender_local = :local AND :sender_domain IN (sender_ascii, lower(sender_domain))))"
        " AND (:tenant = '' OR coalesce(tenant, :default) = :tenant)"
        " AND (:label = '' OR (json_valid(labels) AND EXISTS"
        " (SELECT 1 FROM json_each(labels) WHERE value = :label)))"
        " ORDER BY entry.id LIMIT :limit",
        {
            "after": after,
            "last": last,
            "domain": selection.domain.lower(),
            "state": -1 if selection.state is None else rows.STATE_CODES[selection.state],
            "local": sender.local if sender else None,
            "sender_domain": sender.domain if sender else "",
            "tenant": selection.tenant,
            "default": DEFAULT_TENANT,
            "label": selection.label,
            "limit": limit,
        },
    ).fetchall()
    selected = [row for (row,) in found]
    if len(selected) == limit:
        return selected, selected[-1]
    return selected, last if count == WINDOW else 0


def named(db: sqlite3.Connection, tag: str, names: Iterable[str]) -> list[int]:
    """The rows of message and entry ids, in order, each once."""
    found: set[int] = set()
    for name in names:
        parsed = ids.parse(name)
        if parsed is None:
            continue
        numbers = [parsed.number] if parsed.tag == tag else []
        numbers += numbers_from(db, ids.message_id(parsed.tag, parsed.number))
        for number in numbers:
            between = ids.rows_of(parsed._replace(number=number))
            found.update(row for (row,) in db.execute("SELECT id FROM entry WHERE id BETWEEN ? AND ?", between))
    return sorted(found)


def rows_of_message(db: sqlite3.Connection, number: int) -> list[int]:
    """The rows of a message's entries."""
    of_message = ids.row_of(number, 0), ids.row_of(number, ids.MAX_ORDINAL)
    return [row for (row,) in db.execute("SELECT id FROM entry WHERE id BETWEEN ? AND ?", of_message)]


def envelope(db: sqlite3.Connection, number: int) -> tuple[str, str, str, float, int] | None:
    """Sender, time and size of a message; None if it is not in this database."""
    found: tuple[str, str, str, float, int] | None = db.execute(
        "SELECT sender_local, sender_domain, sender_ascii, queued_at, size FROM message WHERE id = ?", (number,)
    ).fetchone()
    return found


def numbers_from(db: sqlite3.Connection, origin: str) -> list[int]:
    """The numbers in this database of messages with this original id."""
    return [number for (number,) in db.execute("SELECT id FROM message WHERE origin = ? ORDER BY id", (origin,))]


def read(db: sqlite3.Connection, place: DatabaseRef, selected: Sequence[int]) -> list[Entry]:
    """The entries of these rows in order, for people, including damaged ones as far as possible."""
    return read_some(db, place, selected, _LAST).entries


def read_some(db: sqlite3.Connection, place: DatabaseRef, selected: Sequence[int], most: int) -> Shown:
    """The same, up to `most` octets; at least one entry."""
    found = db.execute(
        "SELECT * FROM listing WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (orjson.dumps(list(selected)).decode(),),
    )
    entries: list[Entry] = []
    octets = 0
    for row in found:
        if len(entries) % _BURST == _BURST - 1:
            time.sleep(_STAND_ASIDE)
        try:
            entries.append(rows.read_entry(row, place.spool, place.tag))
        except rows.Damaged:
            entries.append(rows.read_damaged(row, place.spool, place.tag))
        octets += _ROW_OCTETS + sum(len(column) for column in row if isinstance(column, str))
        if octets >= most:
            return Shown(entries, octets, row[0])
    return Shown(entries, octets, 0)


def select(
    db: sqlite3.Connection, place: DatabaseRef, selection: Selection, after: int, limit: int, octets: int
) -> tuple[Shown, int]:
    """Entries of a selection after a row, up to `limit` and a number of octets; and where to continue, 0 at the end."""
    if selection.ids:
        selected = [row for row in named(db, place.tag, selection.ids) if row > after]
        last = selected[limit - 1] if len(selected) > limit else 0
    else:
        selected, last = walk(db, selection, after, limit)
    shown = read_some(db, place, selected[:limit], octets)
    if selection.ids:
        shown = shown._replace(entries=[entry for entry in shown.entries if fits(selection, entry)])
    return shown, shown.cut_after or last


def rows_of(
    db: sqlite3.Connection, place: DatabaseRef, selection: Selection, after: int, limit: int
) -> tuple[list[int], int]:
    """The same, their rows alone."""
    if not selection.ids:
        return walk(db, selection, after, limit)
    shown, last = select(db, place, selection, after, limit, PAGE_OCTETS)
    return [entry.key.row for entry in shown.entries], last


def tally(db: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    """Entries and octets by state code, as stored; counted again if the stored counts are damaged."""
    stored = {state: (entries, octets) for state, entries, octets in db.execute("SELECT * FROM tally")}
    sound = all(rows.is_count(number) for counts in stored.values() for number in counts)
    return stored if sound and set(stored) == set(rows.STATE_CODES.values()) else count(db)


def count(db: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    """Entries and octets by state code, by reading every row: for a damaged database only."""
    found = db.execute(
        "SELECT iif(state IN (0, 1, 2), state, 2), count(*),"
        " sum(iif(typeof(size) = 'integer' AND size BETWEEN 0 AND ?, size, 0)) FROM entry GROUP BY 1",
        (rows.MAX_COUNT,),
    )
    empty = dict.fromkeys(rows.STATE_CODES.values(), (0, 0))
    return empty | {state: (entries, octets) for state, entries, octets in found}


OLDEST = "SELECT queued_at FROM message WHERE id = (SELECT min(id) FROM entry WHERE entry.state = {}) >> 20"
"""When the oldest message with an entry in a state was queued."""


def oldest(db: sqlite3.Connection, state: int) -> float | None:
    """When the oldest message with an entry in this state was queued."""
    # The state is not a parameter: SQLite would plan the query again for each value, since some indexes are partial.
    found = db.execute(OLDEST.format(f"{state:d}")).fetchone()
    return None if found is None else rows.time_or_none(found[0])


def _read(found: Sequence[rows.Row], place: DatabaseRef) -> DueEntries:
    entries: list[Entry] = []
    damaged: list[rows.Damaged] = []
    for row in found:
        try:
            entries.append(rows.read_entry(row, place.spool, place.tag))
        except rows.Damaged as error:
            damaged.append(error)
    return DueEntries(entries, damaged)

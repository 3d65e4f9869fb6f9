"""Counts the entries that wait, by domain, tenant or source, in pieces that take a reader thread a few milliseconds.

Held entries do not count: an operator has them. Used by `app.destinations`.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mailboat.model.address import Address
from mailboat.model.envelope import DEFAULT_TENANT, Entry, EntryKey
from mailboat.queue import queries, rows
from mailboat.queue.spool import Spool

PIECE = 500
"""Domains that are counted at once."""
WINDOW = 5_000
"""Rows that are read at once to count by tenant or source."""

_BY_DOMAIN = """
SELECT domain, waiting, due, first, next, m.queued_at, m.sender_local, m.sender_domain, m.sender_ascii FROM (
    SELECT domain, count(*) AS waiting, sum(next_attempt <= :now) AS due, min(id) AS first, min(next_attempt) AS next
    FROM entry INDEXED BY {index} WHERE state = {state} AND domain > :after GROUP BY domain ORDER BY domain LIMIT :limit
) LEFT JOIN message AS m ON m.id = first >> 20 ORDER BY domain
"""
_QUESTIONS = tuple(
    _BY_DOMAIN.format(index=index, state=state) for index, state in (("entry_active", 0), ("entry_deferred", 1))
)
_TENANT = f"coalesce(m.tenant, '{DEFAULT_TENANT}')"
# As `Entry.todo_notes`: those of the entry, if it has its own, else those of the message.
_SOURCE = """
coalesce(CASE WHEN json_valid(e.noted) AND json_type(e.noted, '$.todo') = 'object'
    THEN json_extract(e.noted, '$.todo.outbound_ip')
    WHEN json_valid(m.notes) THEN json_extract(m.notes, '$.outbound_ip') END, 'default')
"""
_BY_COLUMN = """
SELECT {column}, count(*), sum(e.next_attempt <= :now), min(e.id), min(e.next_attempt), min(m.queued_at)
FROM entry AS e LEFT JOIN message AS m ON m.id = e.id >> 20
WHERE e.id > :after AND e.id <= :last AND e.state IN (0, 1) GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """Entries of one domain, tenant or source in one database. Several tallies may have the same name."""

    name: str
    waiting: int
    due: int
    """How many of them are due."""
    first: EntryKey
    """The one that was accepted first."""
    queued_at: float
    """When the oldest message was accepted, seconds since the epoch."""
    next_attempt: float
    """The earliest of them."""
    sender: Address | None = None
    """The sender of `first`, if they are counted by domain."""


async def by_domain(spool: Spool, now: float) -> AsyncIterator[Sequence[Tally]]:
    """Tallies of all domains, in order: all of a domain come together. Raises StorageError."""
    after: str | None = ""
    while after is not None:
        found, after = await spool.reader.ask(partial(_domains, spool.index, now, after))
        yield found


async def by_tenant(spool: Spool, now: float) -> AsyncIterator[Sequence[Tally]]:
    """Tallies of all tenants. Raises StorageError."""
    async for found in _by_column(spool, _TENANT, now):
        yield found


async def by_source(spool: Spool, now: float) -> AsyncIterator[Sequence[Tally]]:
    """Tallies of the addresses that plugins chose, and of `default`. Raises StorageError."""
    async for found in _by_column(spool, _SOURCE, now):
        yield found


async def entries(spool: Spool, keys: Sequence[EntryKey]) -> Sequence[Entry]:
    """The entries of these keys that are still there. Raises StorageError."""
    wanted = [key.row for key in keys if key.spool == spool.index]
    if not wanted:
        return ()
    return await spool.reader.ask(lambda db: queries.read(db, spool.place, wanted))


def _domains(spool: int, now: float, after: str, db: sqlite3.Connection) -> tuple[list[Tally], str | None]:
    """Tallies of domains after one, and where to continue; None: at the end."""
    answers = [db.execute(question, {"now": now, "after": after, "limit": PIECE}).fetchall() for question in _QUESTIONS]
    # Beyond the last domain of an answer that was cut off, the other one would be alone.
    following = min((str(answer[-1][0]) for answer in answers if len(answer) == PIECE), default=None)
    tallies = []
    for *row, local, domain, ascii_domain in itertools.chain(*answers):
        if following is None or row[0] <= following:
            is_known = all(isinstance(part, str) for part in (local, domain, ascii_domain))
            sender = Address(local, domain, ascii_domain) if is_known else None
            tallies.append(_tally(spool, row, now, sender))
    tallies.sort(key=lambda tally: tally.name)
    return tallies, following


async def _by_column(spool: Spool, column: str, now: float) -> AsyncIterator[Sequence[Tally]]:
    question = _BY_COLUMN.format(column=column)
    after: int | None = 0
    while after is not None:
        found, after = await spool.reader.ask(partial(_window, spool.index, question, now, after))
        yield found


def _window(
    spool: int, question: str, now: float, after: int, db: sqlite3.Connection
) -> tuple[list[Tally], int | None]:
    last, count = db.execute(
        "SELECT max(id), count(*) FROM (SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?)", (after, WINDOW)
    ).fetchone()
    if not count:
        return [], None
    found = db.execute(question, {"now": now, "after": after, "last": last})
    tallies = [_tally(spool, row, now) for row in found]
    return tallies, last if count == WINDOW else None


def _tally(spool: int, row: Sequence[Any], now: float, sender: Address | None = None) -> Tally:
    """A row; what a damaged database has instead of a time is now."""
    name, waiting, due, first, when, queued_at = row
    oldest, following = rows.time_or_none(queued_at), rows.time_or_none(when)
    return Tally(
        str(name),
        waiting,
        due or 0,
        EntryKey(spool, first),
        now if oldest is None else oldest,
        now if following is None else following,
        sender,
    )


Count = Callable[[Spool, float], AsyncIterator[Sequence[Tally]]]

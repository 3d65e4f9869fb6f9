"""The MTA-STS policies that a worker remembers, in its database: they outlive a restart (RFC 8461 10.2).

Knows rows only; `routing.sts_cache` decides what is stored and when it is looked at again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence

from mailboat.model.sts import StsEntry, StsMode, StsPolicy
from mailboat.queue.spool import Spool

_READ = "SELECT * FROM sts WHERE domain = ?"
_DUE = (
    "SELECT * FROM sts WHERE mode IN ('enforce', 'testing') AND used >= :used"
    " AND (checked + min(max(max_age / 2, :shortest), :longest) < :now OR checked > :now + :longest)"
    " ORDER BY checked LIMIT :limit"
)
_WRITE = "INSERT OR REPLACE INTO sts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PAST = "SELECT domain FROM sts WHERE max(expires, tried_at) < ?"
_LEAST_USED = "SELECT domain FROM sts ORDER BY used LIMIT ?"


def domains(db: sqlite3.Connection) -> list[str]:
    """All domains of which a database remembers something."""
    return [domain for (domain,) in db.execute("SELECT domain FROM sts")]


def read(db: sqlite3.Connection, domain: str) -> StsEntry | None:
    """What a database remembers of a domain."""
    rows = db.execute(_READ, (domain,)).fetchall()
    return _entry(*rows[0]) if rows else None


class StsTable:
    """The table `sts` of one database. Each method raises StorageError."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def domains(self) -> Sequence[str]:
        """All domains of which something is remembered."""
        return await self._spool.reader.ask(domains)

    async def read(self, domain: str) -> StsEntry | None:
        """What is remembered of a domain."""
        return await self._spool.reader.ask(lambda db: read(db, domain))

    async def due(self, used: float, now: float, between: tuple[float, float], limit: int) -> Sequence[StsEntry]:
        """Policies that bind, used since `used`, and last looked at half of their life ago, within these bounds, or in
        the future; the oldest first."""
        shortest, longest = between
        values = {"used": used, "now": now, "shortest": shortest, "longest": longest, "limit": limit}
        rows = await self._spool.reader.ask(lambda db: db.execute(_DUE, values).fetchall())
        return [_entry(*row) for row in rows]

    async def past(self, before: float) -> Sequence[str]:
        """The domains of which nothing that is remembered counts since `before`."""
        return await self._domains(_PAST, before)

    async def least_used(self, limit: int) -> Sequence[str]:
        """The domains that were not used for longest."""
        return await self._domains(_LEAST_USED, limit)

    def write(self, entry: StsEntry) -> asyncio.Future[None]:
        """Store what is to be remembered of a domain, in place of what was."""
        row = _row(entry)
        return self._spool.change_table(lambda db: db.execute(_WRITE, row))

    def remove(self, domains: Sequence[str]) -> asyncio.Future[None]:
        """Forget domains."""
        rows = [(domain,) for domain in domains]
        return self._spool.change_table(lambda db: db.executemany("DELETE FROM sts WHERE domain = ?", rows))

    async def _domains(self, statement: str, *values: object) -> Sequence[str]:
        def ask(db: sqlite3.Connection) -> list[str]:
            return [domain for (domain,) in db.execute(statement, values)]

        return await self._spool.reader.ask(ask)


def _row(entry: StsEntry) -> tuple[object, ...]:
    mode, max_age, mx = None, 0, ""
    if (policy := entry.policy) is not None:
        mode, max_age, mx = policy.mode.value, policy.max_age, " ".join(policy.mx)
    policy_columns = (entry.domain, entry.id, mode, max_age, mx, entry.fetched, entry.expires, entry.checked)
    return (*policy_columns, entry.tried_id, entry.tried_at, entry.used)


def _entry(domain: str, id_: str, mode: str | None, max_age: int, mx: str, *rest: object) -> StsEntry:
    policy = None if mode is None else StsPolicy(StsMode(mode), max_age, tuple(mx.split()))
    return StsEntry(domain, policy, id_, *rest)  # type: ignore[arg-type]  # columns of the schema

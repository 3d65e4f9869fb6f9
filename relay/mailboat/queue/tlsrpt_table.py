"""What is counted for reports on TLS, and which reports were sent, in a worker's database: both outlive a restart.

Knows rows only. `delivery.tls_counter` counts; `app.tls_reporter` reads what all workers of the relay have counted.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from mailboat.queue import schema
from mailboat.queue.faults import storage_error
from mailboat.queue.spool import Spool
from mailboat.tlsrpt.results import (
    PolicyType,
    ReasonCode,
    ReportedPolicy,
    ResultType,
    TlsCount,
    TlsFailure,
    TlsResult,
)

MAX_KEYS: Final = 1000
"""Different results of a domain and day that are kept apart. Failures beyond are counted together."""
MAX_POLICY: Final = 16_384
"""Octets of a stored policy; of a larger one only the type is kept."""

_ADD: Final = "UPDATE tls_count SET sessions = sessions + ? WHERE (day, domain, policy, failure) = (?, ?, ?, ?)"
_READ: Final = "SELECT day, domain, policy, failure, sum(sessions) FROM tls_count GROUP BY 1, 2, 3, 4"


class ReportState(StrEnum):
    """What became of a report to one address."""

    SENT = "sent"
    RETRY = "retry"
    FAILED = "failed"


class ReportKey(NamedTuple):
    """One report to one address."""

    day: int
    domain: str
    address: str


class ReportRow(NamedTuple):
    """The attempts to send a report. Times are seconds since the epoch."""

    key: ReportKey
    state: ReportState
    since: float
    """The first attempt."""
    tried_at: float
    """The last one."""


DayResult = tuple[int, TlsResult]
CountRow = tuple[int, int, str, str, str]
"""Sessions, day, domain, policy, failure."""


class TlsReportTable:
    """The tables `tls_count` and `tls_report` of one database. Each method raises StorageError."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def add(self, counted: Mapping[DayResult, int]) -> asyncio.Future[None]:
        """Add to what is counted."""
        rows = [_row(day, result, sessions) for (day, result), sessions in counted.items()]
        others = [_row(day, _other(result), sessions) for (day, result), sessions in counted.items()]
        return self._spool.change_table(lambda db: _add(db, rows, others))

    def purge(self, before: int) -> asyncio.Future[None]:
        """Remove everything of days before this one."""

        def remove(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM tls_count WHERE day < ?", (before,))
            db.execute("DELETE FROM tls_report WHERE day < ?", (before,))

        return self._spool.change_table(remove)

    async def reports(self) -> dict[ReportKey, ReportRow]:
        """The reports that were sent or tried."""

        def ask(db: sqlite3.Connection) -> list[tuple[int, str, str, str, float, float]]:
            return db.execute("SELECT * FROM tls_report").fetchall()

        rows = await self._spool.reader.ask(ask)
        keys = [ReportKey(*row[:3]) for row in rows]
        return {k: ReportRow(k, ReportState(row[3]), *row[4:]) for k, row in zip(keys, rows, strict=True)}

    def write(self, report: ReportRow) -> asyncio.Future[None]:
        """Store what became of a report."""
        row = (*report.key, report.state.value, report.since, report.tried_at)
        return self._spool.change_table(
            lambda db: db.execute("INSERT OR REPLACE INTO tls_report VALUES (?, ?, ?, ?, ?, ?)", row)
        )


def read_counts(queue_dir: str, before: int) -> dict[tuple[int, str], Counter[TlsResult]]:
    """What the databases of a queue directory have counted on days before this one. Blocks; raises StorageError."""
    counts: dict[tuple[int, str], Counter[TlsResult]] = {}
    for _, path in schema.databases(Path(queue_dir)):
        try:
            for day, domain, result, sessions in _read(path):
                if day < before:
                    counts.setdefault((day, domain), Counter())[result] += sessions
        except sqlite3.Error as error:
            raise storage_error(error, str(path)) from error
    return counts


def counts_of(results: Counter[TlsResult]) -> list[TlsCount]:
    """As a report has them."""
    return [TlsCount(result, sessions) for result, sessions in results.items()]


def _read(path: Path) -> Iterable[tuple[int, str, TlsResult, int]]:
    db = schema.open_beside(path)
    if db is None:
        return
    with closing(db):
        if schema.version_of(db, str(path)) != len(schema.MIGRATIONS):
            return  # a spare database that its worker has not opened yet
        for day, domain, policy, failure, sessions in db.execute(_READ):
            yield day, domain, _result(domain, policy, failure), sessions


def _add(db: sqlite3.Connection, rows: Iterable[CountRow], others: Iterable[CountRow]) -> None:
    for row, other in zip(rows, others, strict=True):
        if db.execute(_ADD, row).rowcount:
            continue
        (known,) = db.execute("SELECT count(*) FROM tls_count WHERE day = ? AND domain = ?", row[1:3]).fetchone()
        new = row if known < MAX_KEYS else other
        if new is row or not db.execute(_ADD, other).rowcount:
            db.execute("INSERT INTO tls_count (sessions, day, domain, policy, failure) VALUES (?, ?, ?, ?, ?)", new)


def _row(day: int, result: TlsResult, sessions: int) -> CountRow:
    policy, failure = result
    return sessions, day, policy.domain, _policy(policy), "" if failure is None else orjson.dumps([*failure]).decode()


def _other(result: TlsResult) -> TlsResult:
    """What a result counts as beyond the number of those that are kept apart."""
    failure = result.failure and TlsFailure(ResultType.VALIDATION_FAILURE, reason=ReasonCode.OTHER)
    return TlsResult(ReportedPolicy(result.policy.domain), failure)


def _policy(policy: ReportedPolicy) -> str:
    text = orjson.dumps([policy.type, policy.strings, policy.mx_hosts]).decode()
    return text if len(text) <= MAX_POLICY else orjson.dumps([policy.type, (), ()]).decode()


def _result(domain: str, policy: str, failure: str) -> TlsResult:
    kind, strings, mx_hosts = orjson.loads(policy)
    reported = ReportedPolicy(domain, PolicyType(kind), tuple(strings), tuple(mx_hosts))
    if not failure:
        return TlsResult(reported)
    result, mx, receiving_ip, sending_ip, reason = orjson.loads(failure)
    return TlsResult(reported, TlsFailure(ResultType(result), mx, receiving_ip, sending_ip, ReasonCode(reason)))

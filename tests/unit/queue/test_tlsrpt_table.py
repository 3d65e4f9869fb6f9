"""What is counted for TLS reports, in the database: kept over a restart, added up, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock

from mailboat.model.observer import Observer
from mailboat.queue.opening import open_spool
from mailboat.queue.tlsrpt_table import (
    MAX_KEYS,
    ReportKey,
    ReportRow,
    ReportState,
    TlsReportTable,
    counts_of,
    read_counts,
)
from mailboat.tlsrpt.results import (
    PolicyType,
    ReasonCode,
    ReportedPolicy,
    ResultType,
    TlsCount,
    TlsFailure,
    TlsResult,
)

POLICY = ReportedPolicy("example.com", PolicyType.STS, ("version: STSv1", "mx: a"), ("a",))
SUCCESS = TlsResult(POLICY)
FAILURE = TlsResult(POLICY, TlsFailure(ResultType.CERTIFICATE_EXPIRED, "a", "192.0.2.1", "192.0.2.2"))


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[TlsReportTable]:
    spool = await open_spool(tmp_path, 0, FixedClock(), Observer())
    yield TlsReportTable(spool)
    await spool.close()


async def test_results_are_added_up_over_all_databases_of_a_queue_also_after_a_restart(tmp_path: Path) -> None:
    for number in (0, 0, 1):
        spool = await open_spool(tmp_path, number, FixedClock(), Observer())
        await TlsReportTable(spool).add({(7, SUCCESS): 3, (7, FAILURE): 1, (8, SUCCESS): 5})
        await spool.close()
    counts = read_counts(str(tmp_path), before=8)
    assert list(counts) == [(7, "example.com")]
    assert set(counts_of(counts[7, "example.com"])) == {TlsCount(SUCCESS, 9), TlsCount(FAILURE, 3)}


async def test_failures_beyond_a_thousand_of_a_domain_and_day_are_counted_together(
    table: TlsReportTable, tmp_path: Path
) -> None:
    many = {
        (7, TlsResult(POLICY, TlsFailure(ResultType.CERTIFICATE_EXPIRED, f"mx{n}.example.com"))): 2
        for n in range(MAX_KEYS + 50)
    }
    await table.add(many)
    await table.add(many)
    counts = read_counts(str(tmp_path), before=8)[7, "example.com"]
    other = TlsFailure(ResultType.VALIDATION_FAILURE, reason=ReasonCode.OTHER)
    assert counts[TlsResult(ReportedPolicy("example.com"), other)] == 50 * 4
    assert len(counts) == MAX_KEYS + 1
    assert counts.total() == 4 * (MAX_KEYS + 50)


async def test_a_huge_policy_is_kept_by_its_type(table: TlsReportTable, tmp_path: Path) -> None:
    huge = TlsResult(ReportedPolicy("example.com", PolicyType.TLSA, ("3 0 0 " + "ab" * 20_000,)))
    await table.add({(7, huge): 1})
    (result,) = read_counts(str(tmp_path), before=8)[7, "example.com"]
    assert result.policy == ReportedPolicy("example.com", PolicyType.TLSA)


async def test_what_is_old_is_removed_and_what_was_sent_is_remembered(table: TlsReportTable, tmp_path: Path) -> None:
    rows = [ReportRow(ReportKey(day, "example.com", "a@b.test"), ReportState.SENT, 1.0, 2.0) for day in (6, 7)]
    for row in rows:
        await table.write(row)
    await table.write(rows[1]._replace(state=ReportState.RETRY))
    await table.add({(6, SUCCESS): 1, (7, SUCCESS): 1})
    await table.purge(before=7)
    assert list(read_counts(str(tmp_path), before=9)) == [(7, "example.com")]
    assert await table.reports() == {rows[1].key: rows[1]._replace(state=ReportState.RETRY)}

"""Counting for TLS reports: which domains, when it is stored, and that nothing is kept without bound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from tests.support.fixed_clock import FixedClock

from mailboat.config.settings import TlsReportSettings
from mailboat.delivery import tls_counter
from mailboat.delivery.tls_counter import KEEP_DAYS, TlsCounter
from mailboat.queue.store import StorageFull
from mailboat.queue.tlsrpt_table import DayResult
from mailboat.tlsrpt.record import ReportRecord
from mailboat.tlsrpt.results import DAY, ReportedPolicy, ResultType, TlsFailure, TlsResult

ON = TlsReportSettings(organization="Example", contact="postmaster@example.com")
WANTED = TlsResult(ReportedPolicy("wants.test"))
UNWANTED = TlsResult(ReportedPolicy("other.test"))
FAILED = TlsResult(WANTED.policy, TlsFailure(ResultType.CERTIFICATE_EXPIRED, "mx.wants.test", "192.0.2.1", "192.0.2.2"))


class FakeTable:
    """Remembers what it is given."""

    def __init__(self) -> None:
        self.added: list[dict[DayResult, int]] = []
        self.purged: list[int] = []
        self.was_purged = asyncio.Event()
        self.fault: Exception | None = None

    def _done(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.fault is None:
            future.set_result(None)
        else:
            future.set_exception(self.fault)
        return future

    def add(self, counted: Mapping[DayResult, int]) -> asyncio.Future[None]:
        self.added.append(dict(counted))
        return self._done()

    def purge(self, before: int) -> asyncio.Future[None]:
        self.purged.append(before)
        self.was_purged.set()
        return self._done()


class FakeRecords:
    """One domain wants reports."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def find(self, domain: str) -> ReportRecord | None:
        self.asked.append(domain)
        self.was_asked.set()
        await self.answers.wait()
        return ReportRecord("v=TLSRPTv1;rua=mailto:a@b.test", ("a@b.test",)) if domain == "wants.test" else None


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def records() -> FakeRecords:
    return FakeRecords()


@pytest.fixture
def counter(table: FakeTable, records: FakeRecords) -> TlsCounter:
    made = TlsCounter(table, records, FixedClock(7.5 * DAY))  # type: ignore[arg-type]
    made.configure(ON)
    return made


async def test_only_what_concerns_a_domain_with_a_record_is_stored(
    counter: TlsCounter, table: FakeTable, records: FakeRecords
) -> None:
    for result in (WANTED, UNWANTED, WANTED, None):
        counter.count(result)
    assert records.asked == [], "no look-up before the delivery goes on"
    await counter.flush()
    await counter.flush()
    assert sorted(records.asked) == ["other.test", "wants.test"]
    assert table.added == [{(7, WANTED): 2}]


async def test_the_sending_address_is_left_out_where_the_settings_say_so(counter: TlsCounter, table: FakeTable) -> None:
    counter.count(FAILED)
    counter.configure(TlsReportSettings(ON.organization, ON.contact, sending_ip=False))
    counter.count(FAILED)
    await counter.flush()
    assert [result.failure and result.failure.sending_ip for _, result in table.added[0]] == ["192.0.2.2", ""]


async def test_different_results_between_two_commits_are_bounded(
    counter: TlsCounter, table: FakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_counter, "MAX_PENDING", 2)
    for n in range(9):
        counter.count(FAILED._replace(failure=TlsFailure(ResultType.CERTIFICATE_EXPIRED, f"mx{n}.wants.test")))
        counter.count(FAILED._replace(failure=TlsFailure(ResultType.CERTIFICATE_EXPIRED, "mx0.wants.test")))
    await counter.flush()
    assert sorted(table.added[0].values()) == [1, 10]


async def test_a_flush_that_is_cancelled_in_its_look_ups_loses_nothing(
    counter: TlsCounter, table: FakeTable, records: FakeRecords
) -> None:
    counter.count(WANTED)
    records.answers.clear()
    task = asyncio.create_task(counter.flush())
    await records.was_asked.wait()
    counter.count(WANTED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    records.answers.set()
    await counter.flush()
    assert table.added == [{(7, WANTED): 2}]


async def test_a_full_disk_loses_counts_and_nothing_else(counter: TlsCounter, table: FakeTable) -> None:
    table.fault = StorageFull("no space")
    counter.count(WANTED)
    await counter.flush()
    table.fault = None
    counter.count(WANTED)
    await counter.flush()
    assert table.added[1] == {(7, WANTED): 1}


async def test_days_that_are_past_are_removed_once_a_day(counter: TlsCounter, table: FakeTable) -> None:
    task = asyncio.create_task(counter.run())
    await table.was_purged.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert table.purged == [7 - KEEP_DAYS]

"""Reports by HTTPS over hours: offered again until they are accepted, and given up after a day."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.authority import Authority
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.fixed_clock import FixedClock
from tests.support.tls_reports import ReportServer

from mailboat.app.tls_reporter import PERIOD, TlsReporter
from mailboat.config.settings import OutboundSettings, OutboundTlsSettings, Settings, TlsReportSettings
from mailboat.model.observer import Observer, TlsReportResult
from mailboat.queue.opening import open_spool
from mailboat.queue.tlsrpt_table import TlsReportTable
from mailboat.routing.resolver import Resolver
from mailboat.routing.tlsrpt_records import ReportRecords
from mailboat.submission.submitter import Submitter
from mailboat.tlsrpt.report import SPREAD
from mailboat.tlsrpt.results import DAY, ReportedPolicy, TlsResult

HOUR = 3600.0
MIDNIGHT = 20_000.0 * DAY


class Results(Observer):
    """What became of reports."""

    def __init__(self) -> None:
        self.seen: list[TlsReportResult] = []

    def tls_reported(self, result: TlsReportResult) -> None:
        self.seen.append(result)


@dataclass
class Rig:
    """A reporter whose day before has a result for `example.test`, which wants reports by HTTPS."""

    reporter: TlsReporter
    server: ReportServer
    dns: DnsServer
    clock: FixedClock
    results: Results

    async def rounds_for(self, seconds: float) -> None:
        """What the reporter does by itself in this time."""
        for _ in range(int(seconds / PERIOD)):
            self.clock.advance(PERIOD)
            await self.reporter.send_due()


@contextlib.asynccontextmanager
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    authority, clock, results = Authority(), FixedClock(MIDNIGHT), Results()
    roots = tmp_path / "roots.pem"
    roots.write_text(authority.root)
    settings = Settings(
        str(tmp_path),
        "relay.test",
        outbound=OutboundSettings(queue_dir=str(tmp_path / "queue")),
        tls_outbound=OutboundTlsSettings(sts_ca=str(roots), sts_allow_private=True),
        tlsrpt=TlsReportSettings("Example", "postmaster@example.com"),
    )
    async with contextlib.AsyncExitStack() as stack:
        dns = await stack.enter_async_context(DnsServer.start())
        server = await stack.enter_async_context(ReportServer.start(authority.context("reports.test")))
        dns.zone.add("_smtp._tls.example.test", "TXT", f'"v=TLSRPTv1; rua=https://reports.test:{server.port}/v1"')
        dns.zone.a("reports.test", "127.0.0.1")
        resolver = Resolver(observer=results, clock=clock)
        stack.push_async_callback(resolver.close)
        resolver.configure((dns.endpoint,))
        spool = await open_spool(tmp_path / "queue", 0, clock, results)
        stack.push_async_callback(spool.close)
        table = TlsReportTable(spool)
        await table.add({(19_999, TlsResult(ReportedPolicy("example.test"))): 1})
        submitter = Submitter(settings, spool, results, clock, lambda: "")
        yield Rig(TlsReporter(table, ReportRecords(resolver, clock), resolver, submitter), server, dns, clock, results)


async def test_a_report_that_is_refused_for_an_hour_is_accepted_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.server.statuses = [500] * 6
        await r.rounds_for(SPREAD + 2 * HOUR)
        assert [status for status, _, _ in r.server.posts] == [500] * 6 + [201]
        assert len(r.server.taken) == 1
        assert r.results.seen == [TlsReportResult.POSTED]


async def test_nothing_is_sent_at_midnight_itself_but_within_four_hours(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        await r.reporter.send_due()
        assert r.server.posts == []
        await r.rounds_for(SPREAD + PERIOD)
        assert len(r.server.posts) == 1


async def test_a_report_that_nobody_takes_is_given_up_after_a_day(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.server.statuses = [503] * 1000
        await r.rounds_for(SPREAD + 26 * HOUR)
        assert r.results.seen == [TlsReportResult.FAILED]
        tried = len(r.server.posts)
        await r.rounds_for(2 * HOUR)
        assert len(r.server.posts) == tried


async def test_it_is_known_until_when_all_reports_are_sent(tmp_path: Path) -> None:
    yesterday, today = MIDNIGHT - DAY, MIDNIGHT
    async with rig(tmp_path) as r:
        assert r.reporter.complete_until is None
        await r.reporter.send_due()
        assert r.reporter.complete_until == yesterday, "that of yesterday is not due yet"
        r.server.statuses = [503]
        await r.rounds_for(SPREAD + HOUR)
        assert r.results.seen == [TlsReportResult.POSTED]
        assert r.reporter.complete_until == today


async def test_a_report_that_is_given_up_is_no_longer_missing(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.server.statuses = [503] * 1000
        await r.rounds_for(23 * HOUR)
        assert r.reporter.complete_until == MIDNIGHT - DAY
        await r.rounds_for(SPREAD + 2 * HOUR)
        assert r.results.seen == [TlsReportResult.FAILED]
        assert r.reporter.complete_until == MIDNIGHT + DAY


async def test_a_report_is_missing_while_its_record_cannot_be_looked_up(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.dns.zone.behave("_smtp._tls.example.test", Behaviour.SERVFAIL)
        await r.rounds_for(2 * SPREAD)
        assert r.server.posts == []
        assert r.reporter.complete_until == MIDNIGHT - DAY


async def test_a_domain_that_wants_no_reports_any_more_misses_none(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.dns.zone.forget("_smtp._tls.example.test")
        await r.rounds_for(2 * SPREAD)
        assert r.server.posts == []
        assert r.reporter.complete_until == MIDNIGHT

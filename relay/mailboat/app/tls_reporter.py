"""Makes the reports on TLS of past days and sends each once to each address: by mail, or by HTTPS (RFC 8460 5).

Runs in the first worker, for all workers: it reads what their databases have counted, and has in its own what was sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from mailboat.config.settings import Settings
from mailboat.delivery.tlsrpt_post import PostError, post_report
from mailboat.message import tls_report
from mailboat.model.address import NULL_SENDER
from mailboat.model.clock import Clock
from mailboat.model.envelope import TLS_REPORT_NOTE
from mailboat.model.observer import TlsReportResult
from mailboat.queue.store import StorageError
from mailboat.queue.tlsrpt_table import ReportKey, ReportRow, ReportState, TlsReportTable, counts_of, read_counts
from mailboat.routing.public_https import HttpsSettings
from mailboat.routing.resolver import Resolver
from mailboat.routing.tlsrpt_records import ReportRecords
from mailboat.submission.request import RefusedError, SubmissionRequest, recipients_of
from mailboat.submission.submitter import Submitter
from mailboat.tlsrpt.report import TlsReport, day_text, due_at
from mailboat.tlsrpt.results import DAY, TlsCount, day_of

log = logging.getLogger(__name__)

START_DELAY: Final = 5.0
"""Seconds from the start to the first round, which sends what was missed."""
PERIOD: Final = 300.0
"""Seconds between two rounds."""
RETRY: Final = 600.0
"""Seconds until a report that was not taken is offered again."""
AT_ONCE: Final = 8
"""Domains to which reports are sent at once."""
GIVE_UP: Final = float(DAY)
"""Seconds after the first attempt from which it is not offered again (RFC 8460 5.5)."""

SentReport = dict[str, Any]
"""What `mailboat tlsrpt send` shows of one report: `day`, `domain`, `address`, `id`, `state`."""


class TlsReporter:
    """The reports of one relay."""

    def __init__(self, table: TlsReportTable, records: ReportRecords, resolver: Resolver, submitter: Submitter) -> None:
        self._table = table
        self._records = records
        self._resolver = resolver
        self._submitter = submitter
        self._observer = submitter.observer
        self._clock: Clock = submitter.clock
        self._turn = asyncio.Lock()
        self._left: set[int] = set()
        self.complete_until: float | None = None
        """Midnight before the oldest day with a report that is not sent, or before today: seconds since the epoch. It
        stays where it is while rounds fail. None: no reports are to be sent."""

    async def send(self, day: int | None = None) -> Sequence[SentReport]:
        """Send what is unreported of past days, or of one; what was done. Raises StorageError."""
        return await self._round(day, by_hand=True)

    async def send_due(self) -> Sequence[SentReport]:
        """Send what is due by now; what was done. Raises StorageError."""
        return await self._round(None)

    async def run(self) -> None:
        """Send each report when it is due, until cancelled."""
        await asyncio.sleep(START_DELAY)
        while True:
            try:
                await self.send_due()
            except StorageError as error:
                log.warning("no TLS reports can be made: %s", error)
            except Exception:
                log.exception("TLS reports")
            await asyncio.sleep(PERIOD)

    async def _round(self, day: int | None, *, by_hand: bool = False) -> list[SentReport]:
        settings = self._submitter.settings
        if not settings.tlsrpt.reports:
            self.complete_until = None
            return []
        async with self._turn:
            now = self._clock.now()
            if self.complete_until is None:
                self.complete_until = float(day_of(now) * DAY)
            counts = await asyncio.to_thread(read_counts, settings.outbound.queue_dir, day_of(now))
            known = await self._table.reports()
            due = {key for key in counts if by_hand or now >= due_at(*key, settings.me)}
            reports = [
                _report(settings, domain, of, counts_of(counts[of, domain]))
                for of, domain in sorted(due)
                if day in (None, of)
            ]
            self._left = {of for of, _ in counts.keys() - due}
            turns = asyncio.Semaphore(AT_ONCE)

            async def send(report: TlsReport) -> list[SentReport]:
                async with turns:
                    return await self._report(report, known, settings, by_hand=by_hand)

            done = [one for sent in await asyncio.gather(*map(send, reports)) for one in sent]
            if day is None:
                self.complete_until = float(min(self._left, default=day_of(now)) * DAY)
            return done

    async def _report(
        self, report: TlsReport, known: Mapping[ReportKey, ReportRow], settings: Settings, *, by_hand: bool
    ) -> list[SentReport]:
        """Send one report to each address that does not have it."""
        record = await self._records.find(report.domain)
        if record is None and self._records.has_failed(report.domain):
            self._left.add(report.day)
        sent: list[SentReport] = []
        for address in (*record.mail, *record.urls) if record is not None else ():
            key, now = ReportKey(report.day, report.domain, address), self._clock.now()
            row = known.get(key)
            if row is not None and row.state is not ReportState.RETRY:
                continue
            if row is not None and not by_hand and now - row.tried_at < RETRY:
                self._left.add(report.day)
                continue
            since = now if row is None else row.since
            state = await self._offer(report, address, settings)
            if state is ReportState.RETRY and now - since >= GIVE_UP:
                state = ReportState.FAILED
                self._observer.tls_reported(TlsReportResult.FAILED)
            if state is ReportState.RETRY:
                self._left.add(report.day)
            await self._table.write(ReportRow(key, state, since, now))
            about = {"day": day_text(report.day), "domain": report.domain, "address": address, "id": report.id}
            sent.append({**about, "state": state.value})
        return sent

    async def _offer(self, report: TlsReport, address: str, settings: Settings) -> ReportState:
        is_url = address.startswith("https:")
        try:
            await (self._post(report, address, settings) if is_url else self._mail(report, address, settings))
        except (PostError, StorageError) as error:
            log.warning("TLS report %s for %s is offered again later: %s", report.id, address, error)
            return ReportState.RETRY
        except RefusedError as error:
            log.warning("TLS report %s for %s is refused: %s", report.id, address, error)
            self._observer.tls_reported(TlsReportResult.FAILED)
            return ReportState.FAILED
        log.info("TLS report %s on %s is sent to %s", report.id, report.domain, address)
        self._observer.tls_reported(TlsReportResult.POSTED if is_url else TlsReportResult.QUEUED)
        return ReportState.SENT

    async def _post(self, report: TlsReport, url: str, settings: Settings) -> None:
        tls = settings.tls_outbound
        https = HttpsSettings(tls.sts_ca, tls.sts_allow_private, urlsplit(url).port or tls.sts_port)
        await post_report(url, report.compressed, self._resolver, https)

    async def _mail(self, report: TlsReport, address: str, settings: Settings) -> None:
        # From the null sender: nobody reads a bounce of it.
        notes = {TLS_REPORT_NOTE: True}
        request = SubmissionRequest(NULL_SENDER, recipients_of(address), notes, origin="TLS-RPT")
        submission = self._submitter.begin(request, "LOCAL")
        try:
            await submission.write(tls_report.build(report, _author(settings), address))
        except BaseException:
            await submission.abandon()
            raise
        await submission.commit()


def _author(settings: Settings) -> str:
    return settings.tlsrpt.author or f"postmaster@{settings.me}"


def _report(settings: Settings, domain: str, day: int, counts: Sequence[TlsCount]) -> TlsReport:
    tlsrpt, sender = settings.tlsrpt, _author(settings).rpartition("@")[2].lower()
    return TlsReport(tlsrpt.organization, tlsrpt.contact, sender, settings.me, domain, day, counts)

"""Counts the results of connections for reports on TLS, or passes them on to libtlsrpt's collector.

A connection adds one to a number in memory. A task looks up, away from deliveries, which domains want reports
(RFC 8460 3), and stores or sends only what concerns those. What was not stored is lost in a crash. Built by `app`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from typing import Final, Protocol

from mailboat.config.settings import TlsReportSettings
from mailboat.model.clock import Clock
from mailboat.queue.store import StorageError
from mailboat.queue.tlsrpt_table import DayResult, TlsReportTable
from mailboat.tlsrpt.datagram import MAX_DATAGRAM, datagram
from mailboat.tlsrpt.record import ReportRecord
from mailboat.tlsrpt.results import TlsResult, day_of

log = logging.getLogger(__name__)

PERIOD: Final = 5.0
"""Seconds between two commits."""
MAX_PENDING: Final = 10_000
"""Different results that are kept between two commits; further ones are not counted."""
KEEP_DAYS: Final = 3
"""Whole days for which counts are kept."""
_LOOKUPS: Final = 16
"""Concurrent look-ups."""


class Records(Protocol):
    """See `routing.tlsrpt_records.ReportRecords`."""

    async def find(self, domain: str) -> ReportRecord | None: ...


class TlsCounter:
    """Counts for one worker."""

    def __init__(self, table: TlsReportTable, records: Records, clock: Clock) -> None:
        self._table = table
        self._records = records
        self._clock = clock
        self._settings = TlsReportSettings()
        self._pending: Counter[DayResult] = Counter()
        self._flushing = asyncio.Lock()
        self._purged = 0

    def configure(self, settings: TlsReportSettings) -> None:
        """Put new settings into force."""
        self._settings = settings

    def count(self, result: TlsResult | None) -> None:
        """Count one connection; None is not counted."""
        if result is None:
            return
        if result.failure is not None and not self._settings.sending_ip:
            result = result._replace(failure=result.failure._replace(sending_ip=""))
        key = (day_of(self._clock.now()), result)
        if key in self._pending or len(self._pending) < MAX_PENDING:
            self._pending[key] += 1

    async def flush(self) -> None:
        """Store or send what was counted."""
        async with self._flushing:
            pending, self._pending = self._pending, Counter()
            if not pending:
                return
            try:
                records = await self._wanted({result.policy.domain for _, result in pending})
            except BaseException:
                self._pending.update(pending)  # the flush at the end of the process has them
                raise
            if self._settings.socket:
                _send(self._settings.socket, pending, records)
                return
            counted = {key: count for key, count in pending.items() if key[1].policy.domain in records}
            if counted and self._settings.reports:
                try:
                    await self._table.add(counted)
                except StorageError as error:
                    log.warning("results of TLS for reports could not be stored: %s", error)

    async def run(self) -> None:
        """Flush now and then, and remove what is old, until cancelled."""
        while True:
            try:
                await self.flush()
                await self._purge()
            except StorageError as error:
                log.warning("old results of TLS could not be removed: %s", error)
            except Exception:
                log.exception("counting for TLS reports")
            await asyncio.sleep(PERIOD)

    async def _wanted(self, domains: set[str]) -> dict[str, ReportRecord]:
        """The records of the domains that have one."""
        turns = asyncio.Semaphore(_LOOKUPS)

        async def find(domain: str) -> tuple[str, ReportRecord | None]:
            async with turns:
                return domain, await self._records.find(domain)

        found = await asyncio.gather(*map(find, domains))
        return {domain: record for domain, record in found if record is not None}

    async def _purge(self) -> None:
        today = day_of(self._clock.now())
        if self._purged != today and self._settings.reports:
            await self._table.purge(today - KEEP_DAYS)
            self._purged = today


def _send(path: str, counted: Counter[DayResult], records: dict[str, ReportRecord]) -> None:
    """A datagram for each connection. A collector that is away or slow loses them: deliveries never wait for it."""
    lost = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        for (_, result), count in counted.items():
            record = records.get(result.policy.domain)
            if record is None:
                continue
            octets = datagram(result, record.text)
            for _ in range(count):
                try:
                    if len(octets) > MAX_DATAGRAM:
                        raise OSError("too large")  # noqa: TRY301 - counted like the others
                    sock.sendto(octets, path)
                except OSError:
                    lost += 1
    if lost:
        log.warning("%d results of TLS were not taken by the collector at %s", lost, path)

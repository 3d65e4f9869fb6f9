"""Looks up where a domain wants reports on TLS, at most once a day (RFC 8460 3)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from mailboat.model.clock import Clock
from mailboat.routing.records import Answer, LookupFailure
from mailboat.routing.resolver import Resolver
from mailboat.tlsrpt.record import ReportRecord, name_of, read_record
from mailboat.tlsrpt.results import DAY

MAX_DOMAINS: Final = 10_000
"""Domains that are remembered; those looked up first are forgotten first."""
RETRY: Final = 600.0
"""Seconds until a look-up that failed is made again."""


class _Known(NamedTuple):
    until: float
    record: ReportRecord | None
    failed: bool


class ReportRecords:
    """The records of domains. One for each worker."""

    def __init__(self, resolver: Resolver, clock: Clock) -> None:
        self._resolver = resolver
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def find(self, domain: str) -> ReportRecord | None:
        """The record of a domain; None if it wants no reports, or its record cannot be looked up now."""
        now = self._clock.monotonic()
        known = self._known.get(domain)
        if known is not None and now < known.until:
            return known.record
        answer = await self._resolver.texts(name_of(domain))
        record = read_record(answer.records) if isinstance(answer, Answer) else None
        failed = isinstance(answer, LookupFailure)
        self._known[domain] = _Known(now + (RETRY if failed else DAY), record, failed)
        self._known.move_to_end(domain)
        if len(self._known) > MAX_DOMAINS:
            self._known.popitem(last=False)
        return record

    def has_failed(self, domain: str) -> bool:
        """Whether the last look-up of the record of a domain failed, so that it is not known what it wants."""
        known = self._known.get(domain)
        return known is not None and known.failed

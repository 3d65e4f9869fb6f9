"""Shows what waits in a worker, and why: rows for people, counts for metrics.

Counts come from the databases in pieces, by a reader thread, so that a long queue with many destinations blocks no
delivery; what holds the mail is known in memory. Only the first rows are kept. `merged` makes one answer of several
workers.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailboat.app.build import Parts
from mailboat.config.settings import Settings
from mailboat.delivery.source import source_name
from mailboat.metrics.waiting import CountsByProvider
from mailboat.model.address import NULL_SENDER
from mailboat.model.envelope import Entry, EntryKey
from mailboat.model.waiting import GroupBy, SortBy, WaitCause, WaitingRow
from mailboat.queue import tallies
from mailboat.queue.store import StorageError
from mailboat.queue.tallies import Tally
from mailboat.routing.answers import Site, Spot
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.rate import RateLimit

log = logging.getLogger(__name__)

MOST = 4_000
"""Rows that a worker answers with at most, however many destinations there are."""
_KEPT = MOST
"""Names that are counted at once; when there are twice as many, those with the least mail are dropped."""
COUNT_EVERY = 10.0
"""Seconds between two counts for metrics."""
_SHARE = 50
"""Time between two counts as a multiple of the time that a count takes."""


@dataclass(slots=True)
class _Sum:
    """What waits under one name."""

    first: EntryKey
    queued_at: float
    next_attempt: float
    waiting: int = 0

    def add(self, tally: Tally) -> None:
        self.waiting += tally.waiting
        self.next_attempt = min(self.next_attempt, tally.next_attempt)
        if tally.queued_at < self.queued_at:
            self.first, self.queued_at = tally.first, tally.queued_at


_ORDER: Mapping[SortBy, Callable[[_Sum], tuple[float, float]]] = {
    SortBy.WAITING: lambda one: (one.waiting, -one.queued_at),
    SortBy.OLDEST: lambda one: (-one.queued_at, one.waiting),
}


@dataclass(frozen=True, slots=True)
class WorkerDestinations:
    """The destinations of one worker."""

    parts: Parts
    settings: Callable[[], Settings]
    """Those in force."""

    async def rows(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        """The first rows in an order. Raises StorageError."""
        count = {GroupBy.TENANT: tallies.by_tenant, GroupBy.SOURCE: tallies.by_source}.get(by, tallies.by_domain)
        now, order = self.parts.clock.now(), _ORDER[sort]
        sums: dict[str, _Sum] = {}
        for spool in self.parts.store.databases():
            async for found in count(spool, now):
                for tally in found:
                    name = self._site_name(tally) if by is GroupBy.SITE else tally.name
                    known = sums.get(name)
                    if known is None:
                        known = sums[name] = _Sum(tally.first, tally.queued_at, tally.next_attempt)
                    known.add(tally)
                if len(sums) > 2 * _KEPT:
                    sums = dict(heapq.nlargest(_KEPT, sums.items(), key=lambda item: order(item[1])))
        chosen = heapq.nlargest(min(most, MOST), sums.items(), key=lambda item: order(item[1]))
        entries = await self._entries([one.first for _, one in chosen])
        idle = self.parts.pool.idle_by_spot()
        rows = []
        for place, (name, one) in enumerate(chosen):
            if place % tallies.PIECE == tallies.PIECE - 1:
                await asyncio.sleep(0)
            rows.append(self._row(by, name, one, entries.get(one.first), idle))
        return rows

    def _site_name(self, tally: Tally) -> str:
        """The key of a domain's site; its ready queue if it is not known."""
        name = self._queue_of(tally)
        destination = self.parts.gate.destination(name)
        return name if destination is None else destination.key

    def _queue_of(self, tally: Tally) -> str:
        return self.parts.router.destination(tally.name, tally.sender or NULL_SENDER)

    async def _entries(self, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Entry]:
        return {
            entry.key: entry for spool in self.parts.store.databases() for entry in await tallies.entries(spool, keys)
        }

    def _row(self, by: GroupBy, name: str, one: _Sum, first: Entry | None, idle: Counter[Spot]) -> WaitingRow:
        now, monotonic = self.parts.clock.now(), self.parts.clock.monotonic()
        row = WaitingRow(
            destination=name,
            site=None,
            provider=None,
            source=name if by is GroupBy.SOURCE else None,
            waiting=one.waiting,
            oldest=max(0.0, now - one.queued_at),
            connections=None,
            window=None,
            rate=None,
            held_by=None,
            last_reply=None,
            next_attempt_at=one.next_attempt,
        )
        if first is None:
            return row  # it was delivered in between
        row["last_reply"] = first.last_reply or None
        queue = self.parts.engine.ready_queue(first)
        held = self.parts.engine.holders.of(queue, monotonic)
        if held is not None:
            row["held_by"] = held.text
            if held.until is not None:
                row["next_attempt_at"] = max(one.next_attempt, now + held.until - monotonic)
        if by in (GroupBy.TENANT, GroupBy.SOURCE):
            return row
        row["source"] = source_name(first)
        destination = self.parts.gate.destination(queue)
        if destination is None or destination.site is None:
            return row
        site = destination.site
        if by is GroupBy.SITE:
            row["destination"] = site_name(site)
        row["site"] = site.facts.site if site.facts.hosts or site.facts.route else None
        row["provider"] = self._provider(first.domain, site) or None
        row["connections"] = destination.conversing + sum(idle[spot] for tier in site.tiers for spot in tier)
        row["window"] = self.parts.gate.window(destination, monotonic)
        row["rate"] = self._rate(queue)
        if destination.trouble is not None and destination.trouble.reply is not None:
            row["last_reply"] = str(destination.trouble.reply)
        return row

    def _provider(self, domain: str, site: Site) -> str:
        facts = site.facts
        return "" if facts.route else self.settings().shaping.provider_of(domain, facts.hosts)

    def _rate(self, queue: str) -> str | None:
        limits = self.parts.gate.limits
        rates = () if limits is None else [c for c in limits.checks(queue) if c.kind is LimitKey.RATE]
        lowest = min(rates, key=lambda check: check.limit / check.period, default=None)
        return None if lowest is None else str(RateLimit(lowest.limit, lowest.period, lowest.burst))

    async def counts(self) -> Mapping[str, float]:
        """Entries that wait, by provider and cause, as the series of `mailboat_shaping_waiting_entries`.

        Mail that belongs to no provider counts under its destination. Raises StorageError.
        """
        now = self.parts.clock.now()
        counts = CountsByProvider()
        for spool in self.parts.store.databases():
            async for found in tallies.by_domain(spool, now):
                monotonic = self.parts.clock.monotonic()
                for tally in found:
                    self._count(counts, tally, monotonic)
        return counts.series()

    def _count(self, counts: CountsByProvider, tally: Tally, monotonic: float) -> None:
        queue = self._queue_of(tally)
        destination = self.parts.gate.destination(queue)
        provider = (
            "" if destination is None or destination.site is None else self._provider(tally.name, destination.site)
        )
        label = provider or queue
        held = self.parts.engine.holders.of(queue, monotonic) if tally.due or destination is not None else None
        if tally.due:
            counts.add(label, WaitCause.TURN if held is None else held.cause, tally.due)
        if later := tally.waiting - tally.due:
            in_backoff = held is not None and held.cause is WaitCause.BACKOFF
            counts.add(label, WaitCause.BACKOFF if in_backoff else WaitCause.RETRY, later)


class WaitingCounts:
    """Counts for metrics what waits, about every `COUNT_EVERY` seconds."""

    def __init__(self, destinations: WorkerDestinations) -> None:
        self._destinations = destinations
        self.series: Mapping[str, float] = {}
        """As of the last count."""

    async def run(self) -> None:
        """Count until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                self.series = await self._destinations.counts()
            except StorageError as error:
                log.warning("what waits could not be counted: %s", error)
            except Exception:
                log.exception("counting what waits")
            await asyncio.sleep(max(COUNT_EVERY, _SHARE * (loop.time() - began)))


def site_name(site: Site) -> str:
    """A site as people see it: its first host, and how many more it has."""
    hosts = sorted(site.facts.hosts)
    if not hosts:
        return site.key
    return hosts[0] + (f" and {len(hosts) - 1} more" if len(hosts) > 1 else "")


def merged(answers: Iterable[Sequence[WaitingRow]], by: GroupBy, sort: SortBy) -> list[WaitingRow]:
    """One answer of several workers."""
    found: dict[str, WaitingRow] = {}
    for row in sorted((row for answer in answers for row in answer), key=lambda row: -row["waiting"]):
        name = row["site"] or row["destination"] if by is GroupBy.SITE else row["destination"]
        known = found.setdefault(name, row)
        if known is not row:
            _add(known, row)
    if sort is SortBy.OLDEST:
        return sorted(found.values(), key=lambda row: (-row["oldest"], row["destination"]))
    return sorted(found.values(), key=lambda row: (-row["waiting"], -row["oldest"], row["destination"]))


def _add(into: WaitingRow, other: WaitingRow) -> None:
    """Add a row of another worker, which has less of that mail."""
    into["waiting"] += other["waiting"]
    into["connections"] = _sum(into["connections"], other["connections"])
    into["window"] = _sum(into["window"], other["window"])
    into["oldest"] = max(into["oldest"], other["oldest"])
    for key in ("site", "provider", "source", "rate", "held_by", "last_reply"):
        into[key] = into[key] or other[key]
    times = [time for time in (into["next_attempt_at"], other["next_attempt_at"]) if time is not None]
    into["next_attempt_at"] = min(times, default=None)


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other

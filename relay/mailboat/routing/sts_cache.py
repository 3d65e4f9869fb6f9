"""The MTA-STS policies of one worker (RFC 8461): when one is fetched, how long it counts, and what is stored.

The first mail to a domain is the only one that an attacker can keep from its policy, by blocking DNS or HTTPS at that
moment; so policies are stored, and those in use are fetched again long before they end. Asked by `lookups`; the
database behind it is `queue.sts_table`.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Protocol, TypeVar

from mailboat.config.settings import OutboundTlsSettings
from mailboat.model.clock import Clock
from mailboat.model.observer import Observer, StsResult
from mailboat.model.sts import StsAnswer, StsEntry, StsPolicy
from mailboat.routing.public_https import HttpsSettings
from mailboat.routing.records import Answer, LookupFailure
from mailboat.routing.resolver import Resolver
from mailboat.routing.sts import record_id
from mailboat.routing.sts_fetch import StsFetchError, fetch_policy

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Concurrent fetches of a worker."""
LONGEST_WAIT = 75.0
"""Seconds that mail waits for a policy, with the time for its turn; a fetch ends within 60."""
RETRY = 300.0
"""Seconds for which a failed fetch for the same id is not made again (RFC 8461 3.3)."""
MAX_DOMAINS = 100_000
"""Domains that are remembered; those not used for longest are forgotten first."""
IN_MEMORY = 1000
"""Entries that are also in memory."""
HOUR, DAY = 3600.0, 86_400.0
_IN_USE = 30 * DAY
"""A policy that no mail has needed for longer is not fetched again."""
_REFRESH_AFTER = (HOUR, 22 * HOUR)
"""A policy is fetched again after half of its life, but not sooner or later than this."""
_SPREAD = 4 * HOUR
"""What is added to the latest time at most, by a hash of the domain, so that fetches are spread."""
_LOOK_EVERY = 600.0
"""Seconds between two looks for policies to fetch again."""
_BATCH = 1000
"""Policies that are fetched again by one look."""
_REFRESHES = 4
"""How many of those at once: new domains must not wait for them."""

T = TypeVar("T")
Fetch = Callable[[str, Resolver, HttpsSettings], Awaitable[StsPolicy]]


class StsStore(Protocol):
    """The stored policies; see `queue.sts_table.StsTable`."""

    async def domains(self) -> Sequence[str]: ...
    async def read(self, domain: str) -> StsEntry | None: ...
    async def due(self, used: float, now: float, between: tuple[float, float], limit: int) -> Sequence[StsEntry]: ...
    async def past(self, before: float) -> Sequence[str]: ...
    async def least_used(self, limit: int) -> Sequence[str]: ...
    def write(self, entry: StsEntry) -> asyncio.Future[None]: ...
    def remove(self, domains: Sequence[str]) -> asyncio.Future[None]: ...


class StsPolicies:
    """The policies. One for each worker; `load` and `configure` must be called first."""

    def __init__(
        self, store: StsStore, resolver: Resolver, observer: Observer, clock: Clock, fetch: Fetch = fetch_policy
    ) -> None:
        self._store = store
        self._resolver = resolver
        self._observer = observer
        self._clock = clock
        self._fetch = fetch
        self._settings: HttpsSettings | None = None
        self._stored: set[str] = set()
        self._recent: OrderedDict[str, StsEntry] = OrderedDict()
        self._unwritten: dict[str, StsEntry] = {}
        """On the way to the database, which does not have them yet."""
        self._fetches: dict[str, asyncio.Task[StsEntry | None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._eviction: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read which domains are known, so that others cost no look into the database."""
        self._stored = set(await self._store.domains())

    def configure(self, tls: OutboundTlsSettings) -> None:
        """Fetch by these settings from now on. Without `mta_sts` nothing is looked up."""
        self._settings = HttpsSettings(tls.sts_ca, tls.sts_allow_private, tls.sts_port) if tls.mta_sts else None

    def ask_ahead(self, domain: str) -> None:
        """Send the query of `find`, which will follow, so that its answer comes with others."""
        if self._settings is not None:
            self._resolver.ask_ahead(record_name(domain))

    async def look_again(self, domain: str) -> None:
        """Ask for the record of a domain past the cache, for the next `find`."""
        if self._settings is not None:
            await self._resolver.texts_anew(record_name(domain))

    async def find(self, domain: str) -> StsAnswer | None:
        """What applies to a domain (A-labels, lower case); None if MTA-STS is off. Raises what the database does."""
        settings = self._settings
        if settings is None:
            return None
        record = await self._resolver.texts(record_name(domain))
        announced = record_id(record.records) if isinstance(record, Answer) else ""
        expires = inf if isinstance(record, LookupFailure) else record.expires
        entry, now = await self._entry(domain), self._clock.now()
        applying = entry if _applies(entry, now) else None
        if announced and _is_news(entry, announced, now):
            try:
                async with asyncio.timeout(LONGEST_WAIT):
                    # The fetch goes on for other mail, and is stored.
                    applying = await asyncio.shield(self._begin(domain, announced, settings))
            except TimeoutError:
                if applying is None:
                    return StsAnswer(expires, pending=True)
        if applying is None or applying.policy is None:
            return StsAnswer(expires, failure=await self._failure(domain) if announced else None)
        if abs(now - applying.used) > DAY:
            self._remember(replace(applying, used=now))
        return StsAnswer(expires, applying.policy, applying.id)

    async def refresh(self) -> None:
        """Fetch again what is due, whatever the TXT record says now, and forget what is past."""
        settings = self._settings
        if settings is None:
            return
        now = self._clock.now()
        if past := [domain for domain in await self._store.past(now - DAY) if domain not in self._fetches]:
            self._forget(past)
        found = await self._store.due(now - _IN_USE, now, _REFRESH_AFTER, _BATCH)
        due = iter([entry for entry in found if _is_due(entry, now)])

        async def work() -> None:
            for entry in due:
                await self._refresh(entry, settings)

        await asyncio.gather(*(work() for _ in range(_REFRESHES)))

    async def run(self) -> None:
        """Refresh now and then, until cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("refreshing MTA-STS policies")
            await asyncio.sleep(_LOOK_EVERY)

    async def flush(self, domain: str) -> bool:
        """Forget a domain, also in the database; whether anything was known of it. Raises what the database does."""
        known = domain in self._stored
        await self._forget([domain])
        return known

    async def close(self) -> None:
        """End the fetches under way."""
        for fetch in self._fetches.values():
            fetch.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, domain: str, announced: str, settings: HttpsSettings) -> asyncio.Task[StsEntry | None]:
        """The fetch for a domain that is under way, begun if there is none."""
        fetch = self._fetches.get(domain)
        if fetch is None:
            fetch = self._fetches[domain] = self._spawn(self._fetch_in_turn(domain, announced, settings))
            fetch.add_done_callback(lambda _: self._fetches.pop(domain))
        return fetch

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _fetch_in_turn(self, domain: str, announced: str, settings: HttpsSettings) -> StsEntry | None:
        """Fetch and store; what applies then: the new policy, or after a failure the old one while it is valid."""
        async with self._turns:
            try:
                policy = await self._fetch(domain, self._resolver, settings)
            except StsFetchError as error:
                return await self._failed(domain, announced, error)
            except Exception:
                log.exception("fetching the MTA-STS policy of %s", domain)
                trouble = StsFetchError(StsResult.FETCH_ERROR, "internal error")
                return await self._failed(domain, announced, trouble)
        self._observer.sts_fetched(StsResult.OK)
        known, now = await self._entry(domain), self._clock.now()
        used = known.used if known is not None else now
        entry = StsEntry(domain, policy, announced, now, now + policy.max_age, now, used=used)
        self._remember(entry)
        return entry

    async def _failed(self, domain: str, announced: str, error: StsFetchError) -> StsEntry | None:
        self._observer.sts_fetched(error.result)
        known, now = await self._entry(domain), self._clock.now()
        entry = replace(known or StsEntry(domain, used=now), checked=now, tried_id=announced, tried_at=now)
        entry = replace(entry, failure=error.result)
        self._remember(entry)
        if not _applies(entry, now):
            log.info("no MTA-STS policy of %s: %s", domain, error)
            return None
        level = logging.INFO if known and 0 <= now - known.tried_at < DAY else logging.WARNING
        log.log(level, "the MTA-STS policy of %s cannot be fetched, the last one applies: %s", domain, error)
        return entry

    async def _refresh(self, entry: StsEntry, settings: HttpsSettings) -> None:
        record = await self._resolver.texts(record_name(entry.domain))
        announced = record_id(record.records) if isinstance(record, Answer) else ""
        await asyncio.shield(self._begin(entry.domain, announced or entry.id, settings))

    async def _entry(self, domain: str) -> StsEntry | None:
        entry = self._recent.get(domain) or self._unwritten.get(domain)
        if entry is None and domain in self._stored:
            entry = await self._store.read(domain)
            if entry is not None:
                self._keep(entry)
        return entry

    async def _failure(self, domain: str) -> StsResult:
        """Why the last fetch for a domain failed."""
        entry = await self._entry(domain)
        return StsResult.FETCH_ERROR if entry is None or entry.failure is None else entry.failure

    def _keep(self, entry: StsEntry) -> None:
        self._recent[entry.domain] = entry
        self._recent.move_to_end(entry.domain)
        if len(self._recent) > IN_MEMORY:
            self._recent.popitem(last=False)

    def _remember(self, entry: StsEntry) -> None:
        """In memory and in the database."""
        self._keep(entry)
        self._stored.add(entry.domain)
        self._unwritten[entry.domain] = entry
        self._store.write(entry).add_done_callback(partial(self._written, entry))
        if len(self._stored) > MAX_DOMAINS and self._eviction is None:
            self._eviction = self._spawn(self._evict())

    async def _evict(self) -> None:
        try:
            self._forget(await self._store.least_used(MAX_DOMAINS // 100))
        finally:
            self._eviction = None

    def _forget(self, domains: Sequence[str]) -> asyncio.Future[None]:
        """At once in memory; the result is done when the database has forgotten them, too."""
        self._stored.difference_update(domains)
        for domain in domains:
            self._recent.pop(domain, None)
            self._unwritten.pop(domain, None)
        removal = self._store.remove(domains)
        removal.add_done_callback(_check)
        return removal

    def _written(self, entry: StsEntry, write: asyncio.Future[None]) -> None:
        if self._unwritten.get(entry.domain) is entry:
            del self._unwritten[entry.domain]
        _check(write)


def record_name(domain: str) -> str:
    """Where a domain announces its policy."""
    return f"_mta-sts.{domain}"  # RFC 8461 3.1


def _applies(entry: StsEntry | None, now: float) -> bool:
    """Whether there is a policy that has not run out. The clock may have been set back since."""
    return entry is not None and entry.policy is not None and now < entry.expires


def _is_news(entry: StsEntry | None, announced: str, now: float) -> bool:
    """Whether the policy of this id is neither known nor was fetched in vain just now (RFC 8461 3.3)."""
    if entry is None:
        return True
    if entry.tried_id == announced and 0 <= now - entry.tried_at < RETRY:
        return False
    return entry.id != announced or not _applies(entry, now)


def _is_due(entry: StsEntry, now: float) -> bool:
    """Whether a policy that `StsStore.due` names is to be fetched now: not all of them at once."""
    late = zlib.crc32(entry.domain.encode()) % int(_SPREAD)
    has_time = entry.policy is not None and entry.policy.max_age >= 2 * _REFRESH_AFTER[1] + 2 * _SPREAD
    return not has_time or not 0 <= now - entry.checked < _REFRESH_AFTER[1] + late


def _check(write: asyncio.Future[None]) -> None:
    if not write.cancelled() and (error := write.exception()) is not None:
        log.warning("an MTA-STS policy could not be stored: %s", error)

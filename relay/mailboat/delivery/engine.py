"""The queue manager: takes due entries from the store, lets them be attempted in fair order, records what came of it.

It listens to the store (`QueueListener`), so a message that was accepted a moment ago, one that was deferred for a
day and one found at start take the same path. It decides nothing about replies (`verdict`), order (`queue.schedule`)
or retries (`queue.entry`); it only joins them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailboat.config.settings import Settings
from mailboat.model.clock import Clock
from mailboat.model.envelope import Draft, Entry, EntryKey
from mailboat.model.observer import BounceResult, Observer
from mailboat.model.outcome import AttemptReport, Outcome, Result
from mailboat.queue.backoff import RetryPlan
from mailboat.queue.entry import Transition, transition
from mailboat.queue.schedule import LOW_WATER, Schedule
from mailboat.queue.store import Settlement, StorageError, Store

log = logging.getLogger(__name__)

IN_MEMORY = 20_000
"""Entries that wait in memory at most; about 1 KiB each. The rest is read from the store when there is room."""
SCAN_BATCH = 500
"""Entries read from the store at once."""
UNSETTLED_MAX = 2_000
"""Finished attempts that wait for their commit at most: beyond it no new ones start, so that a store that cannot
record outcomes does not make duplicates by the thousand."""
RETRY_BOUNCE = 60.0
"""Seconds until an entry is attempted again whose bounce could not be written."""
RECHECK = 1.0
"""Seconds until the store is asked again after it failed to answer."""


class Attempter(Protocol):
    """One attempt on one entry, whatever its peers do."""

    async def attempt(self, entry: Entry, settings: Settings) -> AttemptReport:
        """Never raises for anything that a peer or DNS server does."""


class BounceWriter(Protocol):
    """Makes the message that tells a sender of failed recipients."""

    async def write(self, entry: Entry, failed: Sequence[Outcome], settings: Settings) -> Draft:
        """The bounce as a draft for the queue."""


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What an engine works with."""

    store: Store
    attempter: Attempter
    bounces: BounceWriter
    observer: Observer
    clock: Clock
    destination: Callable[[str], str]
    """Domain -> the key under which it takes its turn and has its limit (`Router.destination`)."""


class Engine:
    """Delivers the queue of one worker."""

    def __init__(self, parts: EngineParts, settings: Settings) -> None:
        self._parts = parts
        self._schedule = Schedule(IN_MEMORY)
        self._attempts: set[asyncio.Task[None]] = set()
        self._cursor: tuple[float, EntryKey] | None = None
        """How far `due` has been read; everything before it is in memory, settled, or marked in the schedule."""
        self._look = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._stopping = False
        self._idle = asyncio.Event()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take new settings; they hold from the next attempt on."""
        outbound = settings.outbound
        self._settings = settings
        self._plan = RetryPlan.of(outbound.temp_fail_intervals, outbound.max_temp_failures)
        self._schedule.limit(outbound.concurrency_max, outbound.destination_concurrency_max)
        if self._reader is not None:
            self._pump()

    def start(self) -> None:
        """Begin with what is due in the store."""
        self._parts.store.subscribe(self)
        self._reader = asyncio.create_task(self._read_forever(), name="queue-reader")
        self._look.set()

    async def drain(self, grace: float) -> None:
        """Start nothing more, let attempts finish for `grace` seconds, give up the others, wait for the commits."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=grace)
        for attempt in self._attempts:
            attempt.cancel()
        while self._schedule.unsettled and not self._parts.store.fault:
            self._idle.clear()
            await self._idle.wait()

    # What the store tells.

    def added(self, entries: Sequence[Entry]) -> None:
        """These are new and due."""
        for entry in entries:
            self._schedule.offer(self._parts.destination(entry.domain), entry)
        self._pump()

    def withdrawn(self, keys: Collection[EntryKey]) -> None:
        """These were deleted or held."""
        self._schedule.withdraw(keys)

    def woken(self) -> None:
        """Some entries are due earlier than was known: read from the beginning."""
        self._cursor = None
        self._look.set()

    # Starting attempts: synchronous, so that nothing changes between a decision and its record.

    def _pump(self) -> None:
        if self._settings.outbound.disabled or self._stopping:
            return
        while self._schedule.unsettled < UNSETTLED_MAX and not self._parts.store.fault:
            next_up = self._schedule.start()
            if next_up is None:
                break
            attempt = asyncio.create_task(self._attempt(*next_up))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)
        if self._schedule.wants_more:
            self._look.set()

    async def _attempt(self, destination: str, entry: Entry) -> None:
        parts = self._parts
        parts.observer.attempt_started(entry)
        try:
            report = await parts.attempter.attempt(entry, self._settings)
            self._schedule.finish(destination)
        except BaseException:
            # Cancelled by `drain`: nothing is recorded, so the entry is due again at the next start.
            self._schedule.finish(destination)
            self._settled(entry.key)
            raise
        change = transition(entry, report, self._plan, parts.clock.now())
        if change.bounced:
            await self._settle_with_bounce(entry, change)
        else:
            self._settle(entry, change, Settlement(change.remaining))
        self._pump()

    async def _settle_with_bounce(self, entry: Entry, change: Transition) -> None:
        try:
            bounce = await self._parts.bounces.write(entry, change.bounced, self._settings)
        except StorageError as error:
            # Without the original there is no bounce, and without a bounce the failure must not be recorded.
            log.warning("%s failed for good and its bounce cannot be written yet: %s", entry.id, error)
            self._settled(entry.key)
            self._cursor = None
            self._wake_at(self._parts.clock.now() + RETRY_BOUNCE)
        else:
            self._settle(entry, change, Settlement(change.remaining, bounce))

    def _settle(self, entry: Entry, change: Transition, settlement: Settlement) -> None:
        future = self._parts.store.settle(entry, settlement)
        future.add_done_callback(lambda done: self._recorded(done, entry, change))

    def _recorded(self, done: asyncio.Future[None], entry: Entry, change: Transition) -> None:
        """C2 is durable: tell what happened, and look when it is due again."""
        self._settled(entry.key)
        if done.cancelled() or done.exception() is not None:
            log.error("the outcome of %s could not be recorded: it will be attempted again", entry.id)
            return
        observer = self._parts.observer
        observer.attempted(entry, change.report, change.remaining, change.delay)
        if change.bounced:
            observer.bounce_message(entry, BounceResult.QUEUED)
        elif any(o.result is Result.DROPPED for o in change.report.outcomes):
            observer.bounce_message(entry, BounceResult.SUPPRESSED)
        if change.remaining is not None and change.remaining.next_attempt is not None:
            self._wake_at(change.remaining.next_attempt)
        self._pump()

    def _settled(self, key: EntryKey) -> None:
        self._schedule.settled(key)
        if not self._schedule.unsettled:
            self._idle.set()

    # Reading the store: one task, so that the cursor has one owner.

    async def _read_forever(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            try:
                await self._read_due()
                await self._refill()
            except StorageError as error:
                log.warning("the queue cannot be read: %s", error)
                self._wake_at(self._parts.clock.now() + RECHECK)
            self._pump()

    async def _read_due(self) -> None:
        store, clock = self._parts.store, self._parts.clock
        while True:
            now = clock.now()
            cursor = self._cursor
            entries = await store.due(now, SCAN_BATCH, cursor)
            if cursor is not self._cursor:
                continue  # woken meanwhile: from the beginning
            for entry in entries:
                self._schedule.offer(self._parts.destination(entry.domain), entry)
                self._cursor = (entry.next_attempt or 0.0, entry.key)
            self._pump()
            if len(entries) < SCAN_BATCH:
                break
        next_due = await store.next_due(now)
        if next_due is not None:
            self._wake_at(next_due)

    async def _refill(self) -> None:
        """Fill destinations up whose entries did not all find room in memory."""
        limit = SCAN_BATCH + LOW_WATER
        while (domain := self._schedule.more()) is not None:
            entries = await self._parts.store.due_in(domain, self._parts.clock.now(), limit)
            destination = self._parts.destination(domain)
            for entry in entries:
                self._schedule.offer(destination, entry)
            if len(entries) == limit:
                self._schedule.mark_more(domain, destination)
            self._pump()

    def _wake_at(self, when: float) -> None:
        if when >= self._timer_at or self._stopping:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        delay = max(0.0, when - self._parts.clock.now())
        self._timer = asyncio.get_running_loop().call_later(delay, self._due_now)

    def _due_now(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._look.set()

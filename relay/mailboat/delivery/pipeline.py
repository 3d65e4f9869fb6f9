"""One attempt on one entry, from the hooks before it to the notifications after it: `Pipeline.run`.

Connects the steps and decides none of them. Ensures that no permanent failure is recorded without its bounce, and that
a delivery is recorded even if later steps fail. `engine` starts attempts and handles their end.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from mailboat.config.settings import Settings
from mailboat.delivery import verdict
from mailboat.delivery.gate import Gate, PutOff
from mailboat.delivery.hooks import AttemptHooks, DeliveryHooks
from mailboat.delivery.limits import DeliveryLimits
from mailboat.delivery.notifier import DeliveredNotifier
from mailboat.delivery.places import Place
from mailboat.delivery.retries import RetryPlans
from mailboat.model.clock import Clock, rfc3339
from mailboat.model.envelope import Draft, Entry, EntryKey, State, StoredNotes
from mailboat.model.observer import BounceResult, Observer
from mailboat.model.outcome import AttemptReport, Result
from mailboat.queue.entry import (
    Transition,
    postponed,
    transition,
    unreported,
    with_deliveries,
    without_report,
)
from mailboat.queue.store import AttemptRecord, StorageError, Store
from mailboat.routing.answers import RoutingAnswer

log = logging.getLogger(__name__)

BY_ADMINISTRATOR = "5.7.1"
"""The status of mail that an administrator has bounced: delivery is not authorised (RFC 3463 3.8)."""
RETRY_BOUNCE = 300.0
"""Seconds until an entry is attempted again whose bounce, or last report of success, could not be queued."""


class Attempts(Protocol):
    """Makes attempts; see `attempt.Attempter`."""

    async def attempt(
        self, entry: Entry, settings: Settings, answer: RoutingAnswer | None = None, *, place: Place | None = None
    ) -> AttemptReport:
        """Never raises because of a peer or DNS server, except Busy: nothing was tried."""

    def past_dot(self, key: EntryKey) -> bool:
        """Whether the attempt on this entry waits for the reply to its final dot."""

    def hang_up(self, key: EntryKey) -> None:
        """Drop the connection of an attempt, which then reports what it would if the peer had dropped it."""


class BounceWriter(Protocol):
    """Makes the message that reports to the sender what became of recipients."""

    async def write(self, entry: Entry, change: Transition, settings: Settings) -> Draft:
        """The bounce, or another report, as a draft for the queue. Raises StorageError."""


class Scheduler(Protocol):
    """Events of an attempt for `engine`."""

    def recorded(self, entry: Entry, remaining: Entry | None) -> None:
        """The attempt on `entry` is recorded; `remaining` is what is left to attempt."""

    def unrecorded(self, entry: Entry) -> None:
        """The attempt is over, but could not be recorded."""

    def place_returned(self) -> None:
        """A hook at `delivered` has ended and released its place."""


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """The collaborators of the deliveries of one worker, here and in `engine`."""

    store: Store
    attempter: Attempts
    bounces: BounceWriter
    observer: Observer
    clock: Clock
    gate: Gate
    hooks: DeliveryHooks
    limits: DeliveryLimits | None = None
    """Those of shaping.ini; None: there are none, whatever it says."""
    worker: int = 0
    """The number of this worker."""
    chance: Callable[[], float] = random.random
    """Numbers from 0 to 1, which spread retries."""


class Pipeline:
    """Runs the attempts of one worker, any number at once."""

    def __init__(self, parts: DeliveryParts, scheduler: Scheduler, settings: Settings) -> None:
        self._parts = parts
        self._scheduler = scheduler
        self.configure(settings)
        self.notifier = DeliveredNotifier(
            parts.gate,
            parts.clock,
            scheduler.place_returned,
            lambda: self._settings.outbound.destination_concurrency_max,
        )
        """Step 7, if plugins have hooks at `delivered`."""

    def configure(self, settings: Settings) -> None:
        """Take new settings; they hold from the next attempt on."""
        self._settings = settings
        self.plans = RetryPlans(settings)
        """Those in force."""

    async def run(self, entry: Entry, place: Place | PutOff | None) -> None:
        """Attempt an entry at the place from `Gate.begin`, which the caller must release.

        Returns when the store has the result; the scheduler is notified of the commit. If cancelled before step 4,
        nothing is recorded. If cancelled later, the outcome is recorded without the hooks, and a permanent failure is
        postponed until its bounce can be written.

        Raises:
            Busy: nothing was tried.
        """
        parts, settings = self._parts, self._settings
        hooks: AttemptHooks | None = None
        decided: AttemptReport | RoutingAnswer | None = None
        try:
            # 1. Before-hooks: `send_email` and `get_mx`. They are not called for mail that is put off.
            if not entry.recipients:
                decided, place = AttemptReport((), None, parts.clock.now(), 0.0, counted=False), None
            elif isinstance(place, PutOff):
                decided, place = self._put_off(entry, place), None
            else:
                hooks = parts.hooks.for_attempt(entry, settings)
                parts.observer.attempt_started(entry)
                if hooks is not None:
                    if place is not None:  # while plugins decide, others may connect to its host
                        parts.gate.leave(place, parts.clock.monotonic())
                    decided = await hooks.before()
            # 2. The attempt, unless there is a report already, or only reports are owed.
            if isinstance(decided, AttemptReport):
                report = decided
            else:
                given = entry if hooks is None else hooks.entry
                report = await parts.attempter.attempt(given, settings, decided, place=place)
            # 3. The transition: what is left of the entry.
            delay_warning, plan = settings.outbound.delay_warning, self.plans.of(entry, place)
            change = transition(entry, report, plan, parts.clock.now(), parts.chance(), delay_warning)
            change, recorded = await self._conclude(entry, change, hooks)
            # 7. The notifications, after the commit: observers (by `_notify`), and plugins at `delivered`.
            if hooks is not None and place is not None and hooks.wants_delivered(change):
                self.notifier.notify(place.destination, hooks, change, recorded)
        finally:
            if hooks is not None:
                hooks.over()

    async def bounce(self, entry: Entry, reason: str, *, tells_sender: bool) -> bool:
        """Fail an entry on which no attempt is made, as an administrator wants; whether it was recorded.

        `tells_sender`: with a bounce message, as usual. If that cannot be written now, the entry stays.
        """
        parts = self._parts
        hooks = parts.hooks.for_attempt(entry, self._settings)
        try:
            outcomes = tuple(verdict.decided(entry.recipients, Result.BOUNCED, BY_ADMINISTRATOR, reason))
            report = AttemptReport(outcomes, None, parts.clock.now(), 0.0)
            change = transition(entry, report, self.plans.longest, parts.clock.now())
            if not tells_sender:
                change = without_report(change)
            change, recorded = await self._conclude(entry, change, hooks)
            await asyncio.shield(recorded)
        except StorageError:
            return False  # `_notify` has logged it
        finally:
            if hooks is not None:
                hooks.over()
        return change.remaining is None

    async def reroute(self, entry: Entry, route: str) -> bool:
        """Have an entry on which no attempt is made go by a `[route]`, at once; whether it was recorded."""
        noted = entry.noted if route == entry.route else replace(entry.noted or StoredNotes(), route=route)
        state = State.HELD if entry.state is State.HELD else State.ACTIVE
        remaining = replace(entry, noted=noted, state=state, next_attempt=self._parts.clock.now())
        recorded = self._parts.store.record(entry, AttemptRecord(remaining))
        recorded.add_done_callback(partial(self._moved, entry, remaining))
        try:
            await asyncio.shield(recorded)
        except StorageError:
            return False
        return True

    def _moved(self, entry: Entry, remaining: Entry, recorded: asyncio.Future[None]) -> None:
        if recorded.cancelled() or recorded.exception() is not None:
            log.error("the route of %s could not be recorded", entry.id)
            self._scheduler.unrecorded(entry)
        else:
            self._scheduler.recorded(entry, None if remaining.state is State.HELD else remaining)

    async def _conclude(
        self, entry: Entry, change: Transition, hooks: AttemptHooks | None
    ) -> tuple[Transition, asyncio.Future[None]]:
        """Steps 4 to 6: the transition that is recorded, and the future of its commit."""
        bounce: Draft | None = None
        try:
            # 4. After-hooks: `deferred` and `bounce`.
            if hooks is not None and hooks.asks_after(change):
                change = await self._ask_after(entry, change, hooks)
            # 5. The bounce, or the report of success or delay.
            if change.is_reported:
                bounce = await self._write_bounce(entry, change)
        except asyncio.CancelledError:
            self._record(entry, change, None, hooks)
            raise
        # 6. The record: C2.
        return self._record(entry, change, bounce, hooks)

    def _put_off(self, entry: Entry, why: PutOff) -> AttemptReport:
        """A report without an attempt, because all hosts failed recently, or the mail is suspended."""
        parts = self._parts
        left = max(0.0, why.until - parts.clock.monotonic())
        until = parts.clock.now() + left
        reason = why.said or f"not tried until {rfc3339(until)}; last: {why.trouble}"
        outcomes = verdict.put_off(entry.recipients, why.trouble, reason, why.host)
        # Retries are spread: the first one finds out whether the hosts work again.
        retry_after = left + max(1.0, 0.2 * left) * parts.chance()
        return AttemptReport(
            tuple(outcomes),
            None,
            parts.clock.now(),
            0.0,
            retry_after=retry_after,
            counted=False,
            excused=True,
            held_by=why.held_by,
        )

    async def _ask_after(self, entry: Entry, change: Transition, hooks: AttemptHooks) -> Transition:
        """The result of an attempt after the hooks.

        Deliveries are recorded before the hooks are called, so that slow hooks cause no duplicates.
        """
        if change.delivered:
            await asyncio.shield(self._parts.store.record(entry, AttemptRecord(with_deliveries(entry, change))))
            if hooks.wants_delivered(change) and (waiting := hooks.notify_delivered(change)) is not None:
                await waiting
        return await hooks.after(change)

    async def _write_bounce(self, entry: Entry, change: Transition) -> Draft | None:
        """The bounce message; None: it cannot be written now."""
        try:
            return await self._parts.bounces.write(entry, change, self._settings)
        except StorageError as error:
            log.warning("the report on %s cannot be written yet: %s", entry.id, error)
        except Exception:
            log.exception("the report on %s cannot be written", entry.id)
        return None

    def _record(
        self, entry: Entry, change: Transition, bounce: Draft | None, hooks: AttemptHooks | None
    ) -> tuple[Transition, asyncio.Future[None]]:
        """Record the result with the notes of plugins. A permanent failure without its bounce is postponed, and so is
        what a report would tell of success or delay. Returns what is recorded, and the future of its commit."""
        if bounce is None and change.is_reported:
            later = postponed if change.bounced else unreported
            change = later(entry, change, RETRY_BOUNCE, self._parts.clock.now())
        if hooks is not None:
            change = hooks.with_notes(change)
        recorded = self._parts.store.record(entry, AttemptRecord(change.remaining, bounce))
        recorded.add_done_callback(partial(self._notify, entry, change))
        return change, recorded

    def _notify(self, entry: Entry, change: Transition, recorded: asyncio.Future[None]) -> None:
        """Notify the schedule, then the observers, of the commit."""
        if recorded.cancelled() or (error := recorded.exception()) is not None:
            why = "cancelled" if recorded.cancelled() else error
            log.error("the outcome of %s could not be recorded, it will be attempted again: %s", entry.id, why)
            self._scheduler.unrecorded(entry)
            return
        self._scheduler.recorded(entry, change.remaining)
        observer = self._parts.observer
        observer.attempted(entry, change.report, change.remaining, change.delay)
        if change.is_reported:
            for action in change.told:
                observer.dsn_queued(action)
        if change.bounced:
            observer.bounce_message(entry, BounceResult.QUEUED)
        elif change.silenced:
            observer.bounce_message(entry, BounceResult.SUPPRESSED)

"""The queue manager: reads due entries from the store, starts attempts in fair order, and drains.

It listens to the store (`QueueListener`), so new, deferred and restored messages take the same path. `queue.schedule`
decides the order, `gate` which attempts may start, and `pipeline` runs an attempt from its start to its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import AbstractContextManager

from mailboat.config.settings import Settings
from mailboat.delivery import watch
from mailboat.delivery.gate import Busy, PutOff
from mailboat.delivery.held_by import Holders
from mailboat.delivery.pipeline import DeliveryParts, Pipeline
from mailboat.delivery.places import Place
from mailboat.delivery.terms import terms_of
from mailboat.model.envelope import Entry, EntryKey
from mailboat.model.waiting import HeldBy, WaitCause
from mailboat.queue.backoff import RetryPlan
from mailboat.queue.schedule import LOW_WATER, OfferResult, Schedule
from mailboat.queue.store import StorageError

log = logging.getLogger(__name__)

IN_MEMORY = 20_000
"""Maximum of entries that wait in memory, about 1 KiB each. The others are read from the store when there is room."""
SCAN_BATCH = 500
"""Entries read from the store at once."""
UNRECORDED_MAX = 2_000
"""Maximum of finished attempts that wait for their commit: beyond it none starts, so that a crash of a slow store
cannot cause thousands of duplicates."""
SET_ASIDE = 300.0
"""Seconds until an entry is attempted again whose outcome could not be recorded, though storage works."""
RECHECK = 1.0
"""Seconds until the store is asked again after it failed to answer."""
LONGEST_SLEEP = 60.0
"""Longest time in seconds between two reads of the store: the wall clock, by which entries are due, may be set."""
DOT_GRACE = 3.0
"""Seconds beyond the drain's grace for attempts whose message the peer may have accepted."""
HANG_UP_GRACE = 0.5
"""Seconds for an attempt to report after its connection was dropped."""


class Engine:
    """Delivers the queue of one worker."""

    def __init__(self, parts: DeliveryParts, destination: Callable[[Entry], str], settings: Settings) -> None:
        """`destination` returns the key of an entry's ready queue (`Router.destination`)."""
        self._parts = parts
        self._destination = destination
        self._gate = parts.gate
        self._schedule = Schedule(IN_MEMORY, parts.gate)
        self._gate.resume = self._schedule.resume
        self._limits_timer: asyncio.TimerHandle | None = None
        self._limits_time = float("inf")
        """When it ends; not asked of the timer, which uvloop cannot always tell."""
        self._attempts: dict[EntryKey, asyncio.Task[None]] = {}
        self._pipeline = Pipeline(parts, self, settings)
        self.holders = Holders(parts.gate, self._schedule.has_turn)
        """What holds mail that is due."""
        self._cursor: tuple[float, EntryKey] | None = None
        """How far `due` has been read; everything before it is in memory, recorded, or marked in the schedule."""
        self._read_until = 0.0
        """Entries due by this time have been requested."""
        self._rewinds = 0
        """How often the cursor was moved back: answers to earlier requests are ignored."""
        self._look = asyncio.Event()
        self._awaited: dict[EntryKey, asyncio.Future[None]] = {}
        """Futures of callers that wait for the end of an attempt."""
        self._starved = False
        """Reading stopped because memory was full."""
        self._reader: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._watch: asyncio.TimerHandle | None = None
        self._stopping = False
        if (limits := parts.limits) is not None:
            limits.resume, limits.pump, limits.wake_at = self._schedule.resume, self._pump, self._limits_at
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Set new settings, in force from the next attempt on."""
        outbound = settings.outbound
        self._settings = settings
        self._pipeline.configure(settings)
        self._gate.configure(outbound.concurrency_max, outbound.destination_concurrency_max)
        self._gate.retry_now()
        if self._parts.limits is not None:
            terms = terms_of(settings.shaping, self._parts.worker)
            self._gate.limits = None if terms is None else self._parts.limits
            self._parts.limits.configure(terms)
        if self._reader is not None:
            self._pump()

    @property
    def plan(self) -> RetryPlan:
        """The longest delays in force."""
        return self._pipeline.plans.longest

    def start(self) -> None:
        """Start with the entries that are due in the store."""
        self._parts.store.subscribe(self)
        self._reader = asyncio.create_task(self._read_forever(), name="queue-reader")
        self._look.set()

    async def drain(self, grace: float) -> None:
        """Start no more attempts, let those under way finish for `grace` seconds, and cancel the others.

        An attempt that is cancelled before its final dot is not recorded. After the dot the peer may have the message:
        such an attempt gets `DOT_GRACE` seconds more, and is then recorded as a lost reply. The store's `close` commits
        the outcomes.
        """
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self._finish(grace)
        self._pipeline.notifier.cancel()
        past_dot = self._parts.attempter.past_dot
        for key, attempt in list(self._attempts.items()):
            if not past_dot(key):
                attempt.cancel()
        await self._finish(DOT_GRACE)
        for key in list(self._attempts):
            self._parts.attempter.hang_up(key)
        await self._finish(HANG_UP_GRACE)
        for attempt in self._attempts.values():
            attempt.cancel()
        await self._finish(None)
        for timer in (self._watch, self._limits_timer):
            if timer is not None:
                timer.cancel()

    async def _finish(self, timeout: float | None) -> None:
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while tasks := [*self._attempts.values(), *self._pipeline.notifier.pending]:
            left = None if deadline is None else deadline - asyncio.get_running_loop().time()
            if left is not None and left <= 0:
                return
            await asyncio.wait(tasks, timeout=left)

    def held_by(self, entry: Entry) -> HeldBy | None:
        """What does not let an entry start; None: nothing does, or it is not due and its hosts are not in back-off."""
        clock, when = self._parts.clock, entry.next_attempt
        if when is None or self._schedule.is_in_progress(entry.key):
            return None
        held = self.holders.of(self._destination(entry), clock.monotonic())
        return held if held is None or when <= clock.now() or held.cause is WaitCause.BACKOFF else None

    def ready_queue(self, entry: Entry) -> str:
        """The name of its ready queue."""
        return self._destination(entry)

    # Called by the store.

    def added(self, entries: Sequence[Entry]) -> None:
        """These are new and due."""
        for entry in entries:
            if self._schedule.offer(self._destination(entry), entry) is OfferResult.FULL:
                self._starved = True
                self._rewind_to(entry.next_attempt)
        self._pump()

    def withdrawn(self, keys: Collection[EntryKey]) -> None:
        """These were deleted or held."""
        self._schedule.withdraw(keys)

    def under_way(self, keys: Collection[EntryKey]) -> Sequence[asyncio.Future[None]]:
        """Resolved as the attempts on these are over and recorded."""
        attempts = [key for key in keys if self._schedule.is_in_progress(key)]
        for key in attempts:
            if key not in self._awaited or self._awaited[key].done():  # its waiter was cancelled
                self._awaited[key] = asyncio.get_running_loop().create_future()
        return [self._awaited[key] for key in attempts]

    def woken(self) -> None:
        """Some entries are due earlier: read from the beginning, and retry failed hosts."""
        self._gate.retry_now()
        self._rewind_to(0.0)
        self._look.set()

    def _rewind_to(self, when: float | None) -> None:
        """Move the cursor back to `when`, at which an entry in the store is due."""
        if (when or 0.0) <= self._read_until:
            self._rewinds += 1
            self._cursor = None

    # Starting attempts: synchronous, so that nothing changes between a decision and its record.

    def _pump(self) -> None:
        schedule, clock = self._schedule, self._parts.clock
        if self._settings.outbound.disabled or self._stopping:
            return
        while schedule.has_turns and schedule.unrecorded < UNRECORDED_MAX and not self._parts.store.stalled:
            now = clock.monotonic()
            next_up = schedule.start(now)
            if next_up is None:
                break
            name, entry = next_up
            self._attempts[entry.key] = asyncio.create_task(self._attempt(name, entry, self._gate.begin(now)))
        if self._watch is None and (self._attempts or self._gate.has_blocked):
            self._watch = asyncio.get_running_loop().call_later(watch.INTERVAL, self._look_around)
        if schedule.wants_more or (self._starved and schedule.has_room):
            self._look.set()

    def located(self, name: str) -> None:
        """The targets of a destination are known."""
        if self._schedule.resume(name):
            self._pump()

    def _look_around(self) -> None:
        """Park or end attempts with silent peers, and start those whose back-off is over."""
        self._watch = None
        gate, now = self._gate, self._parts.clock.monotonic()
        timeout = self._settings.outbound.attempt_timeout
        for overdue in watch.sweep(gate.places, now, timeout, others_wait=self._schedule.has_turns):
            if overdue.place.interrupt is not None:
                overdue.place.interrupt(overdue.why)
        gate.tick(now)
        self._pump()

    async def _attempt(self, name: str, entry: Entry, place: Place | PutOff | None) -> None:
        try:
            try:
                await self._pipeline.run(entry, place)
            finally:
                self._schedule.finish(name)
                self._gate.end(place, self._parts.clock.monotonic())
        except Busy as busy:
            for address in busy.addresses:
                self._gate.wait_for(name, address)
            if entry.key in self._awaited:
                self._forget(entry.key)  # it was withdrawn during the attempt,
                self._rewind_to(0.0)  # and may be back
                self._look.set()
            else:
                self._schedule.put_back(name, entry, takes_turn=not busy.addresses)
        except asyncio.CancelledError:
            # By `drain`: without an outcome nothing is recorded, and the entry is due at the next start.
            self._forget(entry.key)
            raise
        except Exception:
            log.exception("the outcome of %s could not be recorded: it will be attempted again", entry.id)
            self._set_aside(entry.key)
        finally:
            del self._attempts[entry.key]
        self._pump()
        if self._gate.limits is not None:
            self._gate.limits.settle()

    def _limits_at(self, when: float) -> None:
        """Have limits looked at then, if not before."""
        if when >= self._limits_time:
            return
        if self._limits_timer is not None:
            self._limits_timer.cancel()
        self._limits_time = when
        delay = max(0.0, when - self._parts.clock.monotonic())
        self._limits_timer = asyncio.get_running_loop().call_later(delay, self._limits_due)

    def _limits_due(self) -> None:
        self._limits_timer, self._limits_time = None, float("inf")
        if self._parts.limits is not None and not self._stopping:
            self._parts.limits.tick(self._parts.clock.monotonic())

    # Called by the pipeline.

    def recorded(self, entry: Entry, remaining: Entry | None) -> None:
        """C2 is durable: note when the entry is due again."""
        self._forget(entry.key)
        if remaining is not None and remaining.next_attempt is not None:
            # A commit may take longer than the delay was: the cursor may be past this entry's time already.
            self._rewind_to(remaining.next_attempt)
            self._wake_at(remaining.next_attempt)
        self._pump()

    def unrecorded(self, entry: Entry) -> None:
        """C2 has failed."""
        self._set_aside(entry.key)

    def place_returned(self) -> None:
        """Another attempt may start."""
        self._pump()

    def _forget(self, key: EntryKey) -> None:
        self._schedule.recorded(key)
        self._over(key)

    def _over(self, key: EntryKey) -> None:
        awaited = self._awaited.pop(key, None) if self._awaited else None
        if awaited is not None and not awaited.done():
            awaited.set_result(None)

    def _set_aside(self, key: EntryKey) -> None:
        """After an internal error the entry stays in the store, and is not attempted for a while."""
        self._schedule.set_aside(key)
        self._over(key)
        asyncio.get_running_loop().call_later(SET_ASIDE, self._attempt_again, key)

    def _attempt_again(self, key: EntryKey) -> None:
        self._schedule.recorded(key)
        self.woken()

    # Changes by an administrator; see `queue_changes`.

    def reading(self) -> AbstractContextManager[Callable[[Sequence[Entry]], Sequence[Entry]]]:
        """See `Schedule.reading`."""
        return self._schedule.reading()

    def take(self, entry: Entry) -> bool:
        """Whether no attempt on an entry is under way; none begins then before it is bounced or rerouted."""
        return not self._stopping and self._schedule.take(entry.key)

    async def bounce(self, entry: Entry, reason: str, *, tells_sender: bool) -> bool:
        """Bounce an entry that was taken; False: it could not be recorded, or the sender could not be told."""
        return await self._changed(entry, self._pipeline.bounce(entry, reason, tells_sender=tells_sender))

    async def reroute(self, entry: Entry, route: str) -> bool:
        """Have an entry that was taken go by a route; False: it could not be recorded."""
        return await self._changed(entry, self._pipeline.reroute(entry, route))

    async def _changed(self, entry: Entry, change: Coroutine[None, None, bool]) -> bool:
        try:
            return await change
        except Exception:
            log.exception("changing %s", entry.id)
            self._set_aside(entry.key)
            return False

    # Reading the store: one task, so that the cursor has one owner.

    async def _read_forever(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            try:
                await self._refill()
                await self._read_due()
            except StorageError as error:
                log.warning("the queue cannot be read: %s", error)
                self._wake_at(self._parts.clock.now() + RECHECK)
            except Exception:
                log.exception("reading the queue")
                self._wake_at(self._parts.clock.now() + RECHECK)
            self._pump()

    async def _read_due(self) -> None:
        store = self._parts.store
        more = True
        while more:
            now = self._parts.clock.now()
            if self._cursor is not None and self._cursor[0] > now:
                self._cursor = None  # the wall clock was set back
            self._read_until, rewinds = now, self._rewinds
            with self._schedule.reading() as current:
                entries = await store.due(now, SCAN_BATCH, self._cursor)
                fresh = current(entries)
            if rewinds != self._rewinds:
                continue
            self._starved = not self._offer(fresh)
            if self._starved:
                return
            if entries:
                self._cursor = (entries[-1].next_attempt or 0.0, entries[-1].key)
            self._pump()
            more = len(entries) == SCAN_BATCH
        next_due = await store.next_due(now)
        self._wake_at(now + LONGEST_SLEEP if next_due is None else min(next_due, now + LONGEST_SLEEP))

    def _offer(self, entries: Sequence[Entry]) -> bool:
        """Offer entries in order, and move the cursor after them; False: there is no room for all."""
        for entry in entries:
            if self._schedule.offer(self._destination(entry), entry) is OfferResult.FULL:
                return False
            self._cursor = (entry.next_attempt or 0.0, entry.key)
        return True

    async def _refill(self) -> None:
        """Refill ready queues whose entries were not all in memory."""
        while (wanted := self._schedule.more()) is not None:
            destination, domain = wanted
            if not domain:
                self._rewind_to(0.0)
                return
            # The answer begins with entries that are known or under way: read enough to get more.
            limit = SCAN_BATCH + LOW_WATER + self._schedule.in_progress
            with self._schedule.reading() as current:
                entries = await self._parts.store.due_in(domain, self._parts.clock.now(), limit)
                # With routes by sender, or sources chosen by messages, mail to one domain may be in several queues.
                own = [e for e in current(entries) if self._destination(e) == destination]
            left = any(self._schedule.offer(destination, entry) is not OfferResult.QUEUED for entry in own)
            if left or (own and len(entries) == limit):
                self._schedule.mark_more(domain, destination)
            elif len(entries) == limit:
                # They come after the mail of another queue: only reading the whole store finds them.
                self._rewind_to(0.0)
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

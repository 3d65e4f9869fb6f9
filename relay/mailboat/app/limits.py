"""Connects the owner of limits to workers: in the same process, or over the lines of `channel`.

What workers and owner tell each other are short lists that JSON can carry; nobody waits for an answer. Before what was
taken of a rate is told to a worker, its mark is durable (`limit_marks`), so that a restart doubles nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Any

from mailboat.app.limit_marks import LimitMarks
from mailboat.app.overrides import OverrideOwner, match_of
from mailboat.delivery.limits import DeliveryLimits
from mailboat.model.clock import Clock
from mailboat.queue.store import StorageError
from mailboat.shaping.ledger import Ledger, LimitCheck, Mark
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.overrides import Override
from mailboat.shaping.owner import Ask, Grant, Group, Owner
from mailboat.shaping.rate import SECOND

log = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0
"""Longest time in seconds until it is looked whether an override is over: the wall clock may be set."""
STORED_WITHIN = 5.0
"""Seconds in which a suspension must be stored, or it does not begin."""
SAVE_RETRY = 1.0
"""Seconds until marks are stored again that could not be; nothing is granted until then."""

Tell = Callable[[list[Any]], None]


class LimitOwner:
    """The owner of all limits of a relay: in the supervisor, or in the only worker."""

    def __init__(self, queue_dir: str, clock: Clock) -> None:
        self._clock = clock
        self._marks = LimitMarks(queue_dir)
        self._owner = Owner(Ledger())
        self.overrides = OverrideOwner(
            self._marks, clock, lambda lessee, message: self._outbox.append((lessee, message)), self._set_end
        )
        """What rules from replies have put into force."""
        self._overrides_timer: asyncio.TimerHandle | None = None
        self._loaded = False
        self._outbox: list[tuple[_Lessee, list[Any]]] = []
        """What is told as soon as all marks are durable."""
        self._sending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def join(self, tell: Tell) -> LimitLease:
        """A worker is up; `tell` is called with what it must know, never within a call of the lease."""
        lessee = _Lessee(self._outbox, tell)
        self._owner.join(lessee)
        self.overrides.join(lessee)
        self._send()
        return LimitLease(self, lessee)

    def handle(self, lessee: _Lessee, message: list[Any]) -> None:
        """What a worker says."""
        if not self._loaded:  # with the first limit that is in force
            self._loaded = True
            self._owner.ledger.restore(self._marks.load())
        now, owner = self._now(), self._owner
        match message:
            case ["ask", path, checks, messages, recipients, connection]:
                owner.ask(lessee, Ask(path, _checks(checks), messages, recipients, connection), now)
            case ["cancel", path]:
                owner.cancel(lessee, path, now)
            case ["back", group]:
                owner.give_back(lessee, tuple(group), now)
            case ["matched", *_]:
                self.overrides.matched(lessee, match_of(message))
        self._send()

    def leave(self, lessee: _Lessee) -> None:
        """A worker has exited."""
        self._owner.leave(lessee, self._now())
        self.overrides.leave(lessee)
        self._send()

    async def begin_override(self, one: Override) -> None:
        """Put an administrator's override into force; it is durable then. Raises StorageError."""
        if not self.overrides.begin(one):
            raise StorageError("there are too many suspensions and rules in force")
        await self._stored(one.id)

    async def finish_override(self, id: str) -> bool:  # noqa: A002 - the field's word
        """The same as `end_override`, and durable then. Raises StorageError."""
        ended = self.overrides.end(id)
        if ended:
            await self._stored(id)
        return ended

    async def _stored(self, id: str) -> None:  # noqa: A002 - the field's word
        self._send()
        sending = self._sending
        try:
            async with asyncio.timeout(STORED_WITHIN):
                if sending is not None:
                    await asyncio.shield(sending)
        except TimeoutError:
            self.end_override(id)
            raise StorageError("what is suspended cannot be stored") from None

    def end_override(self, id: str) -> bool:  # noqa: A002 - the field's word
        """End an override at once; False: there is none with this id."""
        ended = self.overrides.end(id)
        self._send()
        return ended

    async def close(self) -> None:
        """All workers have exited."""
        for timer in (self._timer, self._overrides_timer):
            if timer is not None:
                timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        await asyncio.to_thread(self._marks.close)

    def _now(self) -> int:
        return int(self._clock.monotonic() * SECOND)

    def _send(self) -> None:
        if self._sending is None and (self._outbox or self._owner.ledger.unsaved or self.overrides.unsaved):
            self._sending = asyncio.get_running_loop().create_task(self._deliver())
        when = self._owner.next_time
        if when is not None:
            if self._timer is not None:
                self._timer.cancel()
            delay = max(0.0, (when - self._now()) / SECOND)
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _set_end(self) -> None:
        """Other overrides are in force: look again when the first of them ends."""
        if self._overrides_timer is not None:
            self._overrides_timer.cancel()
            self._overrides_timer = None
        if (delay := self.overrides.delay) is not None:
            wait = min(delay, LONGEST_SLEEP)
            self._overrides_timer = asyncio.get_running_loop().call_later(wait, self._end_overrides)

    def _end_overrides(self) -> None:
        self.overrides.tick()
        self._set_end()
        self._send()

    def _tick(self) -> None:
        self._timer = None
        self._owner.tick(self._now())
        self._send()

    async def _deliver(self) -> None:
        ledger, overrides = self._owner.ledger, self.overrides
        try:
            while self._outbox or ledger.unsaved or overrides.unsaved:
                letters, marks, changed = self._outbox.copy(), ledger.unsaved.copy(), overrides.unsaved.copy()
                self._outbox.clear()
                ledger.unsaved.clear()
                overrides.unsaved.clear()
                if (marks or changed) and not await self._save(marks, changed):
                    self._outbox[:0] = letters
                    ledger.unsaved = marks | ledger.unsaved
                    overrides.unsaved = changed | overrides.unsaved
                    await asyncio.sleep(SAVE_RETRY)
                    continue
                for lessee, message in letters:
                    lessee.tell(message)
        finally:
            self._sending = None

    async def _save(self, marks: dict[str, Mark], changed: dict[str, Override | None]) -> bool:
        try:
            if marks:
                await asyncio.to_thread(self._marks.save, marks)
            if changed:
                await asyncio.to_thread(self._marks.save_overrides, changed)
        except (OSError, sqlite3.Error) as error:
            log.error("what limits have counted cannot be stored, so nothing is granted: %s", error)  # noqa: TRY400
            return False
        return True


class _Lessee:
    """A worker, as the owner sees it."""

    def __init__(self, outbox: list[tuple[_Lessee, list[Any]]], tell: Tell) -> None:
        self._outbox = outbox
        self.tell = tell

    def granted(self, grant: Grant) -> None:
        """See `owner.Lessee`."""
        self._put(["granted", grant.path, grant.permits, grant.recipients, grant.connection])

    def held(self, path: int, check: LimitCheck, until: int | None) -> None:
        """See `owner.Lessee`."""
        self._put(["held", path, _packed(check), until])

    def recalled(self, group: Group, *, others_wait: bool) -> None:
        """See `owner.Lessee`."""
        self._put(["recalled", group, others_wait])

    def _put(self, message: list[Any]) -> None:
        self._outbox.append((self, message))


class LimitLease:
    """The owner's end of a worker."""

    def __init__(self, owner: LimitOwner, lessee: _Lessee) -> None:
        self._owner = owner
        self._lessee = lessee

    def heard(self, message: list[Any]) -> None:
        """What the worker says."""
        self._owner.handle(self._lessee, message)

    def end(self) -> None:
        """The worker has exited."""
        self._owner.leave(self._lessee)


class LimitsLine:
    """A worker's end: `limits.LimitsPort` over any line."""

    def __init__(self) -> None:
        self.say: Tell = lambda _message: None
        """Send a message to the owner."""

    def ask(self, ask: Ask) -> None:
        """See `LimitsPort`."""
        checks = [_packed(check) for check in ask.checks]
        self.say(["ask", ask.path, checks, ask.messages, ask.recipients, ask.connection])

    def cancel(self, path: int) -> None:
        """See `LimitsPort`."""
        self.say(["cancel", path])

    def give_back(self, group: Group) -> None:
        """See `LimitsPort`."""
        self.say(["back", group])


class OwnLimits:
    """The owner of a relay with one worker, in its process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.owner: LimitOwner | None = None
        """None until the worker is connected."""

    def connect(self, queue_dir: str, tell: Tell) -> Tell:
        """The owner's ear for the worker."""
        self.owner = LimitOwner(queue_dir, self._clock)
        return self.owner.join(tell).heard

    async def close(self) -> None:
        """The worker has ended."""
        if self.owner is not None:
            await self.owner.close()


def hear(limits: DeliveryLimits, message: list[Any]) -> None:
    """What the owner says to a worker."""
    match message:
        case ["granted", path, permits, recipients, connection]:
            limits.granted(Grant(path, tuple(permits), recipients, connection))
        case ["held", path, check, until]:
            limits.held(path, _checks([check])[0], until)
        case ["recalled", group, others_wait]:
            limits.recalled(tuple(group), others_wait=others_wait)


def _packed(check: LimitCheck) -> list[Any]:
    return [check.key, check.kind.value, check.limit, check.period, check.burst, check.cause, check.provider]


def _checks(packed: list[list[Any]]) -> tuple[LimitCheck, ...]:
    return tuple(LimitCheck(key, LimitKey(kind), *rest) for key, kind, *rest in packed)

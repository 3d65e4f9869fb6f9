"""The limits of shaping.ini in a worker: which mail may start, by what the owner of limits has leased. Pure.

A start takes a permit and the right to a connection, both leased from the owner (`shaping.owner`) before, so that
nothing waits in the path of a message: a queue without them is resumed when they come (`leases`). Asked by `gate`;
`attempt` and `pool` have what a start took as a `Hold`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from mailboat.delivery.leases import Held, Path, Permit, Slot, Slots
from mailboat.model.envelope import Entry, EntryKey
from mailboat.routing.answers import Site
from mailboat.shaping.ledger import LimitCheck
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.owner import Ask, Grant, Group
from mailboat.shaping.rate import SECOND

BATCH_MAX = 64
"""Permits in one request at most."""
UNUSED = 0.5
"""Seconds after which a slot that nobody uses is given back."""
TOLD_MAX = 20_000
"""Entries of which it is known that an event has told what holds them."""
REMEMBERED = 50_000
"""Queues whose limits are cached."""

Terms = Callable[[Entry, Site], tuple[LimitCheck, ...]]
"""The limits of an entry for a site."""


class LimitsPort(Protocol):
    """The owner of the limits. It answers later, never within a call, by `granted`, `held` and `recalled`."""

    def ask(self, ask: Ask) -> None:
        """Request permits or a connection for a path, instead of what was requested for it before."""

    def cancel(self, path: int) -> None:
        """The request of a path is not needed any more."""

    def give_back(self, group: Group) -> None:
        """A connection is closed, or was not made."""


class HeldError(Exception):
    """A limit does not allow to go on: what was not done yet must wait."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Hold:
    """What one attempt took of its limits."""

    __slots__ = ("_claims", "_limits", "path", "permit", "slot")

    def __init__(
        self, limits: DeliveryLimits, path: Path, permit: Permit | None, slot: Slot | None, *, claims: bool
    ) -> None:
        self._limits = limits
        self.path = path
        self.permit = permit
        self.slot = slot
        self._claims = claims

    @property
    def group(self) -> Group | None:
        """What its connection counts under; None: under no limit."""
        return None if self.path.slots is None else self.path.slots.group

    def reuse(self, slot: Slot) -> None:
        """It uses an idle connection."""
        shared = slot.share()
        self.let_go()
        self.slot = shared

    def to_dial(self) -> Slot | None:
        """The slot of a new connection, which must wait until the slot's old one is closed. Raises HeldError."""
        slots = self.path.slots
        if slots is None:
            return None
        slot = self.slot
        if slot is None:
            slot = next(iter(slots.idle), None) if self._claims or slots.unclaimed > 0 else None
            if slot is None:
                raise HeldError(self._limits.cause(self.path))
            self.reuse(slot)
            slot.retire()
        if self.path.per_connect and slot.dialled:  # another connection must be leased
            raise HeldError(self._limits.cause(self.path))
        slot.dialled = True
        return slot

    def renew(self, recipients: int, now: float) -> None:
        """A permit for the next message, now. Raises HeldError."""
        if not self.path.measured or (self.permit is not None and now <= self.permit.until):
            return
        self.permit = None
        if not self.path.has_permit(recipients, now):
            raise HeldError(self._limits.cause(self.path))
        self.permit = self.path.permits.popleft()

    def used(self) -> None:
        """The message has reached DATA."""
        self.permit = None

    def close(self, now: float) -> None:
        """The attempt is over."""
        if self.permit is not None and now <= self.permit.until:
            self.path.permits.appendleft(self.permit)
        self.let_go()
        self._limits.over(self.path)

    def let_go(self) -> None:
        """It does not use its connection any more, which may be idle."""
        slots = self.path.slots
        if self._claims and slots is not None:
            slots.claims -= 1
            self._claims = False
        if self.slot is not None:
            self.slot.release()
            self.slot = None


class DeliveryLimits:
    """The limits of one worker."""

    def __init__(self, port: LimitsPort, monotonic: Callable[[], float]) -> None:
        self._terms: Terms = lambda _entry, _site: ()
        self._port = port
        self._monotonic = monotonic
        self.resume: Callable[[str], bool] = lambda _name: False
        """Have a queue take its turn; False: it has nothing to start."""
        self.pump: Callable[[], None] = lambda: None
        """Start what may start."""
        self.wake_at: Callable[[float], None] = lambda _when: None
        """Have `tick` called at this monotonic time."""
        self.tell: Callable[[Entry, Held], None] = lambda _entry, _held: None
        """Called once for an entry and what holds it."""
        self._numbers = itertools.count(1)
        self._known: OrderedDict[str, tuple[Site, Path | None]] = OrderedDict()
        self._paths: dict[tuple[LimitCheck, ...], Path] = {}
        self._by_number: dict[int, Path] = {}
        self._slots: dict[Group, Slots] = {}
        self._times: list[tuple[float, int, Path]] = []
        """When permits become valid, and unused slots are given back; a heap."""
        self._candidate: Path | None = None
        """The path of the entry that was found ready last."""
        self._told: OrderedDict[EntryKey, str] = OrderedDict()
        self._over: dict[Path, None] = {}
        """Paths of attempts that ended since the last `settle`."""

    def configure(self, terms: Terms | None) -> None:
        """Take new limits; None: there are none. What waits is asked again."""
        self._terms = terms or (lambda _entry, _site: ())
        waiting = [name for path in self._paths.values() for name in path.waiting]
        for path in self._paths.values():
            if path.asked is not None:
                self._port.cancel(path.number)
            if path.slots is not None:
                path.slots.paths.pop(path, None)
            path.waiting.clear()
        self._known.clear()
        self._paths.clear()
        self._by_number = {number: path for number, path in self._by_number.items() if path.asked is not None}
        for name in waiting:
            self.resume(name)

    # For the gate.

    def is_ready(self, name: str, entry: Entry, site: Site, now: float) -> bool:
        """Whether an entry may start; False: its queue waits until it is resumed."""
        path = self._candidate = self._path(name, entry, site)
        if path is None or path.ready(len(entry.recipients), now):
            return True
        path.waiting[name] = entry
        if path.slots is not None:
            path.slots.paths[path] = None
        self._ask(path, len(entry.recipients), now)
        if path.held is not None:
            self._tell(entry, path.held)
        return False

    def begin(self) -> Hold | None:
        """Take what the entry needs for which `is_ready` was called last; None: it has no limits."""
        path = self._candidate
        if path is None:
            return None
        permit = path.permits.popleft() if path.measured else None
        slots, slot, claims = path.slots, None, False
        if slots is not None:
            if slots.unclaimed > 0:
                slots.claims += 1
                claims = True
            else:
                slots.fresh -= 1
                slot = Slot(slots, self._unused)
        return Hold(self, path, permit, slot, claims=claims)

    # For the engine.

    def tick(self, now: float) -> None:
        """Resume what may start by now, and give back what nobody uses."""
        while self._times and self._times[0][0] <= now:
            _, _, path = heapq.heappop(self._times)
            self._let_in(path, now)
            while path.slots is not None and path.slots.fresh > 0:
                path.slots.fresh -= 1
                self._unused(path.slots)
        if self._times:
            self.wake_at(self._times[0][0])

    def over(self, path: Path) -> None:
        """An attempt is over."""
        self._over[path] = None

    def settle(self) -> None:
        """Use what attempts that ended have left: for others here, or else for others elsewhere."""
        over, self._over = self._over, {}
        now = self._monotonic()
        for path in over:
            slots = path.slots
            if slots is None:
                self._let_in(path, now)
                continue
            for other in list(slots.paths):
                self._let_in(other, now)
            slots.yield_idle()

    # Answers of the owner.

    def granted(self, grant: Grant) -> None:
        """What was requested is leased."""
        path = self._by_number.get(grant.path)
        if path is None:
            return
        now = self._monotonic()
        path.asked = path.held = None
        if grant.permits:
            slack = path.slack
            path.permits.extend(Permit(at / SECOND, at / SECOND + slack, grant.recipients) for at in grant.permits)
        if grant.connection and path.slots is not None:
            if not path.slots.group:
                path.slots.fresh = 0  # only the rate of connections is limited: the last one has lapsed
            path.slots.fresh += 1
            path.slots.leased += 1
            self._wake(now + UNUSED, path)
        self._let_in(path, now)

    def held(self, number: int, check: LimitCheck, until: int | None) -> None:
        """What was requested waits for a limit."""
        path = self._by_number.get(number)
        if path is None or path.asked is None:
            return
        path.held = Held(check, None if until is None else until / SECOND)
        for entry in path.waiting.values():
            self._tell(entry, path.held)

    def recalled(self, group: Group, *, others_wait: bool) -> None:
        """Others wait, or wait no longer, for a connection."""
        slots = self._slots.get(group)
        if slots is None:
            return
        slots.recalled = others_wait
        slots.yield_idle()

    # What is seen.

    def holding(self, name: str) -> Held | None:
        """What holds a queue; None: no limit."""
        known = self._known.get(name)
        path = None if known is None else known[1]
        return path.held if path is not None and name in path.waiting else None

    def checks(self, name: str) -> Sequence[LimitCheck]:
        """The limits of the mail in a queue, as far as it was asked for."""
        _, path = self._known.get(name, (None, None))
        return () if path is None else path.checks

    def waiting(self) -> Iterator[tuple[Held, str]]:
        """The queues that are held, and by what."""
        for path in self._paths.values():
            if path.held is not None:
                for name in path.waiting:
                    yield path.held, name

    def cause(self, path: Path) -> str:
        """What holds mail of a path, for people."""
        checks: Sequence[LimitCheck] = path.checks if path.held is None else (path.held.check,)
        return checks[0].cause

    def _path(self, name: str, entry: Entry, site: Site) -> Path | None:
        known = self._known.get(name)
        if known is not None and known[0] is site:
            return known[1]
        checks = self._terms(entry, site)
        path = self._paths.get(checks) if checks else None
        if path is None and checks:
            if len(self._paths) >= REMEMBERED:
                self._forget()
            group = tuple(check.key for check in checks if check.kind is LimitKey.CONNECTIONS)
            slots = None
            if group or any(check.kind is LimitKey.CONNECTION_RATE for check in checks):
                slots = self._slots.setdefault(group, Slots(group)) if group else Slots(group)
            path = self._paths[checks] = Path(next(self._numbers), checks, slots)
            self._by_number[path.number] = path
        self._known[name] = site, path
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return path

    def _ask(self, path: Path, recipients: int, now: float) -> None:
        """Request what an entry lacks."""
        slots = path.slots
        connection = slots is not None and slots.free <= 0
        messages = 0
        if path.measured and not path.has_permit(recipients, now):
            if path.permits and not connection:
                self._wake(path.permits[0].at, path)
                return
            messages = 0 if path.permits else path.batch
        asked = path.asked
        # One request that is more than is needed now is replaced: all of it or nothing is granted.
        if asked is not None and asked.connection == connection and asked.recipients >= recipients:
            return
        if not (connection or messages):
            return
        if messages:
            path.batch = 1 if path.lapsed or path.per_recipient else min(2 * path.batch, BATCH_MAX)
            path.lapsed = False
        path.asked = Ask(path.number, path.checks, messages, recipients, connection)
        self._port.ask(path.asked)

    def _let_in(self, path: Path, now: float) -> None:
        """Resume the queues of a path as far as it has room."""
        while (room := path.room(now)) > 0:
            for _ in range(min(room, len(path.waiting))):
                name, _ = path.waiting.popitem(last=False)
                self.resume(name)
            self.pump()
        if not path.waiting and path.slots is not None:
            path.slots.paths.pop(path, None)
        if path.waiting and path.permits and path.permits[0].at > now:
            self._wake(path.permits[0].at, path)
        elif path.waiting:
            _, entry = next(iter(path.waiting.items()))
            self._ask(path, len(entry.recipients), now)

    def _forget(self) -> None:
        """Drop paths of which nothing is in use."""
        for checks, path in list(self._paths.items()):
            if not (path.waiting or path.asked or path.permits or (path.slots is not None and path.slots.leased)):
                del self._paths[checks], self._by_number[path.number]
        used = {path.slots.group for path in self._paths.values() if path.slots is not None}
        self._slots = {group: slots for group, slots in self._slots.items() if slots.leased or group in used}
        self._known = OrderedDict((k, v) for k, v in self._known.items() if v[1] is None or v[1].checks in self._paths)

    def _unused(self, slots: Slots) -> None:
        slots.leased -= 1
        if slots.group:
            self._port.give_back(slots.group)

    def _wake(self, when: float, path: Path) -> None:
        heapq.heappush(self._times, (when, next(self._numbers), path))
        self.wake_at(when)

    def _tell(self, entry: Entry, held: Held) -> None:
        cause = held.check.cause
        if self._told.get(entry.key) == cause:
            return
        self._told[entry.key] = cause
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        self.tell(entry, held)

"""What a worker has of the limits of shaping.ini: permits and connections, leased from their owner. Pure.

A path is a set of limits that hold at once; queues with the same limits share it. A slot is a connection from before it
is dialled until its socket is closed. `limits` asks for leases and hands them out; `pool` and `session` have slots.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from mailboat.model.envelope import Entry
from mailboat.shaping.ledger import LimitCheck
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.owner import Ask, Group
from mailboat.shaping.rate import SECOND

TURN = 5.0
"""Seconds for which a connection is used while others wait for one."""


@dataclass(frozen=True, slots=True)
class Held:
    """What holds mail."""

    check: LimitCheck
    until: float | None
    """Monotonic time; None: until a connection is closed."""

    def since_epoch(self, now: float, monotonic: float) -> float | None:
        """`until` in seconds since the epoch; both arguments are the same instant."""
        return None if self.until is None else now + self.until - monotonic


@dataclass(frozen=True, slots=True)
class Permit:
    """A message that may start."""

    at: float
    """Monotonic time from which it is valid."""
    until: float
    """It is void after this."""
    recipients: int
    """Recipients that it may have."""


class Slots:
    """The connections of this worker that count under the same limits."""

    __slots__ = ("claims", "fresh", "group", "idle", "leased", "paths", "recalled")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.leased = 0
        """In all."""
        self.fresh = 0
        """Leased, and not used yet."""
        self.idle: dict[Slot, None] = {}
        """Connections between two messages."""
        self.claims = 0
        """How many of those are promised to attempts."""
        self.paths: dict[Path, None] = {}
        """Paths whose mail waits."""
        self.recalled = False
        """Others wait for a connection under one of the limits."""

    @property
    def free(self) -> int:
        """How many more attempts may start."""
        return self.fresh + self.unclaimed

    @property
    def unclaimed(self) -> int:
        """How many idle connections are promised to nobody."""
        return len(self.idle) - self.claims

    def yield_idle(self) -> None:
        """End idle connections that nobody here needs, if others wait."""
        while self.recalled and self.unclaimed > 0:
            next(iter(self.idle)).retire()


class Slot:
    """One connection, from before it is dialled."""

    __slots__ = ("_give_back", "_retire", "_users", "dialled", "is_open", "since", "slots")

    def __init__(self, slots: Slots, give_back: Callable[[Slots], None]) -> None:
        self.slots = slots
        self.is_open = False
        """The connection is open."""
        self.dialled = False
        """A connection was begun."""
        self.since = 0.0
        """When it was opened."""
        self._users = 1
        self._give_back = give_back
        self._retire: Callable[[], None] = lambda: None

    def opened(self, retire: Callable[[], None], now: float) -> None:
        """The connection is open; `retire` ends it when it is idle."""
        self.is_open, self.since, self._retire = True, now, retire
        self._users += 1

    def rest(self) -> None:
        """The connection is idle."""
        self.slots.idle[self] = None

    def wake(self) -> None:
        """It is not idle any more."""
        self.slots.idle.pop(self, None)

    def retire(self) -> None:
        """End the connection, which is idle."""
        self.wake()
        self._retire()

    def share(self) -> Slot:
        """One more uses it."""
        self._users += 1
        return self

    def gone(self) -> None:
        """The connection is closed."""
        self.is_open = False
        self.release()

    def release(self) -> None:
        """One less uses it; without any it is given back."""
        self._users -= 1
        if not self._users:
            self._give_back(self.slots)

    def may_stay(self, now: float) -> bool:
        """Whether the connection may be kept: not for long while others wait."""
        return not self.slots.recalled or now - self.since < TURN


class Path:
    """A set of limits, and what is leased under them."""

    __slots__ = (
        "asked",
        "batch",
        "checks",
        "held",
        "lapsed",
        "measured",
        "number",
        "per_connect",
        "per_recipient",
        "permits",
        "slots",
        "waiting",
    )

    def __init__(self, number: int, checks: tuple[LimitCheck, ...], slots: Slots | None) -> None:
        kinds = {check.kind for check in checks}
        self.number = number
        self.checks = checks
        self.slots = slots
        """None: connections are not limited."""
        self.measured = bool(kinds & {LimitKey.RATE, LimitKey.RECIPIENT_RATE})
        """Messages need permits."""
        self.per_recipient = LimitKey.RECIPIENT_RATE in kinds
        self.per_connect = LimitKey.CONNECTION_RATE in kinds
        self.permits: deque[Permit] = deque()
        self.waiting: OrderedDict[str, Entry] = OrderedDict()
        """Queues that wait, with the first entry of each."""
        self.asked: Ask | None = None
        """The request that is not granted yet."""
        self.held: Held | None = None
        """Why it is not."""
        self.batch = 1
        """Permits to ask for next."""
        self.lapsed = False
        """A permit became void unused since the last request."""

    @property
    def slack(self) -> float:
        """Seconds that a permit may be used late."""
        return min(check.slack for check in self.checks if check.period) / SECOND

    def has_permit(self, recipients: int, now: float) -> bool:
        """Whether a message may start; permits that are void are dropped."""
        permits = self.permits
        while permits and permits[0].until < now:
            permits.popleft()
            self.lapsed = True
        if not permits or permits[0].at > now:
            return False
        if self.per_recipient and permits[0].recipients < recipients:
            permits.clear()  # they lapse, and one for that many is requested
            return False
        return True

    def ready(self, recipients: int, now: float) -> bool:
        """Whether a message may start now."""
        if self.slots is not None and self.slots.free <= 0:
            return False
        return not self.measured or self.has_permit(recipients, now)

    def room(self, now: float) -> int:
        """How many messages may start now."""
        if not self.waiting or not self.ready(1, now):
            return 0
        room = len(self.waiting) if self.slots is None else self.slots.free
        return min(room, sum(permit.at <= now for permit in self.permits)) if self.measured else room

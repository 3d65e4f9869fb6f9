"""Which entry is attempted next: destinations take turns, when a gatekeeper lets them. Pure; no time, no I/O.

`delivery.engine` offers what is due and takes what may start; what may is the gatekeeper's to say (`delivery.gate`).
Memory is bounded however long the queue is: a destination gets a share of the room, what is beyond it stays in the
store and its domain is remembered here, and when there is no room at all the reader of the store stops.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Protocol

from mailboat.model.envelope import Entry, EntryKey

LOW_WATER = 64
"""A destination with fewer waiting entries than this is filled up from the store."""
DOMAINS_MARKED = 1000
"""Domains of one destination that are remembered at most because the store holds more of their mail."""


class OfferResult(Enum):
    """What became of an offer."""

    QUEUED = auto()
    """The entry is here, or was already."""
    OVERFLOW = auto()
    """Its destination's share of the memory is used up: the store keeps it, and `more` will name its domain."""
    FULL = auto()
    """No room for anybody: nothing is remembered, it must be offered again."""


class Ring(IntEnum):
    """Destinations take turns within a ring; the gatekeeper says which ring is next."""

    FREE = auto()
    """It has to be asked about these, or they need no place."""
    PROVEN = auto()
    """Their hosts answer."""
    FRESH = auto()
    """Nothing is known of their hosts."""
    FAILED = auto()
    """The last attempt there failed."""


class Gatekeeper(Protocol):
    """Lets entries start."""

    def next_ring(self, waiting: Mapping[Ring, Sized]) -> Ring | None:
        """The ring whose first destination has its turn; None: nothing may start."""

    def ring_of(self, name: str, entry: Entry, now: float) -> Ring | None:
        """Where a destination has to stand for this entry to start; None: nowhere, until it is resumed."""


@dataclass(slots=True)
class _Queue:
    waiting: deque[EntryKey] = field(default_factory=deque)
    running: int = 0
    ring: Ring | None = None
    """Where it stands."""
    waits: bool = False
    """It stands nowhere until it is resumed, whatever is offered meanwhile."""
    proven: bool = False
    """Its hosts answered when it was last asked about: likely they do, so that is where it stands next."""


class Schedule:
    """The entries that are due, by destination."""

    def __init__(self, capacity: int, gatekeeper: Gatekeeper) -> None:
        """`capacity`: entries that wait in memory at most."""
        self._capacity = capacity
        self._gatekeeper = gatekeeper
        self._destinations: dict[str, _Queue] = {}
        self._rings: dict[Ring, OrderedDict[str, _Queue]] = {ring: OrderedDict() for ring in Ring}
        """Destinations that have something to start, next one first."""
        self._waiting: dict[EntryKey, Entry] = {}
        self._unsettled: set[EntryKey] = set()
        """Under way, or done and not recorded yet."""
        self._set_aside: set[EntryKey] = set()
        """Their outcome could not be recorded: left alone for a while."""
        self._overflow: dict[str, dict[str, None] | None] = {}
        """By destination, the domains with due entries that only the store holds; None: too many to remember."""
        self._low: dict[str, None] = {}
        """Destinations in `_overflow` that run low here, the longest first."""
        self._changed: set[EntryKey] | None = None
        """Settled or withdrawn since `begin_read`; None when nothing is being read."""
        self._running = 0

    def __len__(self) -> int:
        """Entries that wait in memory."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Attempts under way."""
        return self._running

    @property
    def unrecorded(self) -> int:
        """Attempts that are over and not recorded yet."""
        return len(self._unsettled) - self._running

    @property
    def unsettled(self) -> int:
        """Attempts under way or not recorded yet."""
        return len(self._unsettled)

    def is_unsettled(self, key: EntryKey) -> bool:
        """Whether an attempt on it is under way or not recorded yet."""
        return key in self._unsettled

    @property
    def is_full(self) -> bool:
        """Whether an offer would be answered `FULL`."""
        return len(self._waiting) >= self._capacity

    @property
    def has_room(self) -> bool:
        """Whether it is worth reading on after `FULL`."""
        return len(self._waiting) <= self._capacity * 3 // 4

    @property
    def has_turns(self) -> bool:
        """Whether anything stands in a ring."""
        return any(self._rings.values())

    def offer(self, name: str, entry: Entry) -> OfferResult:
        """Take a due entry in for destination `name`.

        A destination may fill half of the room that is left, so that many slow ones together never shut out
        the others (dynamic thresholds, as switches share their buffers). An entry that is here already is no news.
        """
        if entry.key in self._waiting or entry.key in self._unsettled or entry.key in self._set_aside:
            return OfferResult.QUEUED
        if self.is_full:
            return OfferResult.FULL
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._destinations[name] = _Queue()
        elif len(destination.waiting) >= self._share:
            self.mark_more(entry.domain, name)
            return OfferResult.OVERFLOW
        destination.waiting.append(entry.key)
        self._waiting[entry.key] = entry
        self._take_turn(name, destination)
        return OfferResult.QUEUED

    def start(self, now: float) -> tuple[str, Entry] | None:
        """The next entry to attempt and its destination; None: nothing may start now."""
        rings = self._rings
        while (ring := self._gatekeeper.next_ring(rings)) is not None:
            name, destination = rings[ring].popitem(last=False)
            destination.ring = None
            entry = self._first_of(destination)
            if entry is None:
                self._forget_if_empty(name, destination)
                continue
            wanted = self._gatekeeper.ring_of(name, entry, now)
            destination.waits, destination.proven = wanted is None, wanted is Ring.PROVEN
            if wanted is None:
                continue
            if wanted is not ring and wanted is not Ring.FREE:
                self._stand(name, destination, wanted)
                if len(rings[wanted]) > 1 or self._gatekeeper.next_ring(rings) is not wanted:
                    continue
                self._leave_ring(name, destination)  # its turn comes at once
            self._begin(name, destination, entry)
            return name, entry
        return None

    def _begin(self, name: str, destination: _Queue, entry: Entry) -> None:
        destination.waiting.popleft()
        del self._waiting[entry.key]
        self._unsettled.add(entry.key)
        self._running += 1
        destination.running += 1
        self._take_turn(name, destination)
        self._mark_low(name)

    def finish(self, name: str) -> None:
        """An attempt to this destination is over; its entry stays known until `settled`."""
        destination = self._destinations[name]
        destination.running -= 1
        self._running -= 1
        self._forget_if_empty(name, destination)

    def resume(self, name: str) -> bool:
        """A destination takes its turn anew, wherever it stands; False: it has nothing to start."""
        destination = self._destinations.get(name)
        if destination is None:
            return False
        destination.waits = False
        if self._first_of(destination) is None:
            self._forget_if_empty(name, destination)
            return False
        if destination.ring is not None and destination.ring is not Ring.FREE:
            self._leave_ring(name, destination)
        self._take_turn(name, destination)
        return True

    def put_back(self, name: str, entry: Entry, *, takes_turn: bool) -> None:
        """The entry that was started waits again, before all others; `finish` has been called.

        Without `takes_turn` its destination stands in no ring until it is resumed.
        """
        destination = self._destinations.setdefault(name, _Queue())
        self._unsettled.discard(entry.key)
        destination.waiting.appendleft(entry.key)
        self._waiting[entry.key] = entry
        destination.waits = not takes_turn
        if takes_turn:
            self._take_turn(name, destination)
        else:
            self._leave_ring(name, destination)

    def set_aside(self, key: EntryKey) -> None:
        """An attempt is over and could not be recorded: its entry is not to be offered before `settled`."""
        self._unsettled.discard(key)
        self._set_aside.add(key)

    def settled(self, key: EntryKey) -> None:
        """The store has recorded the attempt: the entry may be offered again."""
        self._unsettled.discard(key)
        self._set_aside.discard(key)
        if self._changed is not None:
            self._changed.add(key)

    def withdraw(self, keys: Collection[EntryKey]) -> None:
        """Forget entries that wait here; those under way go on."""
        for key in keys:
            self._waiting.pop(key, None)
        if self._changed is not None:
            self._changed.update(keys)

    # Reading the store takes time, in which an attempt may end: what was read before is not to be believed then.

    def begin_read(self) -> None:
        """The store is being asked for due entries."""
        self._changed = set()

    def end_read(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The answer without entries that were settled or withdrawn meanwhile."""
        changed, self._changed = self._changed, None
        return [entry for entry in entries if entry.key not in changed] if changed else entries

    def mark_more(self, domain: str, name: str) -> None:
        """The store holds more due entries of this domain, which is part of destination `name`."""
        domains = self._overflow.setdefault(name, {})
        if domains is not None:
            domains[domain] = None
            if len(domains) > DOMAINS_MARKED:
                self._overflow[name] = None
        self._mark_low(name)

    @property
    def wants_more(self) -> bool:
        """Whether `more` may name something."""
        return bool(self._low) and not self.is_full

    def more(self) -> tuple[str, str] | None:
        """A destination that runs low, and a domain of it with due entries in the store; that is marked no longer.

        An empty domain: there are so many that they were not remembered. All of the store has to be read again from
        its beginning, and what finds no room then is marked again.
        """
        while self.wants_more:
            name = next(iter(self._low))
            del self._low[name]
            if not self._is_low(name):
                continue
            domains = self._overflow[name]
            if domains is None:
                del self._overflow[name]
                return name, ""
            domain = next(iter(domains))
            del domains[domain]
            if domains:
                self._low[name] = None  # behind the others
            else:
                del self._overflow[name]
            return name, domain
        return None

    @property
    def _share(self) -> int:
        return max(1, (self._capacity - len(self._waiting)) // 2)

    def _is_low(self, name: str) -> bool:
        if name not in self._overflow:
            return False
        destination = self._destinations.get(name)
        return destination is None or len(destination.waiting) < min(LOW_WATER, self._share)

    def _mark_low(self, name: str) -> None:
        if self._overflow and self._is_low(name):
            self._low[name] = None

    def _first_of(self, destination: _Queue) -> Entry | None:
        waiting = destination.waiting
        while waiting:
            entry = self._waiting.get(waiting[0])
            if entry is not None:
                return entry
            waiting.popleft()  # withdrawn meanwhile
        return None

    def _take_turn(self, name: str, destination: _Queue) -> None:
        if destination.waiting and destination.ring is None and not destination.waits:
            self._stand(name, destination, Ring.PROVEN if destination.proven else Ring.FREE)

    def _stand(self, name: str, destination: _Queue, ring: Ring) -> None:
        destination.ring = ring
        self._rings[ring][name] = destination

    def _leave_ring(self, name: str, destination: _Queue) -> None:
        if destination.ring is not None:
            del self._rings[destination.ring][name]
            destination.ring = None

    def _forget_if_empty(self, name: str, destination: _Queue) -> None:
        if not destination.waiting and not destination.running and destination.ring is None:
            self._destinations.pop(name, None)

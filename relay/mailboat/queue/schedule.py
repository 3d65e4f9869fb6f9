"""Chooses the next entry to attempt: destinations take turns, as a gatekeeper permits. Pure; no time, no I/O.

`delivery.engine` offers due entries and gets those that may start; the gatekeeper (`delivery.gate`) decides. Memory is
bounded however long the queue is: a destination gets a share of the room; its other entries stay in the store, and only
their domain is noted here. If there is no room at all, the reader of the store stops.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Protocol

from mailboat.model.envelope import Entry, EntryKey

LOW_WATER = 64
"""A destination with fewer waiting entries than this is refilled from the store."""
DOMAINS_MARKED = 1000
"""Maximum of domains of one destination that are noted because the store has more of their mail."""


class OfferResult(Enum):
    """The result of an offer."""

    QUEUED = auto()
    """The entry is in memory, now or already before."""
    OVERFLOW = auto()
    """Its destination's share of memory is used up: it stays in the store, and `more` will return its domain."""
    FULL = auto()
    """There is no room at all: nothing is noted, and it must be offered again."""


class Ring(IntEnum):
    """Destinations take turns within a ring; the gatekeeper chooses the next ring."""

    FREE = auto()
    """The gatekeeper must be asked about these, or they need no place."""
    PROVEN = auto()
    """Their hosts answer."""
    FRESH = auto()
    """Their hosts are unknown."""
    FAILED = auto()
    """The last attempt there failed."""


class Gatekeeper(Protocol):
    """Decides which entries may start."""

    def next_ring(self, waiting: Mapping[Ring, Sized]) -> Ring | None:
        """The ring whose first destination is next; None: nothing may start."""

    def ring_of(self, name: str, entry: Entry, now: float) -> Ring | None:
        """The ring of a destination for this entry to start; None: no ring, until it is resumed."""


@dataclass(slots=True)
class _Queue:
    waiting: deque[EntryKey] = field(default_factory=deque)
    running: int = 0
    ring: Ring | None = None
    """The ring that it is in."""
    waits: bool = False
    """It is in no ring until it is resumed, even if entries are offered."""
    proven: bool = False
    """Its hosts answered at the last check, so it goes into the same ring next."""


class Schedule:
    """The entries that are due, by destination."""

    def __init__(self, capacity: int, gatekeeper: Gatekeeper) -> None:
        """`capacity`: maximum of entries that wait in memory."""
        self._capacity = capacity
        self._gatekeeper = gatekeeper
        self._destinations: dict[str, _Queue] = {}
        self._rings: dict[Ring, OrderedDict[str, _Queue]] = {ring: OrderedDict() for ring in Ring}
        """Destinations with entries to start, next one first."""
        self._waiting: dict[EntryKey, Entry] = {}
        self._in_progress: set[EntryKey] = set()
        """Entries under way, or finished and not recorded yet."""
        self._set_aside: set[EntryKey] = set()
        """Entries whose outcome could not be recorded: not offered for a while."""
        self._overflow: dict[str, dict[str, None] | None] = {}
        """By destination, the domains with due entries in the store only; None: too many to note."""
        self._low: dict[str, None] = {}
        """Destinations in `_overflow` with few entries in memory, the longest waiting first."""
        self._reads: list[set[EntryKey]] = []
        """For each running read, the entries that were recorded or withdrawn since it began."""
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
        return len(self._in_progress) - self._running

    @property
    def in_progress(self) -> int:
        """Attempts under way or not recorded yet."""
        return len(self._in_progress)

    def is_in_progress(self, key: EntryKey) -> bool:
        """Whether an attempt on it is under way or not recorded yet."""
        return key in self._in_progress

    @property
    def is_full(self) -> bool:
        """Whether an offer would be answered `FULL`."""
        return len(self._waiting) >= self._capacity

    @property
    def has_room(self) -> bool:
        """Whether reading should continue after `FULL`."""
        return len(self._waiting) <= self._capacity * 3 // 4

    @property
    def has_turns(self) -> bool:
        """Whether any destination is in a ring."""
        return any(self._rings.values())

    def has_turn(self, name: str) -> bool:
        """Whether a destination waits for its turn in a ring, its hosts known."""
        destination = self._destinations.get(name)
        return destination is not None and destination.ring is not None and destination.ring is not Ring.FREE

    def offer(self, name: str, entry: Entry) -> OfferResult:
        """Offer a due entry of destination `name`.

        A destination may use half of the remaining room, so that many slow ones together never block the others
        (dynamic thresholds, as for shared buffers of switches). An entry that is already in memory is ignored.
        """
        if entry.key in self._waiting or entry.key in self._in_progress or entry.key in self._set_aside:
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
                self._leave_ring(name, destination)  # it is next at once
            self._begin(name, destination, entry)
            return name, entry
        return None

    def _begin(self, name: str, destination: _Queue, entry: Entry) -> None:
        destination.waiting.popleft()
        del self._waiting[entry.key]
        self._in_progress.add(entry.key)
        self._running += 1
        destination.running += 1
        self._take_turn(name, destination)
        self._mark_low(name)

    def finish(self, name: str) -> None:
        """An attempt to this destination is over; its entry stays known until `recorded`."""
        destination = self._destinations[name]
        destination.running -= 1
        self._running -= 1
        self._forget_if_empty(name, destination)

    def resume(self, name: str) -> bool:
        """Put a destination into a ring again; False: it has nothing to start."""
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
        """Put a started entry back before all others; `finish` has been called.

        Without `takes_turn`, its destination is in no ring until it is resumed.
        """
        destination = self._destinations.setdefault(name, _Queue())
        self._in_progress.discard(entry.key)
        destination.waiting.appendleft(entry.key)
        self._waiting[entry.key] = entry
        destination.waits = not takes_turn
        if takes_turn:
            self._take_turn(name, destination)
        else:
            self._leave_ring(name, destination)

    def set_aside(self, key: EntryKey) -> None:
        """An attempt could not be recorded: its entry must not be offered before `recorded`."""
        self._in_progress.discard(key)
        self._set_aside.add(key)

    def recorded(self, key: EntryKey) -> None:
        """The store has recorded the attempt: the entry may be offered again."""
        self._in_progress.discard(key)
        self._set_aside.discard(key)
        for changed in self._reads:
            changed.add(key)

    def take(self, key: EntryKey) -> bool:
        """Whether no attempt on an entry is under way; none is started then before `recorded`."""
        if key in self._in_progress or key in self._set_aside:
            return False
        self._waiting.pop(key, None)
        self._in_progress.add(key)
        return True

    def withdraw(self, keys: Collection[EntryKey]) -> None:
        """Drop entries that wait; those under way continue."""
        for key in keys:
            self._waiting.pop(key, None)
        for changed in self._reads:
            changed.update(keys)

    # During a read of the store an attempt may end: its entry in the answer is then outdated.

    @contextmanager
    def reading(self) -> Iterator[Callable[[Sequence[Entry]], Sequence[Entry]]]:
        """Read the store within; gives a function that removes from the answer what was recorded or withdrawn since."""
        changed: set[EntryKey] = set()
        self._reads.append(changed)

        def current(entries: Sequence[Entry]) -> Sequence[Entry]:
            return [entry for entry in entries if entry.key not in changed] if changed else entries

        try:
            yield current
        finally:
            self._reads = [read for read in self._reads if read is not changed]

    def mark_more(self, domain: str, name: str) -> None:
        """Note that the store has more due entries of this domain, which belongs to destination `name`."""
        domains = self._overflow.setdefault(name, {})
        if domains is not None:
            domains[domain] = None
            if len(domains) > DOMAINS_MARKED:
                self._overflow[name] = None
        self._mark_low(name)

    @property
    def wants_more(self) -> bool:
        """Whether `more` may return something."""
        return bool(self._low) and not self.is_full

    def more(self) -> tuple[str, str] | None:
        """A destination with few entries in memory, and a domain of it with due entries in the store, which is
        unmarked.

        An empty domain: there were too many to note. The whole store must be read again, and entries without room are
        marked again.
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
                self._low[name] = None  # after the others
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
            waiting.popleft()  # withdrawn in between
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

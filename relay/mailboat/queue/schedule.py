"""Which entry is attempted next: destinations take turns, each within its limit. Pure; no time, no I/O.

`delivery.engine` offers what is due and takes what may start. Memory is bounded however long the queue is: a
destination gets a share of the room, what is beyond it stays in the store and its domain is remembered here, and when
there is no room at all the reader of the store stops.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from mailboat.model.envelope import Entry, EntryKey

LOW_WATER = 64
"""A destination with fewer waiting entries than this is filled up from the store."""


class Offered(Enum):
    """What became of an offer."""

    TAKEN = auto()
    """The entry is here, or was already."""
    MARKED = auto()
    """Its destination's share of the memory is used up: the store keeps it, and `more` will name its domain."""
    FULL = auto()
    """No room for anybody: nothing is remembered, it must be offered again."""


@dataclass(slots=True)
class _Destination:
    waiting: deque[EntryKey] = field(default_factory=deque)
    running: int = 0


class Schedule:
    """The entries that are due, by destination."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: entries that wait in memory at most."""
        self._capacity = capacity
        self._destinations: dict[str, _Destination] = {}
        self._turn: OrderedDict[str, None] = OrderedDict()
        """Destinations that have something to start and room for it, next one first."""
        self._waiting: dict[EntryKey, Entry] = {}
        self._unsettled: set[EntryKey] = set()
        """Under way, or done and not recorded yet."""
        self._more: dict[str, dict[str, None]] = {}
        """By destination, the domains with due entries that only the store holds."""
        self._hungry: dict[str, None] = {}
        """Destinations in `_more` that run low here, the longest first."""
        self._changed: set[EntryKey] | None = None
        """Settled or withdrawn since `begin_read`; None when nothing is being read."""
        self._running = 0
        self.total_limit = 1
        self.destination_limit = 1

    def __len__(self) -> int:
        """Entries that wait in memory."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Attempts under way."""
        return self._running

    @property
    def unsettled(self) -> int:
        """Attempts under way or not recorded yet."""
        return len(self._unsettled)

    @property
    def is_full(self) -> bool:
        """Whether an offer would be answered `FULL`."""
        return len(self._waiting) >= self._capacity

    @property
    def has_room(self) -> bool:
        """Whether it is worth reading on after `FULL`."""
        return len(self._waiting) <= self._capacity * 3 // 4

    def limit(self, total: int, per_destination: int) -> None:
        """Set how many attempts may run in all and to one destination."""
        self.total_limit = total
        self.destination_limit = per_destination
        for name, destination in self._destinations.items():
            self._take_turn(name, destination)

    def offer(self, name: str, entry: Entry) -> Offered:
        """Take a due entry in for destination `name`.

        A destination may fill half of the room that is left, so that many slow ones together never shut out
        the others (dynamic thresholds, as switches share their buffers). An entry that is here already is no news.
        """
        if entry.key in self._waiting or entry.key in self._unsettled:
            return Offered.TAKEN
        if self.is_full:
            return Offered.FULL
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._destinations[name] = _Destination()
        elif len(destination.waiting) >= self._share:
            self.mark_more(entry.domain, name)
            return Offered.MARKED
        destination.waiting.append(entry.key)
        self._waiting[entry.key] = entry
        self._take_turn(name, destination)
        return Offered.TAKEN

    def start(self) -> tuple[str, Entry] | None:
        """The next entry to attempt and its destination; None: nothing may start now."""
        while self._turn and self._running < self.total_limit:
            name, _ = self._turn.popitem(last=False)
            destination = self._destinations[name]
            if destination.running >= self.destination_limit:
                continue  # the limit was lowered; `finish` puts it back in turn
            entry = self._next_of(destination)
            if entry is not None:
                self._unsettled.add(entry.key)
                self._running += 1
                destination.running += 1
            self._take_turn(name, destination)
            self._forget_if_empty(name, destination)
            self._feel_hunger(name)
            if entry is not None:
                return name, entry
        return None

    def finish(self, name: str) -> None:
        """An attempt to this destination is over; its entry stays known until `settled`."""
        destination = self._destinations[name]
        destination.running -= 1
        self._running -= 1
        self._take_turn(name, destination)
        self._forget_if_empty(name, destination)

    def occupy(self, name: str) -> None:
        """Something else goes on for this destination, such as a plugin's hook: until `finish`, it counts as one."""
        self._destinations.setdefault(name, _Destination()).running += 1
        self._running += 1

    def settled(self, key: EntryKey) -> None:
        """The store has recorded the attempt: the entry may be offered again."""
        self._unsettled.discard(key)
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
        self._more.setdefault(name, {})[domain] = None
        self._feel_hunger(name)

    @property
    def wants_more(self) -> bool:
        """Whether `more` may name something."""
        return bool(self._hungry) and not self.is_full

    def more(self) -> tuple[str, str] | None:
        """A destination that runs low, and a domain of it with due entries in the store; that is marked no longer."""
        while self.wants_more:
            name = next(iter(self._hungry))
            del self._hungry[name]
            if not self._is_hungry(name):
                continue
            domains = self._more[name]
            domain = next(iter(domains))
            del domains[domain]
            if domains:
                self._hungry[name] = None  # behind the others
            else:
                del self._more[name]
            return name, domain
        return None

    @property
    def _share(self) -> int:
        return max(1, (self._capacity - len(self._waiting)) // 2)

    def _is_hungry(self, name: str) -> bool:
        if name not in self._more:
            return False
        destination = self._destinations.get(name)
        return destination is None or len(destination.waiting) < min(LOW_WATER, self._share)

    def _feel_hunger(self, name: str) -> None:
        if self._more and self._is_hungry(name):
            self._hungry[name] = None

    def _next_of(self, destination: _Destination) -> Entry | None:
        while destination.waiting:
            entry = self._waiting.pop(destination.waiting.popleft(), None)
            if entry is not None:  # else withdrawn meanwhile
                return entry
        return None

    def _take_turn(self, name: str, destination: _Destination) -> None:
        if destination.waiting and destination.running < self.destination_limit and name not in self._turn:
            self._turn[name] = None

    def _forget_if_empty(self, name: str, destination: _Destination) -> None:
        if not destination.waiting and not destination.running:
            del self._destinations[name]

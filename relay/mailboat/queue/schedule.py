"""Which entry is attempted next: destinations take turns, each within its limit. Pure; no time, no I/O.

`delivery.engine` offers what is due and takes what may start. An entry that is not taken in stays in the store, and
`has_more` remembers its domain, so that memory is bounded however long the queue is.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from mailboat.model.envelope import Entry, EntryKey

LOW_WATER = 64
"""A destination with fewer waiting entries than this is filled up from the store."""
_MORE_TRIES = 32
"""Domains looked at in one call of `more`; the rest have their turn in the next."""


@dataclass(slots=True)
class _Destination:
    waiting: deque[EntryKey] = field(default_factory=deque)
    running: int = 0


class Schedule:
    """The entries that are due, by destination."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: entries in memory at most."""
        self._capacity = capacity
        self._destinations: dict[str, _Destination] = {}
        self._turn: OrderedDict[str, None] = OrderedDict()
        """Destinations that have something to start and room for it, next one first."""
        self._waiting: dict[EntryKey, Entry] = {}
        self._unsettled: set[EntryKey] = set()
        """Under way, or done and not recorded yet."""
        self._has_more: OrderedDict[str, str] = OrderedDict()
        """Domains with due entries that only the store holds, and their destinations."""
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

    def limit(self, total: int, per_destination: int) -> None:
        """Set how many attempts may run in all and to one destination."""
        self.total_limit = total
        self.destination_limit = per_destination
        for name, destination in self._destinations.items():
            self._take_turn(name, destination)

    def offer(self, name: str, entry: Entry) -> bool:
        """Take a due entry in for destination `name`; False: no room, its domain is remembered in `has_more`.

        A destination may fill half of the room that is left, so that many slow ones together never shut out
        the others (dynamic thresholds, as switches share their buffers). An entry that is here already is no news.
        """
        if entry.key in self._waiting or entry.key in self._unsettled:
            return True
        destination = self._destinations.get(name)
        held = len(destination.waiting) if destination else 0
        if held >= max(1, (self._capacity - len(self._waiting)) // 2):
            self.mark_more(entry.domain, name)
            return False
        if destination is None:
            destination = self._destinations[name] = _Destination()
        destination.waiting.append(entry.key)
        self._waiting[entry.key] = entry
        self._take_turn(name, destination)
        return True

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

    def settled(self, key: EntryKey) -> None:
        """The store has recorded the attempt: the entry may be offered again."""
        self._unsettled.discard(key)

    def withdraw(self, keys: Collection[EntryKey]) -> None:
        """Forget entries that wait here; those under way go on."""
        for key in keys:
            self._waiting.pop(key, None)

    def mark_more(self, domain: str, name: str) -> None:
        """The store holds more due entries of this domain, which is part of destination `name`."""
        self._has_more[domain] = name

    @property
    def wants_more(self) -> bool:
        """Whether `more` may name a domain."""
        return bool(self._has_more)

    def more(self) -> str | None:
        """A domain with due entries in the store whose destination runs low here; it is marked no longer."""
        for _ in range(min(len(self._has_more), _MORE_TRIES)):
            domain, name = self._has_more.popitem(last=False)
            destination = self._destinations.get(name)
            if destination is None or len(destination.waiting) < LOW_WATER:
                return domain
            self._has_more[domain] = name
        return None

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

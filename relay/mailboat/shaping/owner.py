"""The owner of limits: leases permits and connections to workers, in the order in which they asked. Pure.

A worker asks for a path, which is a set of checks. What cannot be granted now waits here, at the limit that is in the
way, so that nobody has to ask again: it is granted when the time has come or a connection was given back. While
somebody waits for a connection, those who hold some are told. Called by `app.limits`, which owns the timer.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from mailboat.shaping.ledger import Ledger, LimitCheck, LimitRefused
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.rate import SECOND

BATCH = 256
"""Permits in one grant at most."""
LONGEST_AHEAD = SECOND
"""How far in the future permits are granted, in nanoseconds: what a worker that dies takes of a rate with it."""


Group: TypeAlias = tuple[str, ...]
"""The keys of all limits under which a connection counts."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of a worker."""

    path: int
    """The worker's number of the path."""
    checks: tuple[LimitCheck, ...]
    """All limits of the path."""
    messages: int
    """Permits that are wanted; 0: none. One is enough to grant the request."""
    recipients: int
    """Recipients of each of these messages."""
    connection: bool
    """Also one connection, without which nothing is granted."""

    @property
    def group(self) -> Group:
        """What its connection counts under."""
        return tuple(check.key for check in self.checks if check.kind is LimitKey.CONNECTIONS)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a worker may do."""

    path: int
    permits: tuple[int, ...]
    """When each message may start, in nanoseconds of the monotonic clock."""
    recipients: int
    """Recipients of each."""
    connection: bool


class Lessee(Protocol):
    """One worker."""

    def granted(self, grant: Grant) -> None:
        """The answer to a request."""

    def held(self, path: int, check: LimitCheck, until: int | None) -> None:
        """A request waits for this limit; `granted` follows."""

    def recalled(self, group: Group, *, others_wait: bool) -> None:
        """Others wait, or wait no longer, for a connection under one of these limits, under which it has some."""


@dataclass(eq=False, slots=True)
class _Waiting:
    lessee: Lessee
    ask: Ask
    number: int
    """The order of asking."""
    check: LimitCheck = field(init=False)
    """The limit that is in the way."""


@dataclass(slots=True)
class _Holder:
    """What one worker has."""

    connections: Counter[Group] = field(default_factory=Counter)
    waiting: dict[int, _Waiting] = field(default_factory=dict)
    """Its requests, by path."""
    recalled: dict[Group, set[str]] = field(default_factory=dict)
    """Limits for which others wait, by what it has."""


class Owner:
    """The limits of one relay."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._holders: dict[Lessee, _Holder] = {}
        self._waiting: dict[str, OrderedDict[int, _Waiting]] = {}
        """By the limit that is in the way, the first that asked first."""
        self._times: list[tuple[int, str]] = []
        """When a rate allows more; a heap."""
        self._until: dict[str, int] = {}
        """The same, by rate."""
        self._groups: dict[str, dict[tuple[Lessee, Group], None]] = {}
        """Who has connections under a limit."""
        self._numbers = itertools.count()

    def join(self, lessee: Lessee) -> None:
        """A worker is up."""
        self._holders[lessee] = _Holder()

    def leave(self, lessee: Lessee, now: int) -> None:
        """A worker has exited: its connections are closed, its permits lapse."""
        holder = self._holders.pop(lessee, None)
        if holder is None:
            return
        freed = [key for group in holder.connections for key in group]
        for group, count in holder.connections.items():
            for key in group:
                self.ledger.give_back(key, count)
                self._without(key, lessee, group)
        for waiting in holder.waiting.values():
            self._drop(waiting)
        for key in [*freed, *(waiting.check.key for waiting in holder.waiting.values())]:
            self._retry(key, now)

    def ask(self, lessee: Lessee, ask: Ask, now: int) -> None:
        """`granted` or `held` is called, also at once. A path has one request at a time: a later one replaces it."""
        self.cancel(lessee, ask.path, now)
        waiting = _Waiting(lessee, ask, next(self._numbers))
        busy = next((check for check, _ in _wanted(ask) if check.key in self._waiting), None)
        if busy is not None:
            self._wait(waiting, busy)  # behind the others
        elif (refused := self._try(waiting, now)) is not None:
            self._wait(waiting, refused.check, refused)

    def cancel(self, lessee: Lessee, path: int, now: int) -> None:
        """The request of a path is not needed any more."""
        waiting = self._holders[lessee].waiting.pop(path, None)
        if waiting is not None:
            self._drop(waiting)
            self._retry(waiting.check.key, now)

    def give_back(self, lessee: Lessee, group: Group, now: int) -> None:
        """A connection was closed that counted under these limits."""
        holder = self._holders[lessee]
        holder.connections[group] -= 1
        for key in group:
            self.ledger.give_back(key)
        if holder.connections[group] <= 0:
            del holder.connections[group]
            holder.recalled.pop(group, None)
            for key in group:
                self._without(key, lessee, group)
        for key in group:
            self._retry(key, now)

    def _without(self, key: str, lessee: Lessee, group: Group) -> None:
        having = self._groups[key]
        del having[lessee, group]
        if not having:
            del self._groups[key]

    @property
    def next_time(self) -> int | None:
        """When `tick` has something to do."""
        return self._times[0][0] if self._times else None

    def tick(self, now: int) -> None:
        """Grant what rates allow by now."""
        while self._times and self._times[0][0] <= now:
            _, key = heapq.heappop(self._times)
            self._until.pop(key, None)
            self._retry(key, now)

    def _retry(self, key: str, now: int) -> None:
        """Try again, in their order, those that wait for this limit."""
        while line := self._waiting.get(key):
            first = next(iter(line.values()))
            refused = self._try(first, now)
            if refused is not None and refused.check.key == key:
                self._wake_at(refused)
                return
            self._drop(first)
            if refused is not None:
                self._wait(first, refused.check, refused)

    def _try(self, waiting: _Waiting, now: int) -> LimitRefused | None:
        """Grant a request, or say what is in the way."""
        ask, holder = waiting.ask, self._holders[waiting.lessee]
        wanted = _wanted(ask)
        start = self.ledger.take(wanted, now)
        if isinstance(start, LimitRefused):
            return start
        permits = [start] if ask.messages else []
        messages = [(check, units) for check, units in wanted if check.kind in _BY_MESSAGE]
        # What others wait for is theirs.
        if ask.messages > 1 and messages and not any(self._others_wait(check.key, waiting) for check, _ in messages):
            ahead = min(LONGEST_AHEAD, *(check.slack for check, _ in messages))
            while len(permits) < min(ask.messages, BATCH):
                more = self.ledger.take(messages, now, ahead)
                if isinstance(more, LimitRefused):
                    break
                permits.append(more)
        holder.waiting.pop(ask.path, None)
        if ask.connection:
            group = ask.group
            holder.connections[group] += 1
            for key in group:
                self._groups.setdefault(key, {})[waiting.lessee, group] = None
                self._recall(key)
        waiting.lessee.granted(Grant(ask.path, tuple(permits), ask.recipients, ask.connection))
        return None

    def _others_wait(self, key: str, waiting: _Waiting) -> bool:
        line = self._waiting.get(key, ())
        return len(line) > (waiting.number in line)

    def _wait(self, waiting: _Waiting, check: LimitCheck, refused: LimitRefused | None = None) -> None:
        """Put a request into the line of a limit, by the order of asking."""
        waiting.check = check
        self._holders[waiting.lessee].waiting[waiting.ask.path] = waiting
        line = self._waiting.setdefault(check.key, OrderedDict())
        behind = [number for number in line if number > waiting.number]
        line[waiting.number] = waiting
        for number in behind:
            line.move_to_end(number)
        if refused is not None:
            self._wake_at(refused)
        self._recall(check.key)
        waiting.lessee.held(waiting.ask.path, check, self._until.get(check.key))

    def _wake_at(self, refused: LimitRefused) -> None:
        key, until = refused.check.key, refused.until
        if until is not None and self._until.get(key) != until:
            self._until[key] = until
            heapq.heappush(self._times, (until, key))

    def _recall(self, key: str) -> None:
        """Tell those who have connections under a limit whether others wait for it: not their own of the same kind."""
        line: Mapping[int, _Waiting] = self._waiting.get(key, {})
        for lessee, group in self._groups.get(key, ()):
            recalled = self._holders[lessee].recalled
            others = any(w.lessee is not lessee or w.ask.group != group for w in line.values())
            keys = recalled.get(group)
            if others and keys is None:
                recalled[group] = {key}
                lessee.recalled(group, others_wait=True)
            elif others and keys is not None:
                keys.add(key)
            elif keys is not None and key in keys:
                keys.discard(key)
                if not keys:
                    del recalled[group]
                    lessee.recalled(group, others_wait=False)

    def _drop(self, waiting: _Waiting) -> None:
        """It does not wait where it did."""
        key = waiting.check.key
        line = self._waiting[key]
        del line[waiting.number]
        if not line:
            del self._waiting[key]
        self._recall(key)


_BY_MESSAGE = (LimitKey.RATE, LimitKey.RECIPIENT_RATE)


def _wanted(ask: Ask) -> list[tuple[LimitCheck, int]]:
    """What the first message of a request needs, with its connection."""
    wanted = []
    for check in ask.checks:
        if check.kind is LimitKey.RATE and ask.messages:
            wanted.append((check, 1))
        elif check.kind is LimitKey.RECIPIENT_RATE and ask.messages:
            wanted.append((check, ask.recipients))
        elif check.kind in (LimitKey.CONNECTIONS, LimitKey.CONNECTION_RATE) and ask.connection:
            wanted.append((check, 1))
    return wanted

"""The store's interface: the only connection between ingress and delivery.

`mailboat.queue.spool` implements it with SQLite, tests use the fake in tests/support/memory_store.py; one contract
suite (tests/contract/test_store.py) runs on both. Methods without `async` never block and are called on the event loop.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mailboat.model.envelope import Body, Draft, Entry, EntryKey, State
from mailboat.queue.waits import Earlier

PAGE_OCTETS = 1 << 20
"""Approximate octets of the entries in a page; a page has at least one entry."""


class StorageError(Exception):
    """Nothing was stored. The message says why, for the log; the client gets 451 4.3.0."""


class StorageFull(StorageError):  # noqa: N818 - the noun that operators know
    """No space, no inodes, or over quota: the client gets 452 4.3.1."""


class QueueInUse(StorageError):  # noqa: N818 - the noun that operators know
    """Another process has this queue open; the message names the lock file."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """The result of one attempt on an entry; one commit records it together with the bounce message (C2)."""

    remaining: Entry | None
    """The remaining entry: fewer recipients, new `attempts`, `next_attempt`, `last_reply`. None: it is done."""
    bounce: Draft | None = None
    """The DSN for recipients that failed permanently."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of entries. Empty fields do not restrict."""

    ids: Collection[str] = ()
    """Entry ids (`ID.n`) or message ids (all entries of it)."""
    domain: str = ""
    sender: str = ""
    state: State | None = None
    tenant: str = ""
    label: str = ""


EVERYTHING = Selection()


class Verb(StrEnum):
    """A change of entries by an operator; the words of the queue API and of the command."""

    FLUSH = "flush"
    HOLD = "hold"
    RELEASE = "release"
    DELETE = "delete"

    @property
    def touches(self) -> Collection[State]:
        """The states whose entries are changed."""
        return _EFFECTS[self][0]

    @property
    def result(self) -> State | None:
        """The new state; active entries are due now. None: they are deleted without bounce messages."""
        return _EFFECTS[self][1]


_EFFECTS: dict[Verb, tuple[Collection[State], State | None]] = {
    Verb.FLUSH: ({State.DEFERRED}, State.ACTIVE),
    Verb.HOLD: ({State.ACTIVE, State.DEFERRED}, State.HELD),
    Verb.RELEASE: ({State.HELD}, State.ACTIVE),
    Verb.DELETE: ({*State}, None),
}


@dataclass(frozen=True, slots=True)
class StateStats:
    """One state's share of the queue."""

    messages: int = 0
    """Entries: a message in two domains counts twice, as the queue listing shows it."""
    size: int = 0
    """Octets of their bodies."""
    oldest: float | None = None
    """When the oldest was queued, seconds since the epoch."""


def total(parts: Sequence[Mapping[State, StateStats]]) -> dict[State, StateStats]:
    """The size of several queues together."""
    return {state: _sum([part[state] for part in parts]) for state in State}


def _sum(parts: Sequence[StateStats]) -> StateStats:
    return StateStats(
        sum(part.messages for part in parts),
        sum(part.size for part in parts),
        min((part.oldest for part in parts if part.oldest is not None), default=None),
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in a stable order, and where to continue."""

    entries: Sequence[Entry]
    next: str | None
    """Opaque: pass it as `after`."""
    octets: int = 0
    """Approximate size of the entries."""


_BATCH_ID = re.compile(r"[0-9a-f]{32}")
_PARTIAL = re.compile(r"/(?:.*/)?\.[^/]+\.([0-9a-f]{32})\.partial", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Batch:
    """An export: the id of its archive, and the path under which the file is written."""

    id: str
    partial: str
    """Absolute, `.NAME.ID.partial`."""

    def __post_init__(self) -> None:
        match = _PARTIAL.fullmatch(self.partial)
        if not _BATCH_ID.fullmatch(self.id) or match is None or match[1] != self.id:
            raise ValueError("an export needs an id of 32 hexadecimal digits and a path that ends with it and .partial")


class Step(StrEnum):
    """The steps of an export for a database, in this order; `RESOLVE` at any time."""

    BEGIN = "begin"
    """Hold the selected entries, after attempts on them have ended."""
    SEAL = "seal"
    """The archive is complete: its file is synced, but not linked to its name yet."""
    KEEP = "keep"
    """The file exists: its entries stay held."""
    REMOVE = "remove"
    """The file exists: delete its entries."""
    RESOLVE = "resolve"
    """The writer of the file has exited: restore the entries, unless the file exists."""


class QueueListener(Protocol):
    """Notifications of the store to the delivery engine, on the event loop, always after the commit."""

    def added(self, entries: Sequence[Entry]) -> None:
        """These are new and due."""

    def withdrawn(self, keys: Collection[EntryKey]) -> None:
        """These were deleted or held: drop them.

        One under way may finish; its record is then ignored, or its remaining entry stays held.
        """

    def under_way(self, keys: Collection[EntryKey]) -> Sequence[asyncio.Future[None]]:
        """Futures of those under way, resolved when their attempts are over and recorded.

        None of these is started again; they were withdrawn before.
        """

    def woken(self) -> None:
        """`next_attempt` of some entries is now: read `due` from the beginning again."""


class Store(Protocol):
    """A durable queue. A future's result means that an fsync has returned; its failure is a `StorageError`."""

    def subscribe(self, listener: QueueListener) -> None:
        """Name the one listener."""

    def reserve_id(self) -> str:
        """A new, unique queue id for `Draft.id`."""

    def new_body_file(self) -> tuple[str, int]:
        """A new file for a `SpooledBody`: its path, and a descriptor to write to. Raises OSError.

        The caller closes it, and removes it unless it becomes part of a draft: from `accept` on the store owns it, even
        if accepting fails. Files left by a crash are removed at the next start.
        """

    def accept(self, draft: Draft) -> asyncio.Future[Sequence[Entry]]:
        """Queue a message (C1). Resolved with its entries after the group commit that holds it."""

    def record(self, entry: Entry, record: AttemptRecord) -> asyncio.Future[None]:
        """Record an attempt (C2). An entry that was deleted or held during the attempt stays so."""

    async def due(self, until: float, limit: int, after: tuple[float, EntryKey] | None = None) -> Sequence[Entry]:
        """Entries with `next_attempt` <= until in order of (`next_attempt`, key), beginning after `after`.

        Held ones are never due. Fewer than `limit`: there are no more.
        """

    async def due_in(self, domain: str, until: float, limit: int) -> Sequence[Entry]:
        """The same for one domain, from its beginning."""

    async def next_due(self, after: float) -> float | None:
        """The earliest `next_attempt` later than `after`; None if nothing waits."""

    async def body(self, entry: Entry) -> Body:
        """The message as queued, octet for octet."""

    async def page(self, selection: Selection, limit: int, after: str | None = None) -> Page:
        """Entries for people to see, oldest first: up to `limit`, and up to about `PAGE_OCTETS`."""

    async def get(self, id: str) -> Sequence[Entry]:  # noqa: A002 - the field's word
        """The entry with this entry id, or the entries of this message id; empty when there is none."""

    async def change(self, verb: Verb, selection: Selection) -> int:
        """Apply a verb to the entries of a selection; the number of changed entries."""

    async def bring_forward(self, since: float, earlier: Earlier) -> int:
        """Reschedule deferred entries with `next_attempt` > since to the time that `earlier` returns, and active ones
        to now.

        For a wall clock that was set back; see `queue.waits`. The number of changed entries.
        """

    def stats(self) -> dict[State, StateStats]:
        """The queue's size by state, without touching the disk."""

    @property
    def pressure(self) -> float:
        """How near the commit queue is to its mark: from 1.0 on, ingress should answer 451 4.3.2."""

    @property
    def fault(self) -> str:
        """Why the last commit or probe failed; empty while storage works."""

    @property
    def stalled(self) -> bool:
        """Whether outcomes wait in memory because storage fails: start no attempts until they are recorded.

        A full disk alone does not stall: there is reserved space for outcomes, and only deliveries free more.
        """

    @property
    def failed(self) -> bool:
        """Whether nothing is committed any more until the process restarts."""

    async def probe(self) -> None:
        """Write and sync a test record; sets or clears `fault`."""

    async def close(self) -> None:
        """Finish running operations, release the lock."""

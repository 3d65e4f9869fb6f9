"""Operations on a database and their results: values exchanged by the event loop and the commit thread.

On the event loop, `spool` makes operations and `completions` resolves their futures; in the commit thread,
`transaction` applies them. The thread never touches a future.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailboat.model.envelope import Entry, EntryKey, State
from mailboat.queue.store import StateStats, StorageError, Verb


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to insert."""

    number: int
    entries: tuple[Entry, ...]
    body: bytes | None = field(repr=False)
    """None: it is in `file`."""
    file: str | None = None
    """Name below `bodies/`; the file is synced, its directory is not yet."""
    head: bytes = field(default=b"", repr=False)
    """The octets before those of `file`."""


@dataclass(frozen=True, slots=True)
class Accept:
    """C1: queue a message."""

    message: NewMessage
    future: asyncio.Future[Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """C2: record an attempt, and the bounce with it."""

    key: EntryKey
    remaining: Entry | None
    bounce: NewMessage | None
    future: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Change:
    """An operator's verb on rows; returns the rows that it changed."""

    verb: Verb
    rows: Sequence[int]
    now: float
    future: asyncio.Future[Sequence[int]]
    named: bool = False
    """Whether the entries were named by their ids."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Hold a damaged row, whatever its state column says."""

    row: int
    reason: str
    """Becomes `last_reply`."""
    future: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Attempt entries at other times; held ones stay held."""

    times: Sequence[tuple[int, float]]
    """Rows, and when."""
    future: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Reserve:
    """Raise the number below which message numbers may be assigned."""

    reserved: int


@dataclass(frozen=True, slots=True)
class WriteProbe:
    """Write a test record."""

    future: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of a change of `transfers`."""

    rows: Sequence[int] = ()
    sizes: Sequence[tuple[int, int | None, int | None]] = ()
    """For each entry: octets, old state and new state; None is outside the queue."""
    refused: str = ""
    """Why nothing was done."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A change of `transfers`; returns the rows."""

    move: Callable[[sqlite3.Connection], Moved]
    future: asyncio.Future[Sequence[int]]
    octets: int
    """Approximate octets that it adds to the database."""


@dataclass(frozen=True, slots=True)
class ChangeTable:
    """A change of a table that holds no mail."""

    change: Callable[[sqlite3.Connection], object]
    future: asyncio.Future[None]


Operation = Accept | RecordAttempt | Change | Quarantine | Reschedule | Reserve | WriteProbe | Transfer | ChangeTable

Stats = dict[State, StateStats]


@dataclass(slots=True)
class Applied:
    """The result of a transaction."""

    stats: Stats
    unannounced: set[int] = field(default_factory=set)
    """Numbers of bounces that were not queued, because their entry had been deleted."""
    changed: dict[int, Sequence[int]] = field(default_factory=dict)
    """By position of the `Change` or `Transfer` among the operations: the rows that it changed."""
    refused: dict[int, str] = field(default_factory=dict)
    """By position of a `Transfer`: why it did nothing."""
    files: list[str] = field(default_factory=list)
    """Body files that nothing refers to any more."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Operations that are durable now."""

    operations: Sequence[Operation]
    applied: Applied
    duration: float
    """Seconds from the beginning of the transaction to the end of its sync."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Operations that failed permanently: nothing of them is stored."""

    operations: Sequence[Operation]
    error: StorageError
    storage: bool = True
    """Whether storage failed, rather than the data to be stored."""


Report = Committed | Refused

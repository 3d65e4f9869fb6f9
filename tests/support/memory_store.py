"""The fake store that tests use: the semantics of the spool without a disk, and faults on demand.

The contract suite (tests/contract/test_store.py) holds it to what the SQLite spool does. What is "committed" is so at
the next turn of the event loop, so that callers cannot mistake a future for a result.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, Entry, EntryKey, SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue import ids
from mailboat.queue.selection import entries_of, fits, names, order
from mailboat.queue.spool import read_place
from mailboat.queue.store import AttemptRecord, Page, QueueListener, Selection, StateStats, StorageError, Verb
from mailboat.queue.waits import Earlier

TAG = "MEM0RY"
_SPOOL = 0


class MemoryStore:
    """A `Store` in memory. Assign `failure` to make storage fail, and None to let it work again."""

    def __init__(self, clock: Clock, observer: Observer | None = None) -> None:
        """`clock` dates what is accepted."""
        self.failure: StorageError | None = None
        """While set, new mail is refused with it, and outcomes wait."""
        self.pressure = 0.0
        """What `Store.pressure` says; assign it."""
        self.fault = ""
        self.failed = False
        """What `Store.failed` says; assign it."""
        self._clock = clock
        self._observer = observer or Observer()
        self._numbers = itertools.count(1)
        self._files = itertools.count(1)
        self._rows: dict[int, Entry] = {}
        self._bodies: dict[int, Body] = {}
        self._listener: QueueListener | None = None
        self._waiting: list[tuple[Entry, AttemptRecord, asyncio.Future[None]]] = []
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False

    def subscribe(self, listener: QueueListener) -> None:
        """Name the one listener."""
        self._listener = listener

    def reserve_id(self) -> str:
        """A fresh queue id."""
        return ids.message_id(TAG, next(self._numbers))

    def new_body_file(self) -> tuple[str, int]:
        """A new file in a temporary directory that goes with `close`."""
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="mailboat-")
        path = Path(self._directory.name, str(next(self._files)))
        return str(path), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def accept(self, draft: Draft) -> asyncio.Future[Sequence[Entry]]:
        """C1. Raises ValueError for a draft that no store takes."""
        future: asyncio.Future[Sequence[Entry]] = asyncio.get_running_loop().create_future()
        try:
            entries = self._entries_of(draft)
        except ValueError:
            _discard(draft.body)
            raise
        self._soon(lambda: self._accept(draft, entries, future))
        return future

    def record(self, entry: Entry, record: AttemptRecord) -> asyncio.Future[None]:
        """C2."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if record.bounce is not None and not record.bounce.recipients and not record.bounce.groups:
            raise ValueError("a message needs a recipient in each of its groups")
        self._soon(lambda: self._settle(entry, record, future))
        return future

    @staticmethod
    def _soon(commit: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(commit)

    def _entries_of(self, draft: Draft) -> tuple[Entry, ...]:
        name = draft.id or self.reserve_id()
        parsed = ids.parse(name)
        if parsed is None or parsed.tag != TAG:
            name = self.reserve_id()
            parsed = ids.parse(name)
        assert parsed is not None
        return entries_of(draft, name, EntryKey(_SPOOL, ids.row_of(parsed.number, 0)), self._clock.now())

    def _accept(self, draft: Draft, entries: tuple[Entry, ...], future: asyncio.Future[Sequence[Entry]]) -> None:
        twice = any(entry.key.row in self._rows for entry in entries)
        error = self._trouble() or (StorageError(f"{entries[0].message.id} is queued already") if twice else None)
        if error is not None:
            _discard(draft.body)
            if not future.done():
                future.set_exception(error)
            return
        self.fault = ""
        self._insert(entries, draft.body)
        self._observer.committed(0.0, 1)
        if not future.done():
            future.set_result(entries)
        if self._listener is not None:
            self._listener.added(entries)

    def _trouble(self) -> StorageError | None:
        error = StorageError("the queue is closed") if self._closed else self.failure
        if error is not None:
            self.fault = str(error)
        return error

    def _insert(self, entries: Sequence[Entry], body: Body) -> None:
        self._rows.update({entry.key.row: entry for entry in entries})
        self._bodies[ids.number_of(entries[0].key.row)] = body

    def _settle(self, entry: Entry, record: AttemptRecord, future: asyncio.Future[None]) -> None:
        if self._closed:
            future.set_exception(StorageError("the queue is closed"))
            return
        if self._trouble() is not None:
            self._waiting.append((entry, record, future))
            return
        bounced: tuple[Entry, ...] = ()
        stored = self._rows.get(entry.key.row)
        if stored is not None:
            if record.bounce is not None:
                bounced = self._entries_of(record.bounce)
                self._insert(bounced, record.bounce.body)
            self._keep(stored, record.remaining)
        elif record.bounce is not None:
            _discard(record.bounce.body)
        self._observer.committed(0.0, 0)
        if not future.done():
            future.set_result(None)
        if bounced and self._listener is not None:
            self._listener.added(bounced)

    def _keep(self, stored: Entry, remaining: Entry | None) -> None:
        if remaining is None:
            self._remove(stored.key.row)
        elif State.HELD in (stored.state, remaining.state):
            self._rows[stored.key.row] = replace(remaining, state=State.HELD, next_attempt=None)
        else:
            self._rows[stored.key.row] = remaining

    def _remove(self, row: int) -> None:
        del self._rows[row]
        number = ids.number_of(row)
        if not any(ids.number_of(other) == number for other in self._rows):
            _discard(self._bodies.pop(number))

    def recover(self) -> None:
        """Storage works again: record the outcomes that waited."""
        self.failure = None
        waiting, self._waiting = self._waiting, []
        for entry, record, future in waiting:
            self._settle(entry, record, future)

    async def due(self, until: float, limit: int, after: tuple[float, EntryKey] | None = None) -> Sequence[Entry]:
        """Entries that are due, in order."""
        return [entry for entry in self._due(until) if after is None or order(entry) > after][:limit]

    async def due_in(self, domain: str, until: float, limit: int) -> Sequence[Entry]:
        """Entries of one domain that are due."""
        return [entry for entry in self._due(until) if entry.domain == domain][:limit]

    async def next_due(self, after: float) -> float | None:
        """The earliest `next_attempt` later than `after`."""
        times = [e.next_attempt for e in self._rows.values() if e.next_attempt is not None]
        return min((time for time in times if time > after), default=None)

    def _due(self, until: float) -> list[Entry]:
        waiting = [e for e in self._rows.values() if e.next_attempt is not None and e.next_attempt <= until]
        return sorted(waiting, key=order)

    async def body(self, entry: Entry) -> Body:
        """The message as queued."""
        body = self._bodies.get(ids.number_of(entry.key.row))
        if body is None:
            raise StorageError(f"the body of {entry.id} is gone")
        return body

    async def page(self, selection: Selection, limit: int, after: str | None = None) -> Page:
        """Entries for people to see. Raises ValueError for an `after` that no page gave."""
        start = 0
        if after is not None:
            _, start = read_place(after)
        found = [entry for entry in self._selected(selection) if entry.key.row > start]
        more = len(found) > limit
        return Page(found[:limit], f"{_SPOOL}:{found[limit - 1].key.row}" if more else None)

    async def get(self, id: str) -> Sequence[Entry]:  # noqa: A002 - the field's word
        """The entries that an id names."""
        return list(self._selected(Selection(ids=(id,))))

    def _selected(self, selection: Selection) -> Iterator[Entry]:
        for _, entry in sorted(self._rows.items()):
            if fits(selection, entry) and (not selection.ids or any(names(id_, entry) for id_ in selection.ids)):
                yield entry

    async def change(self, verb: Verb, selection: Selection) -> int:
        """Do what an operator wants."""
        error = self._trouble()
        if error is not None:
            raise error
        touched = [entry for entry in self._selected(selection) if entry.state in verb.touches]
        for entry in touched:
            if verb.result is None:
                self._remove(entry.key.row)
            else:
                when = self._clock.now() if verb.result is State.ACTIVE else None
                self._rows[entry.key.row] = replace(entry, state=verb.result, next_attempt=when)
        if touched and self._listener is not None:
            if verb.result is State.ACTIVE:
                self._listener.woken()
            else:
                self._listener.withdrawn([entry.key for entry in touched])
        return len(touched)

    async def bring_forward(self, since: float, earlier: Earlier) -> int:
        """Have what waits too long attempted earlier."""
        if (error := self._trouble()) is not None:
            raise error
        now, times = self._clock.now(), dict[int, float]()
        for row, entry in self._rows.items():
            if entry.state is State.ACTIVE and (entry.next_attempt or 0.0) > now:
                times[row] = now
            elif entry.state is State.DEFERRED and entry.next_attempt is not None and entry.next_attempt > since:
                when = earlier(entry.attempts, entry.next_attempt)
                times |= {} if when is None else {row: when}
        for row, when in times.items():
            self._rows[row] = replace(self._rows[row], next_attempt=when)
        if times and self._listener is not None:
            self._listener.woken()
        return len(times)

    def stats(self) -> dict[State, StateStats]:
        """The queue's size by state."""
        return {state: _stats([e for e in self._rows.values() if e.state is state]) for state in State}

    @property
    def stalled(self) -> bool:
        """Whether outcomes wait because storage fails."""
        return bool(self._waiting)

    async def probe(self) -> None:
        """Sets or clears `fault`."""
        if self._trouble() is None:
            self.fault = ""

    async def close(self) -> None:
        """Forget the files. Twice is once."""
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            future.set_exception(StorageError("closed while storage fails"))
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None


def _discard(body: Body) -> None:
    if isinstance(body, SpooledBody):
        Path(body.path).unlink(missing_ok=True)


def _stats(entries: Sequence[Entry]) -> StateStats:
    return StateStats(
        len(entries),
        sum(entry.message.size for entry in entries),
        min((entry.message.queued_at for entry in entries), default=None),
    )

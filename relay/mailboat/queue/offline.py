"""The queue of a stopped relay, for the reading verbs of the `queue` command. Takes no lock, writes nothing.

Also works while a relay runs: SQLite shows the last commit. Called by `cli` only; blocks.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from mailboat.model.envelope import Entry, State
from mailboat.model.sts import StsEntry
from mailboat.queue import queries, schema, sts_table
from mailboat.queue.faults import storage_error
from mailboat.queue.store import PAGE_OCTETS, Selection, StateStats, StorageError, total
from mailboat.queue.transaction import QueueCounters

T = TypeVar("T")

_BATCH = 500


class OfflineQueue:
    """All databases of a queue directory, read-only. Every method raises `StorageError`."""

    def __init__(self, queue_dir: str) -> None:
        """Find the databases."""
        directory = Path(queue_dir).absolute()
        if not directory.is_dir():
            raise StorageError(f"{directory} is not a directory: no relay has run with it yet")
        self._paths = dict(schema.databases(directory))

    def entries(self, selection: Selection) -> Iterator[Entry]:
        """The entries of a selection, oldest first within each database, read as they are asked for."""
        for path, db, place in self._databases():
            yield from _walk(db, place, selection, path)

    def get(self, id: str) -> Sequence[Entry]:  # noqa: A002 - the field's word
        """The entry with this entry id, or the entries of this message id."""
        return list(self.entries(Selection(ids=(id,))))

    def stats(self) -> dict[State, StateStats]:
        """The queue's size by state."""
        return total([_asking(path, partial(QueueCounters.read, db)).stats() for path, db, _ in self._databases()])

    def sts_domains(self) -> set[str]:
        """The domains of which any database remembers an MTA-STS policy."""
        return {domain for path, db, _ in self._databases() for domain in _asking(path, partial(sts_table.domains, db))}

    def sts(self, domain: str) -> StsEntry | None:
        """What is remembered of a domain, by the database that looked last."""
        found = [_asking(path, partial(sts_table.read, db, domain)) for path, db, _ in self._databases()]
        return max((entry for entry in found if entry is not None), key=lambda entry: entry.checked, default=None)

    def _databases(self) -> Iterator[tuple[Path, sqlite3.Connection, queries.DatabaseRef]]:
        """Each in turn, open until the next."""
        for index, path in self._paths.items():
            db = _asking(path, partial(schema.open_beside, path))
            if db is not None:
                with contextlib.closing(db):
                    yield path, db, _asking(path, partial(_identify, db, path, index))


def _asking(path: Path, question: Callable[[], T]) -> T:
    try:
        return question()
    except sqlite3.Error as error:
        raise storage_error(error, str(path)) from error


def _identify(db: sqlite3.Connection, path: Path, index: int) -> queries.DatabaseRef:
    version = schema.version_of(db, str(path))
    if version != len(schema.MIGRATIONS):
        raise StorageError(f"{path} has format version {version}, this release reads {len(schema.MIGRATIONS)}")
    return queries.DatabaseRef(index, schema.read_tag(db))


def _walk(db: sqlite3.Connection, place: queries.DatabaseRef, selection: Selection, path: Path) -> Iterator[Entry]:
    after, more = 0, True
    while more:
        step = partial(queries.select, db, place, selection, after, _BATCH, PAGE_OCTETS)
        shown, after = _asking(path, step)
        yield from shown.entries
        more = bool(after)

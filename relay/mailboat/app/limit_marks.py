"""Stores how far rates are used up, so that after a restart nothing leaves early, and what rules from replies have put
into force: `state.sqlite` beside the queues.

Written by the owner of limits alone, in a thread. Losing the file loses memory of rates and overrides, never mail.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from mailboat.queue.lock import private_files
from mailboat.shaping.ledger import Mark, restored
from mailboat.shaping.overrides import Override, packed, unpacked

log = logging.getLogger(__name__)

NAME = "state.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rate (key TEXT PRIMARY KEY, until INTEGER NOT NULL, longest INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS override (id TEXT PRIMARY KEY, scope TEXT NOT NULL, part TEXT NOT NULL, source TEXT NOT NULL,
    kind TEXT NOT NULL, why TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL, until REAL NOT NULL,
    step INTEGER NOT NULL, matches INTEGER NOT NULL) STRICT;
"""


class LimitMarks:
    """The table of one relay. Its methods block."""

    def __init__(self, queue_dir: str) -> None:
        self._path = Path(queue_dir) / NAME
        self._db: sqlite3.Connection | None = None

    def load(self) -> dict[str, int]:
        """Until when rates may be used up, in nanoseconds of the monotonic clock; empty if the file cannot be read."""
        try:
            db = self._open()
            stored = {k: Mark(m, longest) for k, m, longest in db.execute("SELECT key, until, longest FROM rate")}
            marks = restored(stored, time.time_ns(), time.monotonic_ns())
            with db:
                db.executemany("DELETE FROM rate WHERE key = ?", [(key,) for key in stored if key not in marks])
        except (OSError, sqlite3.Error) as error:
            log.error("%s cannot be read, so limits begin anew: %s", self._path, error)  # noqa: TRY400
            return {}
        return marks

    def save(self, marks: Mapping[str, Mark]) -> None:
        """Store marks durably. Raises OSError or sqlite3.Error."""
        offset = time.time_ns() - time.monotonic_ns()
        with self._open() as db:
            db.executemany(
                "INSERT OR REPLACE INTO rate VALUES (?, ?, ?)",
                [(key, mark.until + offset, mark.longest) for key, mark in marks.items()],
            )

    def overrides(self) -> list[Override]:
        """What was in force; empty if there is no file, or it cannot be read."""
        if not self._path.exists():
            return []
        try:
            return [unpacked(list(row)) for row in self._open().execute("SELECT * FROM override")]
        except (OSError, sqlite3.Error) as error:
            log.error("%s cannot be read, so no rule acts any more: %s", self._path, error)  # noqa: TRY400
            return []

    def save_overrides(self, overrides: Mapping[str, Override | None]) -> None:
        """Store some by id, or without one that it is over. Raises OSError or sqlite3.Error."""
        with self._open() as db:
            for id_, one in overrides.items():
                if one is None:
                    db.execute("DELETE FROM override WHERE id = ?", (id_,))
                else:
                    db.execute("INSERT OR REPLACE INTO override VALUES (?,?,?,?,?,?,?,?,?,?,?)", packed(one))

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            private_files(self._path)
            db = sqlite3.connect(self._path, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(_SCHEMA)
            self._db = db
        return self._db

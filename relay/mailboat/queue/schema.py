"""The format of the queue database: its tables, its version, and the migrations.

One connection writes, a few read; `connect` and `open_writer` make them. Knows nothing of messages in flight.
Called by `spool`, by `offline`, and by `commit` when it opens the database again after an error.

A row of `entry` says all that scheduling needs; `message` holds what entries share; bodies have their own table, so
that walking the queue never reads them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailboat.queue import ids
from mailboat.queue.faults import storage_error
from mailboat.queue.store import StorageError

log = logging.getLogger(__name__)

APPLICATION_ID = 0x4D424F54
"""`MBOT` in the header of the file identifies a Mailboat database."""
OLDEST_SQLITE = (3, 35, 0)
"""RETURNING came with it."""
PAGE = 4096
"""Octets of a page. With twice the size, half a page stays empty after a body of 4 KiB, for little gain with large
ones."""
BLOCK = 1 << 16
"""Message numbers that one write reserves."""

_DATABASE = re.compile(r"queue-(\d{1,6})\.db")

Connect = Callable[[str], sqlite3.Connection]
Step = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of an opened database."""

    tag: str
    """The first part of its ids."""
    first: int
    """The first message number that is not used yet."""
    reserved: int
    """Numbers below this one may be assigned without a write."""


_VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE tally (state INTEGER PRIMARY KEY, entries INTEGER NOT NULL, octets INTEGER NOT NULL);
INSERT INTO tally VALUES (0, 0, 0), (1, 0, 0), (2, 0, 0);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, sender_local TEXT NOT NULL, sender_domain TEXT NOT NULL, sender_ascii TEXT NOT NULL,
    queued_at REAL NOT NULL, size INTEGER NOT NULL, flags INTEGER NOT NULL, notes TEXT, file TEXT
);
CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY, domain TEXT NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL,
    next_attempt REAL, recipients TEXT NOT NULL, last_reply TEXT NOT NULL, last_mx TEXT NOT NULL, size INTEGER NOT NULL
);
CREATE INDEX entry_due ON entry (next_attempt) WHERE next_attempt IS NOT NULL;
CREATE INDEX entry_active ON entry (domain, next_attempt) WHERE state = 0;
CREATE INDEX entry_deferred ON entry (domain, next_attempt) WHERE state = 1;
CREATE INDEX entry_state ON entry (state);
CREATE VIEW listing AS
    SELECT e.id, e.domain, e.state, e.attempts, e.next_attempt, e.recipients, e.last_reply, e.last_mx,
        m.sender_local, m.sender_domain, m.sender_ascii, m.queued_at, m.size, m.flags, m.notes
    FROM entry AS e LEFT JOIN message AS m ON m.id = e.id >> 20
"""
# An index ends with the row id by itself: ties of `next_attempt` have a stable order, the oldest of a state is first.
# Two indexes by domain: new mail for many domains would dirty a page each in one that a long queue has made large.


def _create(connection: sqlite3.Connection) -> None:
    # One by one: `executescript` would commit the transaction that the step is in.
    for statement in _VERSION_1.split(";"):
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("tag", ids.tag_from(secrets.token_bytes(8))), ("reserved", 1), ("probe", 0)],
    )


_VERSION_2 = """
ALTER TABLE entry ADD COLUMN noted TEXT;
DROP VIEW listing;
CREATE VIEW listing AS
    SELECT e.id, e.domain, e.state, e.attempts, e.next_attempt, e.recipients, e.last_reply, e.last_mx, e.noted,
        m.sender_local, m.sender_domain, m.sender_ascii, m.queued_at, m.size, m.flags, m.notes
    FROM entry AS e LEFT JOIN message AS m ON m.id = e.id >> 20
"""


def _add_what_hooks_note(connection: sqlite3.Connection) -> None:
    """Rows stay as they are: SQLite reads the new column of an old row as NULL, however long the queue is."""
    for statement in _VERSION_2.split(";"):
        connection.execute(statement)


_VERSION_3 = """
ALTER TABLE entry ADD COLUMN held_reason TEXT;
ALTER TABLE message ADD COLUMN origin TEXT;
CREATE INDEX message_origin ON message (origin) WHERE origin IS NOT NULL;
CREATE TABLE transfer (
    entry INTEGER PRIMARY KEY, batch TEXT NOT NULL, state INTEGER NOT NULL, next_attempt REAL,
    earlier TEXT, taken_by TEXT
);
CREATE INDEX transfer_batch ON transfer (batch, entry);
CREATE INDEX transfer_taken_by ON transfer (taken_by, entry) WHERE taken_by IS NOT NULL;
CREATE TABLE outbox (
    batch TEXT PRIMARY KEY, target TEXT NOT NULL, address TEXT NOT NULL, offered_at REAL NOT NULL,
    state INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE inbox (
    source TEXT NOT NULL, batch TEXT NOT NULL, state INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (source, batch)
) WITHOUT ROWID;
DROP VIEW listing;
CREATE VIEW listing AS
    SELECT e.id, e.domain, e.state, e.attempts, e.next_attempt, e.recipients, e.last_reply, e.last_mx, e.noted,
        e.held_reason, m.sender_local, m.sender_domain, m.sender_ascii, m.queued_at, m.size, m.flags, m.notes, m.origin
    FROM entry AS e LEFT JOIN message AS m ON m.id = e.id >> 20
"""
# `transfers` describes the tables.


def _add_transfers(connection: sqlite3.Connection) -> None:
    """Rows stay as they are; the index holds messages that came from elsewhere, of which there are none yet."""
    for statement in _VERSION_3.split(";"):
        connection.execute(statement)


_VERSION_4 = """
ALTER TABLE entry ADD COLUMN parameters TEXT;
ALTER TABLE message ADD COLUMN parameters TEXT;
ALTER TABLE message ADD COLUMN tenant TEXT;
ALTER TABLE message ADD COLUMN labels TEXT;
DROP VIEW listing;
CREATE VIEW listing AS
    SELECT e.id, e.domain, e.state, e.attempts, e.next_attempt, e.recipients, e.last_reply, e.last_mx, e.noted,
        e.held_reason, e.parameters AS said, m.sender_local, m.sender_domain, m.sender_ascii, m.queued_at, m.size,
        m.flags, m.notes, m.origin, m.parameters, m.tenant, m.labels
    FROM entry AS e LEFT JOIN message AS m ON m.id = e.id >> 20
"""


def _add_parameters(connection: sqlite3.Connection) -> None:
    """Rows stay as they are."""
    for statement in _VERSION_4.split(";"):
        connection.execute(statement)


def _allow_heads_of_files(_: sqlite3.Connection) -> None:
    """From here on `body` may also hold the first octets of a body in a file, which earlier releases would read as
    the whole body."""


_VERSION_6 = """
CREATE TABLE sts (
    domain TEXT PRIMARY KEY, id TEXT NOT NULL, mode TEXT, max_age INTEGER NOT NULL, mx TEXT NOT NULL,
    fetched REAL NOT NULL, expires REAL NOT NULL, checked REAL NOT NULL, tried_id TEXT NOT NULL,
    tried_at REAL NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE tls_count (
    day INTEGER NOT NULL, domain TEXT NOT NULL, policy TEXT NOT NULL, failure TEXT NOT NULL, sessions INTEGER NOT NULL,
    PRIMARY KEY (day, domain, policy, failure)
) WITHOUT ROWID;
CREATE TABLE tls_report (
    day INTEGER NOT NULL, domain TEXT NOT NULL, address TEXT NOT NULL, state TEXT NOT NULL, since REAL NOT NULL,
    tried_at REAL NOT NULL, PRIMARY KEY (day, domain, address)
) WITHOUT ROWID
"""
# `sts_table` reads and writes the first; its columns are the fields of `model.sts.StsEntry`. `tlsrpt_table` reads and
# writes the others.


def _add_tables_of_tls(connection: sqlite3.Connection) -> None:
    for statement in _VERSION_6.split(";"):
        connection.execute(statement)


_VERSION_7 = """
ALTER TABLE entry ADD COLUMN reports TEXT;
DROP VIEW listing;
CREATE VIEW listing AS
    SELECT e.id, e.domain, e.state, e.attempts, e.next_attempt, e.recipients, e.last_reply, e.last_mx, e.noted,
        e.held_reason, e.parameters AS said, e.reports, m.sender_local, m.sender_domain, m.sender_ascii, m.queued_at,
        m.size, m.flags, m.notes, m.origin, m.parameters, m.tenant, m.labels
    FROM entry AS e LEFT JOIN message AS m ON m.id = e.id >> 20
"""


def _add_reports(connection: sqlite3.Connection) -> None:
    """Rows stay as they are."""
    for statement in _VERSION_7.split(";"):
        connection.execute(statement)


MIGRATIONS: tuple[Step, ...] = (
    _create,
    _add_what_hooks_note,
    _add_transfers,
    _add_parameters,
    _allow_heads_of_files,
    _add_tables_of_tls,
    _add_reports,
)
"""Step i makes version i + 1 of version i; an empty file is version 0."""


def connect(path: str) -> sqlite3.Connection:
    """A connection without implicit transactions. Its owner uses it from one thread at a time."""
    return sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=256)


def open_writer(path: str, connecting: Connect = connect) -> sqlite3.Connection:
    """The connection that commits. Raises sqlite3.Error."""
    connection = connecting(path)
    try:
        # Has an effect only when the file is created. A pragma takes no parameters; it is an integer of ours.
        connection.execute(f"PRAGMA page_size = {PAGE:d}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"the file system cannot hold a write-ahead log (journal mode {mode})")
        for setting in (
            "PRAGMA synchronous = FULL",  # each COMMIT returns after the fsync of the log: promise 1
            "PRAGMA wal_autocheckpoint = 0",  # done by `commit`, after its reports
            "PRAGMA journal_size_limit = 67108864",
            "PRAGMA secure_delete = OFF",
            "PRAGMA cache_size = -32768",
            "PRAGMA temp_store = MEMORY",
            "PRAGMA trusted_schema = OFF",
        ):
            connection.execute(setting)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_reader(path: str, connecting: Connect = connect) -> sqlite3.Connection:
    """A connection that never writes. Raises sqlite3.Error."""
    connection = connecting(path)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -8192")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_beside(path: Path) -> sqlite3.Connection | None:
    """A read-only connection while another process has the database open. Raises sqlite3.Error.

    None if it was removed, which its owner does with an empty spare one.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.ExitStack() as stack:
            connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)
            stack.callback(connection.close)
            connection.execute("PRAGMA query_only = ON")
            # Opens its log too: from here on it can be read, removed or not.
            connection.execute("PRAGMA user_version")
            stack.pop_all()
            return connection
    except sqlite3.Error:
        # If some of its files are already removed, SQLite reports an I/O error.
        if path.exists():
            raise
        return None


def databases(queue_dir: Path) -> list[tuple[int, Path]]:
    """Number and path of all databases in a queue directory, ascending. Raises `StorageError`."""
    try:
        names = [path.name for path in queue_dir.iterdir()]
    except OSError as error:
        raise StorageError(f"{queue_dir}: {error.strerror}") from error
    return sorted((int(match[1]), queue_dir / name) for name in names if (match := _DATABASE.fullmatch(name)))


def prepare(path: str, connecting: Connect = connect, migrations: Sequence[Step] = MIGRATIONS) -> Identity:
    """Create the database or migrate it to this release's version, and reserve numbers. Raises `StorageError`."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
    try:
        connection = open_writer(path, connecting)
        try:
            _migrate(connection, path, migrations)
            _compact(connection, path)
            return _reserve(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise storage_error(error, path) from error


def version_of(connection: sqlite3.Connection, path: str) -> int:
    """The format version of a database of ours, 0 for a new one. Raises `StorageError` for another database."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (application or version or tables):
        raise StorageError(
            f"{path} is an SQLite database, but not a Mailboat queue: move it out of the queue directory"
        )
    return version


def _migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[Step]) -> None:
    version = version_of(connection, path)
    if version > len(migrations):
        raise StorageError(
            f"{path} has format version {version} and this release knows {len(migrations)}: it was written by a newer"
            " Mailboat; run that one"
        )
    for number, step in enumerate(migrations[version:], version + 1):
        if version:
            log.info("migrating %s to format version %d", path, number)
        # In one transaction: a crash leaves the previous version, never half of a step.
        connection.execute("BEGIN IMMEDIATE")
        step(connection)
        # A pragma takes no parameters; both are integers of ours.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {number:d}")
        connection.execute("COMMIT")


def _compact(connection: sqlite3.Connection, path: str) -> None:
    """Shrink the file after a large backlog was delivered: fast, because little is left to copy."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if pages > 1 << 15 and pages - free < pages // 16:
        log.info("shrinking %s: %d of %d pages are free", path, free, pages)
        connection.execute("VACUUM")


def _reserve(connection: sqlite3.Connection, path: str) -> Identity:
    tag = str(connection.execute("SELECT value FROM meta WHERE key = 'tag'").fetchone()[0])
    first = connection.execute("SELECT value FROM meta WHERE key = 'reserved'").fetchone()[0]
    if not isinstance(first, int) or first < 1:
        # A number must not be assigned to two messages.
        raise StorageError(f"{path} is damaged: the mark of the next message numbers is {first!r:.40}")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'reserved'", (first + BLOCK,))
    return Identity(tag, first, first + BLOCK)


def read_tag(connection: sqlite3.Connection) -> str:
    """The first part of the ids of this database."""
    return str(connection.execute("SELECT value FROM meta WHERE key = 'tag'").fetchone()[0])


def database_files(path: Path) -> tuple[Path, ...]:
    """All files of a closed database."""
    return (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"))

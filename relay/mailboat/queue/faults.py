"""Classifies errors of storage: the one place that distinguishes a full disk from a broken one.

Called wherever the queue uses storage; returns a `StorageError` whose text names the file and the remedy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from mailboat.queue.store import StorageError, StorageFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_STORAGE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
        *_DAMAGED,
    }
)


def _primary_code(error: sqlite3.Error) -> int:
    # Errors raised by the module `sqlite3` itself have no code.
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF


def is_storage_trouble(error: BaseException) -> bool:
    """Whether storage failed, rather than the data to be stored."""
    if isinstance(error, sqlite3.Error):
        return _primary_code(error) in _STORAGE
    return isinstance(error, OSError | StorageError)


def storage_error(error: BaseException, path: str) -> StorageError:
    """The error that callers of the store get for this one."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, OSError):
        kind = StorageFull if error.errno in _FULL else StorageError
        return kind(f"{error.filename or path}: {error.strerror or error}")
    if not isinstance(error, sqlite3.Error):
        return StorageError(f"{path}: {type(error).__name__}: {error}")
    code = _primary_code(error)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room_beside(path)):
        return StorageFull(f"{path}: no space left ({error})")
    if code in _DAMAGED:
        return StorageError(
            f"{path} is damaged ({error}): stop the relay and move the file away with its -wal and -shm;"
            f" `sqlite3 {path} .recover` can save what is readable"
        )
    return StorageError(f"{path}: {error}")


def _no_room_beside(path: str) -> bool:
    """SQLite reports an exceeded quota, and a full disk detected at the sync, as I/O errors: a trial write finds
    out."""
    trial = f"{path}-trial"
    try:
        descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"\0" * 65536)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno in _FULL
    else:
        return False
    finally:
        with contextlib.suppress(OSError):
            Path(trial).unlink()


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds the queue."""

    size: int
    """Octets in all."""
    free: int
    """Octets that this user can still write."""

    @classmethod
    def of(cls, directory: str) -> Disk:
        """As it is now. Raises OSError."""
        now = os.statvfs(directory)
        return cls(now.f_blocks * now.f_frsize, now.f_bavail * now.f_frsize)


LOG_LIMIT = 32 << 20


@dataclass(frozen=True, slots=True)
class DiskReserve:
    """The free space reserved for recording outcomes: a queue that filled its own disk must be able to drain."""

    directory: str
    log_limit: int
    """Octets of the write-ahead log at which it is checkpointed."""
    reserve: int
    """Octets that new mail leaves free: the size of the log, and the growth of the database at its checkpoint."""

    @classmethod
    def of(cls, directory: str) -> DiskReserve:
        """The limits for the file system that holds a directory; lower on a small one."""
        total = os.statvfs(directory)
        log_limit = max(1 << 18, min(LOG_LIMIT, total.f_blocks * total.f_frsize // 64))
        return cls(directory, log_limit, 4 * log_limit)

    def shortage(self, wanted: int, spare: int = 0) -> StorageFull | None:
        """Why this many octets of new mail may not be stored, or None. Raises OSError.

        `spare`: free octets within the database.
        """
        now = os.statvfs(self.directory)
        # Once for the log and once for the database.
        half = wanted + self.reserve // 2
        if now.f_bavail * now.f_frsize < half + max(0, half - spare):
            return StorageFull(f"{self.directory}: new mail would leave less than {self.reserve} octets free")
        if now.f_files and not now.f_favail:
            return StorageFull(f"{self.directory}: no inodes left")
        return None

    def is_tight(self) -> bool:
        """Whether new mail will soon be refused. A file system that does not report its space counts as empty."""
        with contextlib.suppress(OSError):
            return Disk.of(self.directory).free < 2 * self.reserve
        return False

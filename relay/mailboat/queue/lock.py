"""One owner for each queue database: an open-file-description lock that is checked to work, and durable directories.

Called by `spool` before it opens anything. Such a lock belongs to the open file, not to the process: it ends with its
last descriptor, also at kill -9, and no other close in this process releases it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

from mailboat.queue.store import QueueInUse, StorageError

# struct flock of 64-bit Linux: type, whence, start, length (0: all of it), pid (must be 0).
_WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


class Lock:
    """A held lock; `release` or the end of the process releases it."""

    def __init__(self, path: Path) -> None:
        """Create a file and lock it. Raises `QueueInUse`, or `StorageError` where locks do not work."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        try:
            if not _try(self._descriptor, path):
                raise QueueInUse(f"{path} is locked: another relay runs on this queue directory")
            self._check()
        except StorageError:
            os.close(self._descriptor)
            raise

    def _check(self) -> None:
        """A second open file must be refused: some network file systems grant every lock."""
        second = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if _try(second, self.path):
                raise StorageError(
                    f"{self.path.parent}: locks do not work on this file system"
                    f" ({file_system_of(self.path.parent)}): use a local one for queue_dir"
                )
        finally:
            os.close(second)

    def release(self) -> None:
        """Release the lock. The file stays: if it were removed, two owners could lock different files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _try(descriptor: int, path: Path) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise StorageError(
            f"{path}: this file system ({file_system_of(path.parent)}) has no locks ({error.strerror}):"
            " use a local one for queue_dir"
        ) from error
    return True


def file_system_of(directory: Path) -> str:
    """The type of the file system that holds a directory, such as `ext4` or `nfs4`; else `unknown`."""
    found, kind = "", "unknown"
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
        place = str(directory.resolve())
    except OSError:
        return kind
    for mount in mounts:
        # Blanks in a mount point are written as octal escapes (fstab(5)).
        point, type_ = mount.split(" ")[1:3]
        point = point.replace("\\040", " ")
        if len(point) >= len(found) and (place + "/").startswith(point.rstrip("/") + "/"):
            found, kind = point, type_
    return kind


def make_directory(directory: Path) -> None:
    """Make a directory and its parents, durable, and accessible to this user only. Raises `StorageError`."""
    missing = [directory, *directory.parents]
    missing = [path for path in missing if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(path.parent)
        if directory.is_dir():
            _keep_private(directory)
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    if not directory.is_dir():
        raise StorageError(f"{directory} is not a directory")


def private_files(database: Path) -> None:
    """Make a database's file, accessible to this user only; SQLite's other files get the same mode. Raises OSError."""
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for path in (database, *(database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))):
        _keep_private(path)


def _keep_private(path: Path) -> None:
    """Remove the rights of group and others.

    A directory of another user, such as the root of a mounted volume, stays as it is; so does a shared one, such as
    /tmp: the files in it are private anyway.
    """
    with suppress(FileNotFoundError):
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 and not mode & stat.S_ISVTX and status.st_uid == os.geteuid():
            path.chmod(mode & 0o700)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

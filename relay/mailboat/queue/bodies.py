"""Bodies outside the database: files of large ones, and a bounded cache of recent small ones.

A file is written in `incoming/`, synced, moved to `bodies/`, and only then named by a row; it is removed after the row.
So a crash can leave files without rows, never rows without files; `sweep` removes such files. Names begin with the
number of the database, so that no database removes files of another. Used by `spool` and `commit`.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mailboat.model.envelope import Body, SpooledBody
from mailboat.queue.lock import make_directory, sync_directory

log = logging.getLogger(__name__)

CACHE_OCTETS = 64 << 20
CACHE_SECONDS = 60.0
"""Seconds without an attempt after which a body is evicted for newer ones."""


class BodyFiles:
    """The body files of one database."""

    def __init__(self, queue_dir: Path, spool: int, run: int) -> None:
        """`run` differs at each opening of this database: it distinguishes our files from those of a dead process."""
        self._incoming = queue_dir / "incoming"
        self._bodies = queue_dir / "bodies"
        self._owner = f"{spool}-"
        self._prefix = f"{spool}-{run}-"
        self._first = run
        self._counter = itertools.count(1)

    def prepare(self) -> None:
        """Make the directories. Raises `StorageError`."""
        make_directory(self._incoming)
        make_directory(self._bodies)

    def create(self) -> tuple[str, int]:
        """A new file for a body: path and writable descriptor. Raises OSError."""
        path = self._incoming / f"{self._prefix}{next(self._counter)}"
        return str(path), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def check(self, body: SpooledBody) -> None:
        """Refuse a file that `create` did not make. Raises ValueError."""
        if not self._is_new(body):
            raise ValueError(f"{body.path} is not a new body file of this queue")

    def discard(self, body: Body) -> None:
        """Remove the new file of a body that will not be stored; never that of another message."""
        if isinstance(body, SpooledBody) and self._is_new(body):
            remove(Path(body.path))

    def _is_new(self, body: SpooledBody) -> bool:
        return Path(body.path).parent == self._incoming

    def secure(self, body: SpooledBody, number: int) -> str:
        """Sync a file and move it to its place; its new name. Raises OSError. `sync` syncs the directory."""
        descriptor = os.open(body.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        name = f"{self._owner}{number}"
        Path(body.path).rename(self._bodies / name)
        return name

    def sync(self) -> None:
        """Make the names of the bodies durable: before the rows that name them. Raises OSError."""
        sync_directory(self._bodies)

    def path_of(self, name: str) -> Path:
        """Where the body of this name is."""
        return self._bodies / name

    @staticmethod
    def path_in(queue_dir: Path, name: str) -> Path:
        """The same for readers without a `BodyFiles`."""
        return queue_dir / "bodies" / name

    def remove(self, names: Iterable[str]) -> None:
        """Remove bodies that no row names; missing files are ignored."""
        for name in names:
            remove(self._bodies / name)

    def sweep(self, named: Callable[[Sequence[int]], set[int]]) -> int:
        """Remove files left by a crash; how many. `named` returns which of these message numbers have a file.

        Safe during traffic: it considers only files from before this opening.
        """
        removed = 0
        for path in _files(self._incoming, self._owner):
            if not path.name.startswith(self._prefix):
                removed += remove(path)
        numbers = [
            int(number)
            for path in _files(self._bodies, self._owner)
            if (number := path.name.removeprefix(self._owner)).isdecimal() and int(number) < self._first
        ]
        for start in range(0, len(numbers), 1000):
            some = numbers[start : start + 1000]
            orphans = set(some) - named(some)
            removed += sum(remove(self._bodies / f"{self._owner}{orphan}") for orphan in orphans)
        return removed


def new_upload(queue_dir: Path) -> tuple[Path, int]:
    """A new file for an uploaded archive: path and descriptor. Raises OSError.

    A file left by a crash is removed when database 0 is opened, like other files from before the opening.
    """
    path = queue_dir / "incoming" / f"0-archive-{secrets.token_hex(8)}"
    return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _files(directory: Path, prefix: str) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.name.startswith(prefix)]
    except OSError as error:
        log.warning("%s: %s", directory, error.strerror)
        return []


def remove(path: Path) -> bool:
    """Remove a file; False when it was not there or cannot be removed, which is logged."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, error.strerror)
        return False
    return True


class BodyCache:
    """Bodies of messages just accepted, by number, so that a first delivery reads nothing.

    When full, new bodies are not cached, because those that wait longest are needed next. Only bodies that have waited
    very long, for a destination that does not accept mail, are evicted.
    """

    def __init__(self, capacity: int = CACHE_OCTETS) -> None:
        """`capacity` in octets."""
        self._capacity = capacity
        self._octets = 0
        self._held: dict[int, tuple[bytes, float]] = {}
        self._uses: dict[int, int] = {}
        """Entries not attempted yet, if a message has several."""

    def put(self, number: int, body: bytes, uses: int, now: float) -> None:
        """Keep a body until each of its entries has been attempted once."""
        while self._held and self._octets + len(body) > self._capacity:
            oldest, (_, since) = next(iter(self._held.items()))
            if now - since < CACHE_SECONDS:
                return
            self.drop(oldest)
        if len(body) <= self._capacity:
            self._held[number] = (body, now)
            self._octets += len(body)
            if uses > 1:
                self._uses[number] = uses

    def get(self, number: int) -> bytes | None:
        """The body, if it is kept."""
        held = self._held.get(number)
        return held[0] if held else None

    def used(self, number: int) -> None:
        """An entry of this message was attempted."""
        if number in self._uses:
            self._uses[number] -= 1
            if self._uses[number]:
                return
        self.drop(number)

    def drop(self, number: int) -> None:
        """Forget a body."""
        held = self._held.pop(number, None)
        if held is not None:
            self._octets -= len(held[0])
            self._uses.pop(number, None)

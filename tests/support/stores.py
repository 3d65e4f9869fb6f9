"""What tests of stores need: drafts, a listener with a memory, and disks that fail when told to."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.envelope import Body, Draft, Entry, EntryKey
from mailboat.model.observer import Observer
from mailboat.queue.faults import DiskReserve
from mailboat.queue.spool import Tuning
from mailboat.queue.store import StorageFull

BODY = b"Subject: hello\r\n\r\nGood day.\r\n"
PATIENCE = 20.0
"""Seconds after which a test that waits has failed."""


def address(text: str) -> Address:
    """An address from its text; empty is the null sender."""
    if not text:
        return NULL_SENDER
    local, _, domain = text.rpartition("@")
    return Address(local, domain, domain.lower())


def draft(*recipients: str, sender: str = "alice@sender.test", body: Body = BODY, **facts: Any) -> Draft:
    """A message to somebody."""
    to = [address(text) for text in recipients or ("bob@there.test",)]
    return Draft(address(sender), to, body, **facts)


class Listener:
    """Remembers what a store says; `heard` is set at each word."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.gone: list[EntryKey] = []
        self.wakes = 0
        self.attempts: dict[EntryKey, asyncio.Future[None]] = {}
        """What a test says is being attempted."""
        self.heard = asyncio.Event()

    def added(self, entries: Sequence[Entry]) -> None:
        self.entries += entries
        self.heard.set()

    def withdrawn(self, keys: Collection[EntryKey]) -> None:
        self.gone += keys
        self.heard.set()

    def under_way(self, keys: Collection[EntryKey]) -> Sequence[asyncio.Future[None]]:
        return [self.attempts[key] for key in keys if key in self.attempts]

    def woken(self) -> None:
        self.wakes += 1
        self.heard.set()


class Commits(Observer):
    """Remembers the size of each group commit."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def committed(self, duration: float, messages: int) -> None:
        assert duration >= 0
        self.sizes.append(messages)


def sqlite_error(code: int, text: str) -> sqlite3.OperationalError:
    """An error as SQLite's own."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class Disk:
    """Stands between the spool and SQLite: commits fail while `failure` is set."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.when: Callable[[str], bool] = lambda statement: statement == "COMMIT"
        """Which statements fail."""
        self.failed = 0
        self.free = 1 << 40
        """Octets that the file system says are free."""

    def connect(self, path: str) -> sqlite3.Connection:
        """For `Tuning.connect`."""
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                if disk.failure is not None and disk.when(sql):
                    disk.failed += 1
                    raise disk.failure
                return super().execute(sql, parameters)

        return sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False, factory=Connection)

    def tuning(self, **changes: Any) -> Tuning:
        """What a spool is opened with, to be on this disk."""
        disk = self

        class Measured(DiskReserve):
            def shortage(self, wanted: int, spare: int = 0) -> StorageFull | None:
                return disk.shortage(self.directory, wanted)

        return Tuning(**{"connect": self.connect, "reserve": lambda path: Measured(path, 1 << 20, 1 << 20)} | changes)

    def shortage(self, directory: str, wanted: int) -> StorageFull | None:
        """For `DiskReserve.shortage`."""
        return StorageFull(f"{directory}: {self.free} octets free") if self.free < wanted + (1 << 20) else None


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that a thread brings about and tells nobody."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "waited too long"
        await asyncio.sleep(0.002)


def files_in(directory: Path) -> list[str]:
    """Names in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())

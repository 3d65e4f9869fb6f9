"""Checks once a second whether disk and memory have room, and whether storage works again.

Ingress reads the answer in `Load`."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from mailboat.ingress.admission import Load
from mailboat.loading.memory import memory_limit
from mailboat.queue.faults import Disk, DiskReserve
from mailboat.queue.store import Store

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds."""
MEMORY_MARK = 0.8
"""Share of the memory limit above which no new mail is accepted."""

STRANGERS_SHARE = 0.25
"""Share of the memory limit for clients that may not relay."""
STRANGER_MEMORY = 2**20
"""Most octets of memory that one client can use: inside TLS, with as much pipelined input as is read before a reply."""


class Watch:
    """Keeps one worker's `Load` up to date."""

    def __init__(self, load: Load, store: Store, queue_dir: str, workers: int) -> None:
        """`workers` share the machine's memory."""
        self._load = load
        self._store = store
        self._queue_dir = queue_dir
        memory = memory_limit() / workers
        self._memory_mark = memory * MEMORY_MARK
        load.room_for_strangers = max(1, int(memory * STRANGERS_SHARE / STRANGER_MEMORY))
        self.recovered: Callable[[], None] = lambda: None
        """Called when storage works again."""
        self.failed: Callable[[], None] = lambda: None
        """Called when storage will not work again in this process."""

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.look()
            except Exception:  # the next check may succeed
                log.exception("checking disk and memory failed")

    async def look(self) -> None:
        """Check once."""
        if self._store.failed:
            self.failed()
        memory_full = memory_in_use() > self._memory_mark
        if self._load.memory_full != memory_full:
            self._load.memory_full = memory_full
            _log_change("memory is nearly full", memory_full)
        scarce, fault = disk_is_full(self._queue_dir), self._store.fault
        if scarce or fault:
            # Ask the store: deliveries may have freed space within its files.
            await self._store.probe()
        disk_full = scarce and bool(self._store.fault)
        if self._load.disk_full != disk_full:
            self._load.disk_full = disk_full
            _log_change("the disk of the queue is nearly full", disk_full)
        if fault and not self._store.fault:
            log.warning("storage works again")
            self.recovered()


def _log_change(text: str, now: bool) -> None:
    log.warning("%s: %s", text, "new mail is deferred" if now else "over")


def disk_is_full(directory: str) -> bool:
    """Whether the file system has no more space than the reserve for recording outcomes."""
    try:
        return DiskReserve.of(directory).shortage(0) is not None
    except OSError:
        return False  # the store will report the fault


def disk_of(directory: str) -> Disk | None:
    """The file system of a directory; None if it cannot be read."""
    try:
        return Disk.of(directory)
    except OSError:
        return None  # the store will report the fault


def memory_in_use() -> int:
    """Resident octets of this process that are its own. The page cache is not counted, because the kernel can
    reclaim it."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")

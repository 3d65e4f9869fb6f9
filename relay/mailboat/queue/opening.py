"""Opens the queue directory as a store: selects the databases of a worker, and locks, migrates and recovers each.

`open_store` is what `app` calls. When the number of workers shrinks, the databases with higher numbers are adopted:
worker K adopts each whose number is K modulo the number of workers.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path

from mailboat.model.clock import Clock
from mailboat.model.observer import Observer
from mailboat.queue import exports, imports, schema, transfers
from mailboat.queue.faults import storage_error
from mailboat.queue.lock import Lock, make_directory, private_files, sync_directory
from mailboat.queue.spool import Spool, Tuning, database_path
from mailboat.queue.spool_set import Databases, SpoolSet
from mailboat.queue.store import StorageError

log = logging.getLogger(__name__)


async def open_store(
    queue_dir: str, worker: int, nodes: int, clock: Clock, observer: Observer, tuning: Tuning | None = None
) -> Databases:
    """The queue of one worker of `nodes` (0 counts as 1); without spare databases it is the one database itself.

    Raises `QueueInUse` or `StorageError`; then nothing is left open.
    """
    directory, spares = await asyncio.to_thread(spare_databases, queue_dir, worker, max(1, nodes))
    opened: list[Spool] = []
    try:
        for index in [worker, *spares]:
            opened.append(await open_spool(directory, index, clock, observer, tuning))  # noqa: PERF401 - for `except`
    except BaseException:
        for spool in opened:
            await spool.close()
        raise
    if len(opened) == 1:
        return opened[0]
    log.info("adopted %s", ", ".join(str(spool.path) for spool in opened[1:]))
    return SpoolSet(opened[0], opened[1:])


def spare_databases(queue_dir: str, worker: int, nodes: int) -> tuple[Path, list[int]]:
    """The queue directory and the numbers of the databases in it that this worker adopts. Raises `StorageError`."""
    directory = Path(queue_dir).absolute()
    if not directory.exists():
        return directory, []
    return directory, [i for i, _ in schema.databases(directory) if i >= nodes and i % nodes == worker]


async def open_spool(
    queue_dir: Path, index: int, clock: Clock, observer: Observer, tuning: Tuning | None = None
) -> Spool:
    """Lock and open database `index`, creating it if it is missing. Raises `QueueInUse` or `StorageError`."""
    path, tuning = database_path(queue_dir, index), tuning or Tuning()
    lock, identity = await asyncio.to_thread(_lock_and_prepare, path, tuning)
    try:
        spool = Spool(path, index, identity, clock, observer, tuning)
    except (sqlite3.Error, OSError, StorageError) as error:
        lock.release()
        raise storage_error(error, str(path)) from error
    spool.start(lock)
    try:
        await _resolve(spool)
    except BaseException:
        await spool.close()
        raise
    return spool


def _lock_and_prepare(path: Path, tuning: Tuning) -> tuple[Lock, schema.Identity]:
    make_directory(path.parent)
    lock = Lock(path.with_suffix(".lock"))
    try:
        private_files(path)
        identity = schema.prepare(str(path), tuning.connect)
        sync_directory(path.parent)
    except OSError as error:
        lock.release()
        raise storage_error(error, str(path)) from error
    except BaseException:
        lock.release()
        raise
    return lock, identity


async def _resolve(spool: Spool) -> None:
    """End the exports, and end or continue the imports, that a process did not finish."""
    unfinished_exports, unfinished_imports = await spool.reader.ask(transfers.unfinished)
    for batch in unfinished_exports:
        await exports.resolve(spool, batch)
    for batch, state in unfinished_imports:
        await imports.resolve(spool, batch, state)

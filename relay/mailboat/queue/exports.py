"""Exports entries to an archive: they are held while it is written, and restored if it is never completed.

The file is written under the name `Batch.partial` and linked to its final name after every database has sealed the
batch. So a database can decide about an unfinished export alone: if it is not sealed, there is no file; if it is
sealed, the partial file exists as long as it is not linked, and renaming it ensures that it never is. If the file
cannot be found, entries stay held, so that nothing is delivered twice.

`export` is called by `app` and `cli`, `resolve` by `opening`; `archive_chunks` reads what all databases have marked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailboat.model.envelope import Entry, EntryKey
from mailboat.queue import archive, ids, queries, rows, schema, transfers
from mailboat.queue.bodies import BodyFiles
from mailboat.queue.faults import storage_error
from mailboat.queue.packed import PackedMessage
from mailboat.queue.spool import Spool
from mailboat.queue.spool_set import Databases
from mailboat.queue.store import EVERYTHING, Batch, Selection, Step, StorageError, Verb

log = logging.getLogger(__name__)

_ROWS = 500
"""Rows of a selection that one commit marks, plus the rest of the last message; they are read first."""
CALLED_OFF = ".cancelled"
"""Replaces `.partial`: this file will never be linked to its final name."""


async def export(store: Databases, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
    """Do a step in each database; the number of entries. Raises `StorageError`."""
    return sum([await _step(spool, step, batch, selection) for spool in store.databases()])


async def _step(spool: Spool, step: Step, batch: Batch, selection: Selection) -> int:
    match step:
        case Step.BEGIN:
            return await _begin(spool, batch, selection)
        case Step.SEAL:
            await spool.transfer(transfers.seal(batch.id))
            return 0
        case Step.KEEP:
            await spool.transfer(transfers.close_export(batch.id))
            return 0
        case Step.REMOVE:
            await spool.transfer(transfers.close_export(batch.id))
            return await _remove(spool, batch.id)
        case Step.RESOLVE:
            return await resolve(spool, batch.id)


async def _begin(spool: Spool, batch: Batch, selection: Selection) -> int:
    await spool.transfer(transfers.open_export(batch.id, batch.partial, spool.clock.now()))
    under_way: list[asyncio.Future[None]] = []
    # Later messages are not exported, including bounces of attempts under way.
    last = await spool.reader.ask(transfers.last_row)
    count, after, more = 0, 0, True
    while more:
        found, after = await spool.reader.ask(queries.rows_of, spool.place, selection, after, _ROWS)
        marked = await _mark(spool, batch.id, [row for row in found if row <= last], again=bool(selection.ids))
        count += len(marked)
        under_way += _withdraw(spool, marked)
        more = 0 < after <= last
    if under_way:
        await asyncio.gather(*under_way)
    return count


async def _mark(spool: Spool, batch: str, found: Sequence[int], *, again: bool) -> Sequence[int]:
    numbers = list(dict.fromkeys(map(ids.number_of, found)))
    good, faults = await spool.reader.ask(transfers.sound, spool.place, numbers)
    for fault in faults:
        log.warning("not exported: %s", fault)
    return await spool.transfer(transfers.mark(batch, good, again=again)) if good else ()


def _withdraw(spool: Spool, marked: Sequence[int]) -> Sequence[asyncio.Future[None]]:
    listener = spool.completions.listener
    if listener is None or not marked:
        return ()
    keys = [EntryKey(spool.index, row) for row in marked]
    listener.withdrawn(keys)
    return listener.under_way(keys)


async def _remove(spool: Spool, batch: str) -> int:
    count = 0
    while found := await spool.reader.ask(transfers.rows_of, batch):
        deleted = await spool.change_rows(Verb.DELETE, found)
        count += len(deleted)
        if not deleted:
            break
    return count


async def resolve(spool: Spool, batch: str) -> int:
    """End an abandoned export; the number of restored entries."""
    # Commits are in order: operations of the export are committed or refused before this one.
    await spool.transfer(transfers.give_up(batch))
    found = await spool.reader.ask(transfers.outbox_of, batch)
    if found is None:
        return 0
    address, state = found
    if state is transfers.Outbox.SEALED and not await asyncio.to_thread(_is_called_off, Path(address)):
        log.warning("export %s: its archive is considered complete, and its entries stay held as exported", batch)
        await spool.transfer(transfers.close_export(batch))
        return 0
    await spool.transfer(transfers.set_undone(batch))
    count = 0
    while undone := await spool.transfer(transfers.undo(batch)):
        count += len(undone)
    await spool.transfer(transfers.close_export(batch))
    log.info("export %s was not completed: %d entries are restored", batch, count)
    spool.completions.tell(lambda listener: listener.woken())
    return count


def _is_called_off(partial: Path) -> bool:
    """Make sure that a partial file is never linked to its own name; False: it was, or cannot be seen."""
    called_off = partial.with_suffix(CALLED_OFF)
    with contextlib.suppress(OSError):
        partial.rename(called_off)
    try:
        if called_off.lstat().st_nlink > 1:
            called_off.unlink()
            return False
        # The empty file stays: other databases of the batch check it, too.
        os.truncate(called_off, 0)
    except OSError:
        return False
    return True


def archive_chunks(queue_dir: str, batch: str) -> Iterator[bytes]:
    """The archive of the entries marked for a batch in all databases of a directory, in pieces of up to 256 KiB.

    Only reads, while other processes have the databases open. Raises `StorageError`.
    """
    pending, size = [], 0
    for piece in archive.chunks(batch, _messages(Path(queue_dir).absolute(), batch)):
        pending.append(piece)
        size += len(piece)
        if size >= archive.PIECE:
            yield b"".join(pending)
            pending, size = [], 0
    yield b"".join(pending)


def _messages(directory: Path, batch: str) -> Iterator[tuple[PackedMessage, Iterator[bytes]]]:
    for index, path in schema.databases(directory):
        try:
            yield from _messages_of(path, index, batch)
        except rows.Damaged as error:
            raise StorageError(f"{path}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise storage_error(error, str(path)) from error


def _messages_of(path: Path, index: int, batch: str) -> Iterator[tuple[PackedMessage, Iterator[bytes]]]:
    db = schema.open_beside(path)
    if db is None:
        return
    try:
        place = queries.DatabaseRef(index, schema.read_tag(db))
        entries = transfers.entries_of(db, place, batch)
        for number, of_message in itertools.groupby(entries, lambda entry: ids.number_of(entry.key.row)):
            yield _with_body(db, path.parent, tuple(of_message), number)
    finally:
        db.close()


def _with_body(
    db: sqlite3.Connection, directory: Path, entries: tuple[Entry, ...], number: int
) -> tuple[PackedMessage, Iterator[bytes]]:
    body = queries.body(db, number)
    message = entries[0].message
    if body is None:
        raise StorageError(f"the body of {message.id} is gone")
    if isinstance(body, bytes):
        digest, octets = hashlib.sha256(body), len(body)
        pieces = iter([body])
    else:
        path = BodyFiles.path_in(directory, body.name)
        digest, octets = hashlib.sha256(body.head), len(body.head)
        for piece in _pieces(path):
            digest.update(piece)
            octets += len(piece)
        pieces = itertools.chain([body.head] if body.head else [], _pieces(path))
    if octets != message.size:
        raise StorageError(f"the body of {message.id} has {octets} octets, not {message.size}")
    return PackedMessage(entries, digest.hexdigest()), pieces


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := file.read(archive.PIECE):
            yield piece

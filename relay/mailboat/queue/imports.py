"""Imports entries from an archive: staged, accepted as a whole in one commit, then given their former states.

Each database reads the archive in turn, the first one (number 0) before all others. A database completes or restores
the messages that it already has; messages that no database has go to the first one. It accepts the archive before any
other does, so that an interrupted import continues without importing anything twice, even if some was delivered in
between. `import_archive` is called by `app` and `cli`, `resolve` by `opening`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from mailboat.model.envelope import Entry, EntryKey, SpooledBody
from mailboat.queue import ids, queries, schema, transfers
from mailboat.queue.archive import PIECE, ArchivedMessage, ArchiveReader, verify
from mailboat.queue.bodies import BodyFiles, new_upload, remove
from mailboat.queue.faults import DiskReserve, storage_error
from mailboat.queue.operations import NewMessage
from mailboat.queue.packed import PackedMessage
from mailboat.queue.spool import Spool
from mailboat.queue.spool_set import Databases
from mailboat.queue.store import Verb
from mailboat.queue.transfers import Inbox, Staged

FIRST = 0
"""The database that receives messages that none has. It is never a spare one, which is removed when it is empty."""
SMALL = 256 << 10
"""Octets of a body that is stored in the database, as `body_writer` has it."""
_Database = tuple[sqlite3.Connection, Path, str]
"""A connection besides that of its owner, its directory, and its tag."""
_MESSAGES, _OCTETS = 512, 8 << 20
"""Maximum that one commit stages; a larger message is staged alone."""
_ROW_OCTETS = 4 * schema.PAGE
"""Approximate octets of an entry in the database and its log."""


@dataclass(slots=True)
class _Portion:
    """Messages that are staged together; they have no numbers yet."""

    new: list[tuple[PackedMessage, bytes | SpooledBody]] = field(default_factory=list, repr=False)
    added: list[tuple[PackedMessage, int]] = field(default_factory=list)
    """Entries that a message in this database lacks, and its number."""
    given_back: list[int] = field(default_factory=list)
    octets: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it fills one commit."""
        return self.octets >= _OCTETS or len(self.new) + len(self.added) + len(self.given_back) >= _MESSAGES


async def import_archive(store: Databases, archive: str) -> int:
    """Import the part of an archive that each database gets, the worker's own first; the number of entries.

    Raises `DamagedArchiveError` and `StorageError`; then nothing was imported by the database that raised it.
    """
    return sum([await _import_into(spool, archive) for spool in store.databases()])


async def _import_into(spool: Spool, archive: str) -> int:
    with ExitStack() as stack:
        reader = await asyncio.to_thread(_opened, archive, stack)
        batch = f"in:{reader.id}"  # the export itself has the id without the prefix
        (known,) = await spool.transfer(transfers.open_import(batch, spool.clock.now()))
        if known:
            return 0
        try:
            count = await _stage_all(spool, batch, reader, stack)
            await spool.transfer(transfers.set_inbox(batch, Inbox.ACCEPTED))
        except BaseException:
            await asyncio.shield(_refuse(spool, batch))
            raise
        await _complete(spool, batch)
        return count


async def resolve(spool: Spool, batch: str, state: Inbox) -> None:
    """Continue an import that a process did not finish."""
    if state is Inbox.ACCEPTED:
        await _complete(spool, batch)
    else:
        await _refuse(spool, batch)


async def _complete(spool: Spool, batch: str) -> None:
    while await spool.transfer(transfers.restore_some(batch)):
        spool.completions.tell(lambda listener: listener.woken())


async def _refuse(spool: Spool, batch: str) -> None:
    await spool.transfer(transfers.set_inbox(batch, Inbox.REFUSED))
    while staged := await spool.reader.ask(transfers.rows_of, batch):
        if not await spool.change_rows(Verb.DELETE, staged):
            break
    await spool.transfer(transfers.let_go(batch))


async def _stage_all(spool: Spool, batch: str, reader: ArchiveReader, stack: ExitStack) -> int:
    sorter = _Sorter(spool.path, spool.place, spool.new_body_file, stack)
    portions = await asyncio.to_thread(sorter.portions, reader)
    count = 0
    while (portion := await asyncio.to_thread(next, portions, None)) is not None:
        count += await _stage(spool, batch, portion)
    return count


async def _stage(spool: Spool, batch: str, portion: _Portion) -> int:
    added = [entry for packed, number in portion.added for entry in _renumbered(packed, spool.place.spool, number)]
    messages: list[NewMessage] = []
    try:
        for packed, body in portion.new:
            messages.append(await _numbered(spool, packed, body))
        if any(message.file for message in messages):
            await asyncio.to_thread(spool.bodies.sync)
        entries = sum(len(message.entries) for message in messages) + len(added)
        octets = sum(len(message.body or b"") for message in messages) + entries * _ROW_OCTETS
        staged = Staged(messages, added, portion.given_back)
        return len(await spool.transfer(transfers.stage(batch, staged), octets))
    except BaseException as error:
        spool.bodies.remove(message.file for message in messages if message.file)
        if isinstance(error, OSError):
            raise storage_error(error, str(spool.path)) from error
        raise


async def _numbered(spool: Spool, packed: PackedMessage, body: bytes | SpooledBody) -> NewMessage:
    number = spool.number()
    entries = tuple(_renumbered(packed, spool.place.spool, number))
    if isinstance(body, bytes):
        return NewMessage(number, entries, body)
    return NewMessage(number, entries, None, await asyncio.to_thread(spool.bodies.secure, body, number))


def _opened(path: str, stack: ExitStack) -> ArchiveReader:
    try:
        return ArchiveReader(stack.enter_context(Path(path).open("rb")))
    except OSError as error:
        raise storage_error(error, path) from error


def _renumbered(packed: PackedMessage, spool: int, number: int) -> Iterator[Entry]:
    message = replace(packed.message, origin=packed.message.id)
    for entry in packed.entries:
        row = ids.row_of(number, ids.ordinal_of(entry.key.row))
        yield replace(entry, key=EntryKey(spool, row), message=message)


class _Sorter:
    """Reads an archive and selects the part for one database. Used in a thread."""

    def __init__(
        self, path: Path, place: queries.DatabaseRef, new_file: Callable[[], tuple[str, int]], stack: ExitStack
    ) -> None:
        """`stack` closes opened databases and removes unused files."""
        self._place = place
        self._new_file = new_file
        self._path = path
        self._stack = stack
        self._siblings: list[_Database] = []

    def portions(self, reader: ArchiveReader) -> Iterator[_Portion]:
        """The part for this database. Raises `DamagedArchiveError` and `StorageError`."""
        try:
            yield from self._portions(reader)
        except (sqlite3.Error, OSError) as error:
            raise storage_error(error, str(self._path)) from error

    def _portions(self, reader: ArchiveReader) -> Iterator[_Portion]:
        (own,) = self._opened([self._path])
        if self._place.spool == FIRST:
            others = [path for _, path in schema.databases(self._path.parent) if path != self._path]
            self._siblings = list(self._opened(others))
        portion = _Portion()
        for archived in reader.messages():
            number = _find(own, archived.packed)
            if number is not None:
                self._complete(own[0], archived.packed, number, portion)
            elif self._place.spool == FIRST and all(_find(db, archived.packed) is None for db in self._siblings):
                self._add(archived, portion)
            if portion.is_full:
                yield portion
                portion = _Portion()
        yield portion

    def _opened(self, paths: Iterable[Path]) -> Iterator[_Database]:
        for path in paths:
            if (db := schema.open_beside(path)) is not None:
                self._stack.callback(db.close)
                yield db, path, schema.read_tag(db)

    @staticmethod
    def _complete(db: sqlite3.Connection, packed: PackedMessage, number: int, portion: _Portion) -> None:
        here = set(queries.rows_of_message(db, number))
        wanted = {ids.row_of(number, ids.ordinal_of(entry.key.row)): entry for entry in packed.entries}
        held = transfers.exported(db, [row for row in wanted if row in here])
        portion.given_back += sorted(held - transfers.locked(db, list(held)))
        if lacking := tuple(entry for row, entry in wanted.items() if row not in here):
            portion.added.append((PackedMessage(lacking, packed.digest), number))

    def _add(self, archived: ArchivedMessage, portion: _Portion) -> None:
        size = archived.packed.message.size
        if size <= SMALL:
            pieces: list[bytes] = []
            archived.save(pieces.append)
            portion.new.append((archived.packed, b"".join(pieces)))
            portion.octets += size
            return
        path, descriptor = self._new_file()
        self._stack.callback(remove, Path(path))  # unless it has been moved to the bodies by then
        with os.fdopen(descriptor, "wb") as file:
            archived.save(file.write)
        portion.new.append((archived.packed, SpooledBody(path, size)))


def _find(database: _Database, packed: PackedMessage) -> int | None:
    """The number of the message in a database, if it has it: the same id, sender, time and octets."""
    db, path, tag = database
    parsed = ids.parse(packed.message.id)
    assert parsed is not None
    numbers = [parsed.number] if parsed.tag == tag else []
    message, sender = packed.message, packed.message.sender
    wanted = (sender.local, sender.domain, sender.ascii_domain, message.queued_at, message.size)
    for number in [*numbers, *queries.numbers_from(db, packed.message.id)]:
        if queries.envelope(db, number) == wanted and _digest(db, path.parent, number) == packed.digest:
            return number
    return None


def _digest(db: sqlite3.Connection, directory: Path, number: int) -> str:
    body = queries.body(db, number)
    digest = hashlib.sha256(body.head if isinstance(body, queries.StoredFile) else body or b"")
    if isinstance(body, queries.StoredFile):
        with BodyFiles.path_in(directory, body.name).open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    return digest.hexdigest()


class Upload:
    """An archive uploaded to a running relay, in a file of the queue directory until it has been imported.

    Every method blocks and raises `StorageError`.
    """

    def __init__(self, queue_dir: str) -> None:
        """Nothing is written yet."""
        self._directory = Path(queue_dir).absolute()
        self._reserve = DiskReserve.of(queue_dir)
        self.path = self._directory
        self._descriptor = -1

    async def __aenter__(self) -> Upload:
        """Make the file."""
        try:
            self.path, self._descriptor = await asyncio.to_thread(new_upload, self._directory)
        except OSError as error:
            raise storage_error(error, str(self._directory)) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove it."""
        os.close(self._descriptor)
        await asyncio.to_thread(remove, self.path)

    def write(self, octets: bytes) -> None:
        """Write a piece, while there is space besides the queue's own reserve."""
        if (shortage := self._reserve.shortage(len(octets))) is not None:
            raise shortage
        try:
            view = memoryview(octets)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise storage_error(error, str(self.path)) from error

    def verify(self) -> None:
        """Check that it is complete. Raises `DamagedArchiveError`."""
        with self.path.open("rb") as file:
            verify(file)

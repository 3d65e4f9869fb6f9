"""`mailboat queue export` and `import`: an archive written and read here, over a running relay or a stopped one.

The file has its name only once it is whole and the queue has sealed it (`queue.exports`). Called by `cli.queue`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mailboat.cli.queue_source import Api, Offline, QueueCommandError, answer_to, failure, open_offline, wanted_of
from mailboat.queue import exports, imports
from mailboat.queue.archive import PIECE, DamagedArchiveError, verify
from mailboat.queue.exports import CALLED_OFF, archive_chunks
from mailboat.queue.lock import sync_directory
from mailboat.queue.store import Batch, Selection, Step

_MAX_FRAME = 64 << 20
_MAX_ANSWER = 1 << 20


class Export(Protocol):
    """An export under way. When it is left before `finish`, entries become what they were, unless the file is there."""

    def __enter__(self) -> Export:
        """Hold what is selected."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """It is over."""

    def chunks(self) -> Iterator[bytes]:
        """The archive."""

    def seal(self) -> None:
        """The archive is on stable storage under its partial name."""

    def finish(self, step: Step) -> int:
        """The archive has its name; how many entries it holds."""


def export_to(file: Path, source: Api | Offline, selection: Selection, *, remove: bool) -> int:
    """Write an archive; how many entries it holds."""
    writer = ArchiveWriter(file.absolute())
    writer.create()
    try:
        export = ApiExport if isinstance(source, Api) else OfflineExport
        with export(source, writer.batch, selection) as under_way:  # type: ignore[arg-type]
            for chunk in under_way.chunks():
                writer.write(chunk)
            writer.sync()
            writer.sealed = True
            under_way.seal()
            writer.publish()
            return under_way.finish(Step.REMOVE if remove else Step.KEEP)
    finally:
        writer.close()


def import_from(file: Path, source: Api | Offline) -> int:
    """Take an archive in; how many entries were taken."""
    try:
        with file.open("rb") as archive:
            verify(archive)  # before anything is sent or opened
            if isinstance(source, Api):
                archive.seek(0)
                return _upload(source, archive)
        return asyncio.run(_import(source.queue_dir, str(file.absolute())))
    except OSError as error:
        raise QueueCommandError(f"{file}: {error.strerror}", os.EX_NOINPUT) from None
    except DamagedArchiveError as error:
        raise QueueCommandError(f"{file} is refused, and nothing is imported: {error}", os.EX_DATAERR) from None


async def _import(queue_dir: str, file: str) -> int:
    store = await open_offline(queue_dir)
    try:
        return await imports.import_archive(store, file)
    finally:
        await store.close()


def _upload(api: Api, archive: Any) -> int:
    connection, headers = api.connect()
    headers |= {"Content-Type": "application/x-tar", "Content-Length": str(os.fstat(archive.fileno()).st_size)}
    connection.blocksize = PIECE

    def ask() -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered before it has heard all
            connection.request("POST", "/v1/queue/import", archive, headers)
        _wait_as_long_as_it_takes(connection)

    return int(json.loads(answer_to(connection, ask))["count"])


def _wait_as_long_as_it_takes(connection: http.client.HTTPConnection) -> socket.socket:
    """A large queue, or an attempt that is under way, takes its time; a relay that is gone is noticed."""
    assert connection.sock is not None
    connection.sock.settimeout(None)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock: socket.socket = connection.sock
    return sock


class ArchiveWriter:
    """The file, under its partial name until it is published. What the disk refuses ends the command with 73."""

    def __init__(self, file: Path) -> None:
        """`file` is absolute."""
        self._file = file
        id_ = secrets.token_hex(16)
        self._partial = file.with_name(f".{file.name}.{id_}.partial")
        self.batch = Batch(id_, str(self._partial))
        self._descriptor = -1
        self.sealed = False
        """The queue may have to find out by the partial file whether there is a whole one: it stays."""

    def create(self) -> None:
        """Begin, if nothing has the name."""
        if os.path.lexists(self._file):
            raise QueueCommandError(f"{self._file} already exists, and is not overwritten", os.EX_CANTCREAT)
        with _writing(self._file):
            self._descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, octets: bytes) -> None:
        """Go on."""
        with _writing(self._file):
            view = memoryview(octets)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        """Make it durable, and its partial name."""
        with _writing(self._file):
            os.fsync(self._descriptor)
            sync_directory(self._file.parent)

    def publish(self) -> None:
        """Give it its name, durably."""
        with _writing(self._file):
            os.link(self._partial, self._file)
            self._partial.unlink()
            sync_directory(self._file.parent)

    def close(self) -> None:
        """Leave nothing behind that nobody needs."""
        os.close(self._descriptor)
        if not self.sealed:
            for path in (self._partial, self._partial.with_suffix(CALLED_OFF)):
                path.unlink(missing_ok=True)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise QueueCommandError(f"{file} cannot be written: {error.strerror}", os.EX_CANTCREAT) from None


class OfflineExport:
    """From the queue of a stopped relay."""

    def __init__(self, source: Offline, batch: Batch, selection: Selection) -> None:
        self._queue_dir = source.queue_dir
        self._batch = batch
        self._selection = selection
        self._runner = asyncio.Runner()
        self._count = 0

    def __enter__(self) -> OfflineExport:
        """Hold what is selected."""
        try:
            self._store = self._runner.run(open_offline(self._queue_dir))
        except BaseException:
            self._runner.close()
            raise
        try:
            self._count = self._runner.run(exports.export(self._store, Step.BEGIN, self._batch, self._selection))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """It is over."""
        try:
            if error is not None:
                self._step(Step.RESOLVE)
        finally:
            self._runner.run(self._store.close())
            self._runner.close()

    def chunks(self) -> Iterator[bytes]:
        """The archive."""
        return archive_chunks(self._queue_dir, self._batch.id)

    def seal(self) -> None:
        """The archive is on stable storage."""
        self._step(Step.SEAL)

    def finish(self, step: Step) -> int:
        """The archive has its name."""
        self._step(step)
        return self._count

    def _step(self, step: Step) -> None:
        self._runner.run(exports.export(self._store, step, self._batch))


class ApiExport:
    """From a running relay: see `admin.archive_api`."""

    def __init__(self, api: Api, batch: Batch, selection: Selection) -> None:
        self._api = api
        wanted = {"id": batch.id, "partial": batch.partial, **(wanted_of(selection) or {"all": True})}
        self._first = json.dumps(wanted).encode()

    def __enter__(self) -> ApiExport:
        """Hold what is selected, and wait for the attempts that are under way."""
        self._connection, headers = self._api.connect()
        try:
            self._begin(headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _broken_off(error) from None
        except BaseException:
            self._connection.close()
            raise
        return self

    def _begin(self, headers: Mapping[str, str]) -> None:
        connection = self._connection
        connection.putrequest("POST", "/v1/queue/export")
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        self._sock = _wait_as_long_as_it_takes(connection)
        self._say(self._first)
        self._answer = connection.getresponse()
        if self._answer.status != http.HTTPStatus.OK:
            raise failure(self._answer.status, self._answer.read(_MAX_ANSWER))

    def __exit__(self, *_: object) -> None:
        """It is over: where it was not finished, the relay sees that nobody is here any more."""
        self._answer.close()
        self._connection.close()

    def chunks(self) -> Iterator[bytes]:
        """The archive."""
        while chunk := self._frame():
            yield chunk

    def seal(self) -> None:
        """The archive is on stable storage."""
        self._ask(Step.SEAL)

    def finish(self, step: Step) -> int:
        """The archive has its name."""
        return int(json.loads(self._ask(step))["count"])

    def _ask(self, step: Step) -> bytes:
        try:
            self._say(step.value.encode())
        except OSError as error:
            raise _broken_off(error) from None
        return self._frame()

    def _say(self, line: bytes) -> None:
        # A chunk (RFC 9112 7.1): `http.client` sends none once the answer has begun.
        self._sock.sendall(b"%x\r\n%s\n\r\n" % (len(line) + 1, line))

    def _frame(self) -> bytes:
        size = int.from_bytes(self._read(4), "big")
        if size > _MAX_FRAME:
            raise QueueCommandError("the answer is not that of a relay of this release", os.EX_UNAVAILABLE)
        return self._read(size) if size else b""  # a read of nothing would wait for the next chunk

    def _read(self, size: int) -> bytes:
        try:
            octets = self._answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise _broken_off(error) from None
        if len(octets) < size:
            raise _broken_off("it ended")
        return octets


def _broken_off(why: object) -> QueueCommandError:
    return QueueCommandError(f"the relay did not finish the export: {why}", os.EX_TEMPFAIL)

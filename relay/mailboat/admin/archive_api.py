"""`/v1/queue/export` and `import`: the queue, or some of it, as an archive. Made for `mailboat queue`.

An export is one request that lasts until its file is complete, so that a killed client is noticed at once. It sends
lines, the relay answers with frames (four octets of length, then so many):

    {"id": …, "partial": …, and a selection as for the other verbs}
                                        the archive in frames, then an empty one
    seal                                `sealed`: the file, synced, may now be linked to its name
    keep, or remove                     `{"count": N}`

In all other cases the relay restores the entries, unless the file exists (`queue.exports`). Mounted by `server`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from http import HTTPStatus
from typing import TypeVar

import orjson
from aiohttp import web

from mailboat.admin.control import Control
from mailboat.admin.messages_api import pieces_of
from mailboat.admin.problem import ProblemError, json_response
from mailboat.admin.queue_api import scope, selection_of, single
from mailboat.queue.archive import DamagedArchiveError
from mailboat.queue.store import Batch, Step

log = logging.getLogger(__name__)

_MAX_LINE = 4 << 20
"""Octets; 10,000 ids take less."""
_BATCH_KEYS = frozenset({"id", "partial"})
_T = TypeVar("_T")


class ArchiveApi:
    """The handlers, over whatever relay `control` is."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [web.post("/v1/queue/export", self._export), web.post("/v1/queue/import", self._import)]

    async def _import(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        if request.content_type != "application/x-tar":
            detail = f"Content-Type: {request.content_type} is not application/x-tar"
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        try:
            return json_response({"count": await self._control.receive(pieces_of(request))})
        except DamagedArchiveError as error:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None

    async def _export(self, request: web.Request) -> web.StreamResponse:
        single(request, frozenset())
        lines = _Lines(request)
        batch, wanted = _batch(await lines.next())
        selection = selection_of(scope(wanted))
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        try:
            count = await lines.unless_gone(self._control.export(Step.BEGIN, batch, selection))
            await response.prepare(request)
            await self._complete(batch, lines, response)
        except BaseException as error:
            await asyncio.shield(self._control.export(Step.RESOLVE, batch))
            if not response.prepared or not isinstance(error, Exception):
                raise
            log.warning("export %s broke off: %s", batch.id, error)
            if request.transport is not None:
                request.transport.abort()  # so that the client does not take what was sent for the whole
            return response
        finally:
            lines.close()
        with suppress(ConnectionError):
            await _frame(response, orjson.dumps({"count": count}))
        return response

    async def _complete(self, batch: Batch, lines: _Lines, response: web.StreamResponse) -> None:
        chunks = self._control.archive(batch)
        while chunk := await asyncio.to_thread(next, chunks, b""):
            await _frame(response, chunk)
        await _frame(response, b"")
        await lines.expect(Step.SEAL)
        await self._control.export(Step.SEAL, batch)
        await _frame(response, b"sealed")
        await self._control.export(await lines.expect(Step.KEEP, Step.REMOVE), batch)


async def _frame(response: web.StreamResponse, octets: bytes) -> None:
    await response.write(len(octets).to_bytes(4, "big") + octets)


def _batch(line: bytes) -> tuple[Batch, dict[str, object]]:
    try:
        wanted = orjson.loads(line)
        named = {name: wanted.pop(name) for name in _BATCH_KEYS}
        return Batch(**named), wanted
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        detail = 'the first line must be {"id": 32 hexadecimal digits, "partial": an absolute path `.NAME.ID.partial`}'
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None


class _Lines:
    """The client's lines."""

    def __init__(self, request: web.Request) -> None:
        self._content = request.content
        self._buffer = b""
        self._ahead: asyncio.Task[bytes] | None = None

    async def next(self) -> bytes:
        """The next line. Raises ProblemError if the client has disconnected or the line is too long."""
        ahead, self._ahead = self._ahead, None
        return await (ahead or self._read())

    async def expect(self, *steps: Step) -> Step:
        """The next line, which must be one of these."""
        line = await self.next()
        if line not in [step.value.encode() for step in steps]:
            raise ProblemError(HTTPStatus.BAD_REQUEST, f"{line!r:.40}: not now")
        return Step(line.decode())

    async def unless_gone(self, work: Awaitable[_T]) -> _T:
        """The result of some work, which is cancelled if the client disconnects."""
        task = asyncio.ensure_future(work)
        self._ahead = asyncio.create_task(self._read())
        self._ahead.add_done_callback(lambda read: read.cancelled() or read.exception())
        await asyncio.wait((task, self._ahead), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            await self._ahead  # raises
            raise ProblemError(HTTPStatus.BAD_REQUEST, "unexpected data before the archive")
        return task.result()

    def close(self) -> None:
        """Nothing more is read."""
        if self._ahead is not None:
            self._ahead.cancel()

    async def _read(self) -> bytes:
        while b"\n" not in self._buffer:
            try:
                octets = await self._content.readany()
            except (web.RequestPayloadError, OSError) as error:
                raise ProblemError(HTTPStatus.BAD_REQUEST, f"the client disconnected: {error}") from None
            if not octets or len(self._buffer) > _MAX_LINE:
                raise ProblemError(HTTPStatus.BAD_REQUEST, "a line is missing, or too long")
            self._buffer += octets
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

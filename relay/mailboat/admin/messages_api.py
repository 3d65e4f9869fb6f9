"""`POST /v1/messages`: programs submit mail over HTTP. Answered when it is durable.

A message is sent as JSON, or as `message/rfc822` with the envelope in the query; the latter is streamed. All faults of
a request are reported. Mounted by `server`; docs/admin.md shows the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from aiohttp import web

from mailboat.admin.control import Control
from mailboat.admin.problem import ProblemError, json_response
from mailboat.model.address import NULL_SENDER
from mailboat.submission.request import (
    RefusalKind,
    RefusedError,
    SubmissionRequest,
    json_notes,
    recipients_of,
    sender_of,
)

MAX_JSON = 8 * 2**20
"""Octets of a JSON body, which is held as a whole; larger messages come as they are."""
PIECE = 64 * 1024
_IDLE_SECONDS = 30.0
_SLOWEST_RATE = 1024
"""Slowest rate of a body in octets a second, in addition to one `_IDLE_SECONDS`."""
_RAW_TYPES = ("message/rfc822", "message/global")
_OPTIONS = ("dot_stuffed", "remove_msgid", "remove_date", "requiretls")
_KEYS = frozenset({"from", "to", "content", "notes", *_OPTIONS})
_PARAMETERS = frozenset({"from", "to", *_OPTIONS})
_STATUS = {
    RefusalKind.MALFORMED: HTTPStatus.BAD_REQUEST,
    RefusalKind.TOO_BIG: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RefusalKind.LOOP: HTTPStatus.BAD_REQUEST,
    RefusalKind.HOOK: HTTPStatus.FORBIDDEN,
}

_T = TypeVar("_T")


class MessagesApi:
    """The handler, over whatever relay `control` is."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [web.post("/v1/messages", self._submit)]

    async def _submit(self, request: web.Request) -> web.Response:
        if request.content_type in _RAW_TYPES:
            submission, contents = _submission(_envelope(request), _PARAMETERS), pieces_of(request)
        elif request.content_type == "application/json":
            wanted = await _json(request)
            submission, contents = _submission(wanted, _KEYS), _content(wanted)
        else:
            detail = f"Content-Type: {request.content_type} is neither application/json nor message/rfc822"
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        try:
            name = await self._queue(submission, contents)
        except RefusedError as error:
            raise ProblemError(_STATUS[error.kind], f"content: {error}") from None
        response = json_response({"id": name}, HTTPStatus.ACCEPTED)
        response.headers["Location"] = f"/v1/queue/{name}"
        return response

    async def _queue(self, submission: SubmissionRequest, contents: AsyncIterator[bytes]) -> str:
        handle = await self._control.begin(submission)
        try:
            async for piece in contents:
                await handle.write(piece)
        except BaseException:
            await handle.abandon()
            raise
        return await handle.commit()


def _submission(wanted: Mapping[str, Any], known: frozenset[str]) -> SubmissionRequest:
    """The submission that a request describes. ProblemError names all that is wrong with it."""
    faults: list[str] = [f"{name}: unknown; known: {', '.join(sorted(known))}" for name in wanted if name not in known]

    def read(name: str, parse: Callable[[Any], _T], default: _T) -> _T:
        try:
            return parse(wanted.get(name))
        except RefusedError as error:
            text = str(error)
            faults.append(text if text.startswith(f"{name}:") else f"{name}: {text}")
            return default

    submission = SubmissionRequest(
        sender=read("from", sender_of, NULL_SENDER),
        recipients=read("to", recipients_of, ()),
        notes=read("notes", json_notes, {}),
        dot_stuffed=read("dot_stuffed", _flag, False),
        remove_msgid=read("remove_msgid", _flag, False),
        remove_date=read("remove_date", _flag, False),
        requiretls=read("requiretls", _flag, False),
    )
    if "content" in known and not isinstance(wanted.get("content"), str):
        faults.append("content: must be a string, the whole message with its header")
    if faults:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "; ".join(faults))
    return submission


def _flag(value: Any) -> bool:
    if value in (None, True, False):
        return bool(value)
    if value in ("true", "false"):
        return bool(value == "true")
    raise RefusedError("must be true or false")


def _envelope(request: web.Request) -> Mapping[str, Any]:
    """The query, `to` as often as wanted, everything else once."""
    found: dict[str, Any] = {"to": request.query.getall("to", [])}
    for name in request.query:
        values: Sequence[str] = request.query.getall(name)
        if name != "to" and len(values) > 1:
            raise ProblemError(HTTPStatus.BAD_REQUEST, f"{name}: given twice")
        if name != "to":
            found[name] = values[0]
    return found


async def _json(request: web.Request) -> dict[str, Any]:
    if request.query:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"{next(iter(request.query))}: belongs in the JSON body")
    pieces: list[bytes] = []
    octets = 0
    async for piece in pieces_of(request):
        octets += len(piece)
        if octets > MAX_JSON:
            detail = f"the body is larger than {MAX_JSON} octets: send the message as it is, as message/rfc822"
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        pieces.append(piece)
    try:
        wanted = orjson.loads(b"".join(pieces))
    except orjson.JSONDecodeError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(wanted, dict):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
    return wanted


async def _content(wanted: Mapping[str, Any]) -> AsyncIterator[bytes]:
    content = wanted["content"].encode()
    for at in range(0, len(content), PIECE):
        yield content[at : at + PIECE]
        await asyncio.sleep(0)


async def pieces_of(request: web.Request) -> AsyncIterator[bytes]:
    """The body in pieces, with a limit of its time."""
    loop = asyncio.get_running_loop()
    began, octets = loop.time(), 0
    while True:
        late = began + _IDLE_SECONDS + octets / _SLOWEST_RATE
        try:
            async with asyncio.timeout_at(min(late, loop.time() + _IDLE_SECONDS)):
                piece = await request.content.read(PIECE)
        except TimeoutError:
            raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, "the body arrives too slowly") from None
        except web.RequestPayloadError as error:
            raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is incomplete: {error}") from None
        if not piece:
            return
        octets += len(piece)
        yield piece

"""`send_email`: a plugin's way to send mail of its own, through the worker that it runs in.

`app` binds each worker's `Submitter` to the worker's event loop; a process may have several. Plugins call it as
`from mailboat import outbound`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any, TypedDict, Unpack
from weakref import WeakKeyDictionary

from mailboat.hooks import DENY, DENYSOFT, OK, Code
from mailboat.queue.store import StorageError
from mailboat.submission.request import RefusedError, SubmissionRequest, json_notes, recipients_of, sender_of
from mailboat.submission.submitter import Submitter

PIECE = 64 * 1024
"""Octets that are worked on at once; between two pieces the event loop does other work."""

_submitters: WeakKeyDictionary[asyncio.AbstractEventLoop, Submitter] = WeakKeyDictionary()


def bind(submitter: Submitter) -> None:
    """`send_email` on the running event loop uses this one from now on."""
    _submitters[asyncio.get_running_loop()] = submitter


def unbind() -> None:
    """The running event loop has no relay any more."""
    _submitters.pop(asyncio.get_running_loop(), None)


class Options(TypedDict, total=False):
    """What may be said of a message beside its contents."""

    dot_stuffed: bool
    """The contents are as in SMTP: the dot of a line that begins with one is doubled (RFC 5321 4.5.2)."""
    notes: Mapping[str, Any] | None
    """Notes of the message, JSON values only; stored with it, and there in `todo.notes`."""
    remove_msgid: bool
    """Put a new Message-ID in the place of the one that is there: for mail that is released from a quarantine."""
    remove_date: bool
    """The same for Date."""
    requiretls: bool
    """Send it over verified TLS only, to hosts that do the same: REQUIRETLS (RFC 8689)."""
    origin: object
    """Who sends this, for the log: a text, or something with a `name`, such as the plugin."""


async def send_email(from_: object, to: object, contents: object, **options: Unpack[Options]) -> tuple[Code, str]:
    """Queue a message for delivery.

    `from_` is an `Address` or text, `<>` for the null sender; `to` is one of those or several; `contents` is the whole
    message with its header: text, bytes, or an async stream of either, which is read piece by piece. Line ends of any
    kind become CRLF; Message-ID and Date are added where they are missing.

    `(OK, "Message Queued (ID)")`: it is on stable storage. `(DENY, reason)`: it cannot be sent as it is.
    `(DENYSOFT, reason)`: it cannot be stored now. Whether it is delivered, the hooks `delivered` and `bounce` tell.
    Raises TypeError for contents of another type, RuntimeError where no relay runs, and what a stream raises; then
    nothing is queued.
    """
    if not isinstance(contents, str | bytes | bytearray | memoryview | AsyncIterable):
        raise TypeError(f"contents must be str, bytes or an async stream of them, not {type(contents).__name__}")
    submitter = _submitter()
    try:
        name = await _deliver(submitter, _request(from_, to, options), contents)
    except RefusedError as error:
        return DENY, str(error)
    except StorageError as error:
        return DENYSOFT, str(error)
    return OK, f"Message Queued ({name})"


async def _deliver(submitter: Submitter, request: SubmissionRequest, contents: object) -> str:
    submission = submitter.begin(request, "LOCAL")
    try:
        async for piece in _pieces(contents):
            await submission.write(piece)
    except BaseException:
        await submission.abandon()
        raise
    return await submission.commit()


def _request(from_: object, to: object, options: Options) -> SubmissionRequest:
    origin = options.get("origin")
    return SubmissionRequest(
        sender=sender_of(from_),
        recipients=recipients_of(to),
        notes=json_notes(options.get("notes")),
        dot_stuffed=bool(options.get("dot_stuffed")),
        remove_msgid=bool(options.get("remove_msgid")),
        remove_date=bool(options.get("remove_date")),
        requiretls=bool(options.get("requiretls")),
        origin="" if origin is None else str(getattr(origin, "name", origin)),
    )


def _submitter() -> Submitter:
    try:
        return _submitters[asyncio.get_running_loop()]
    except KeyError:
        raise RuntimeError("no relay runs on this event loop, so mail cannot be queued") from None


async def _pieces(contents: object) -> AsyncIterator[bytes]:
    if isinstance(contents, AsyncIterable):
        async for piece in contents:
            for part in _cut(_octets(piece)):
                yield part
    else:
        for part in _cut(_octets(contents)):
            yield part
            await asyncio.sleep(0)


def _octets(piece: object) -> bytes:
    if isinstance(piece, str):
        try:
            return piece.encode()
        except UnicodeEncodeError as error:
            raise RefusedError(f"contents: {error}") from None
    if isinstance(piece, bytes | bytearray | memoryview):
        return bytes(piece)
    raise TypeError(f"contents must be str, bytes or an async stream of them, not {type(piece).__name__}")


def _cut(octets: bytes) -> list[bytes]:
    if len(octets) <= PIECE:
        return [octets]
    return [octets[at : at + PIECE] for at in range(0, len(octets), PIECE)]

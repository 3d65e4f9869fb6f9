"""`send_email`: a plugin's way to send mail of its own, through the worker that it runs in.

`app` binds each worker's `Submitter` to the worker's event loop; a process may have several. Plugins call it as
`from mailboat import outbound`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from mailboat.outbound.letter import Letter, RefusedError, json_notes, recipients_of, sender_of
from mailboat.outbound.submission import Submitter

PIECE = 64 * 1024
"""Octets of given contents that are worked on at once; then others have their turn on the event loop."""

_submitters: WeakKeyDictionary[asyncio.AbstractEventLoop, Submitter] = WeakKeyDictionary()


def bind(submitter: Submitter) -> None:
    """The running event loop's mail goes through this one from now on."""
    _submitters[asyncio.get_running_loop()] = submitter


def unbind() -> None:
    """The running event loop has no relay any more."""
    _submitters.pop(asyncio.get_running_loop(), None)


async def deliver(letter: Letter, contents: object) -> str:
    """Queue a letter; its id, when it is durable. Raises RefusedError, StorageError, and what the contents raise."""
    submission = _submitter().begin(letter, "LOCAL")
    try:
        async for piece in _pieces(contents):
            await submission.write(piece)
    except BaseException:
        await submission.abandon()
        raise
    return await submission.commit()


def letter_of(from_: object, to: object, options: Mapping[str, Any]) -> Letter:
    """What the arguments of `send_email` say. Raises RefusedError."""
    origin = options.get("origin")
    return Letter(
        sender=sender_of(from_),
        recipients=recipients_of(to),
        notes=json_notes(options.get("notes")),
        dot_stuffed=bool(options.get("dot_stuffed")),
        remove_msgid=bool(options.get("remove_msgid")),
        remove_date=bool(options.get("remove_date")),
        origin="" if origin is None else str(getattr(origin, "name", origin)),
    )


def is_contents(value: object) -> bool:
    """Whether this is something that a message can be read from."""
    return isinstance(value, str | bytes | bytearray | memoryview | AsyncIterable)


def _submitter() -> Submitter:
    try:
        return _submitters[asyncio.get_running_loop()]
    except KeyError:
        raise RuntimeError("no relay runs on this event loop: outbound mail needs one that queues it") from None


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

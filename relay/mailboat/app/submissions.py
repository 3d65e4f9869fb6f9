"""A program's message on its way over the supervisor's line: begun, written in pieces, committed or abandoned.

`RemoteSubmission` is the supervisor's end, `Desk` the worker's, which forgets what is open when the line breaks. A
piece is answered before the next one is sent, so that neither process holds more than one. Used by `channel`.
"""

from __future__ import annotations

import asyncio
import itertools
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from mailboat.model.address import Address
from mailboat.outbound.letter import Letter
from mailboat.outbound.submission import Port
from mailboat.queue.store import StorageError

Ask = Callable[..., Awaitable[Any]]


class WorkerGoneError(StorageError):
    """The worker does not answer: it is starting, stopping or dead."""


class Beginner(Protocol):
    """What the desk needs of a worker."""

    async def begin(self, letter: Letter) -> Port:
        """Start a program's message."""


class RemoteSubmission:
    """A submission in a worker process."""

    def __init__(self, ask: Ask, handle: int) -> None:
        self._ask = ask
        self._handle = handle

    async def write(self, octets: bytes) -> None:
        """See `Port`."""
        await self._ask("write", self._handle, b64encode(octets).decode())

    async def commit(self) -> str:
        """See `Port`. TimeoutError: nobody knows whether it is queued."""
        try:
            return str(await self._ask("commit", self._handle))
        except WorkerGoneError as error:
            raise TimeoutError(str(error)) from None

    async def abandon(self) -> None:
        """See `Port`."""
        with suppress(StorageError):  # a worker that is gone has forgotten it
            await self._ask("abandon", self._handle)


class Desk:
    """The open submissions of one supervisor's line."""

    def __init__(self, worker: Beginner) -> None:
        self._worker = worker
        self._handles = itertools.count(1)
        self._open: dict[int, Port] = {}

    async def begin(self, packed: dict[str, Any]) -> int:
        """Start one; what it is called from now on."""
        port = await self._worker.begin(unpack(packed))
        handle = next(self._handles)
        self._open[handle] = port
        return handle

    async def write(self, handle: int, octets: str) -> None:
        """Take a piece."""
        await self._port(handle).write(b64decode(octets))

    async def commit(self, handle: int) -> str:
        """Queue it; its id."""
        port = self._port(handle)
        del self._open[handle]
        return await port.commit()

    async def abandon(self, handle: int) -> None:
        """Forget it."""
        port = self._open.pop(handle, None)
        if port is not None:
            await port.abandon()

    async def close(self) -> None:
        """The supervisor is gone: forget all."""
        await asyncio.gather(*map(self.abandon, list(self._open)))

    def _port(self, handle: int) -> Port:
        try:
            return self._open[handle]
        except KeyError:
            raise StorageError("this message is not open any more") from None


def pack(letter: Letter) -> dict[str, Any]:
    """A letter as JSON values."""
    return {
        "sender": _packed(letter.sender),
        "recipients": [_packed(address) for address in letter.recipients],
        "notes": dict(letter.notes),
        "dot_stuffed": letter.dot_stuffed,
        "remove_msgid": letter.remove_msgid,
        "remove_date": letter.remove_date,
        "origin": letter.origin,
    }


def unpack(packed: dict[str, Any]) -> Letter:
    """The letter again."""
    sender, recipients = Address(*packed["sender"]), tuple(Address(*one) for one in packed["recipients"])
    return Letter(**{**packed, "sender": sender, "recipients": recipients})


def _packed(address: Address) -> list[str]:
    return [address.local, address.domain, address.ascii_domain]

"""Transfers a program's message from the supervisor to a worker: begun, written in pieces, committed or abandoned.

`RemoteSubmission` is the supervisor's end, `SubmissionTable` the worker's, which abandons what is open when the
connection ends. A piece is answered before the next one is sent, so that neither process holds more than one. Used by
`channel`.
"""

from __future__ import annotations

import asyncio
import itertools
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from mailboat.model.address import Address
from mailboat.queue.store import StorageError
from mailboat.submission.request import SubmissionRequest
from mailboat.submission.submitter import SubmissionHandle

Ask = Callable[..., Awaitable[Any]]


class WorkerGoneError(StorageError):
    """The worker does not answer: it is starting, stopping or dead."""


class SubmissionStarter(Protocol):
    """The part of a worker that `SubmissionTable` needs."""

    async def begin(self, request: SubmissionRequest) -> SubmissionHandle:
        """Start a program's message."""


class RemoteSubmission:
    """A submission in a worker process."""

    def __init__(self, ask: Ask, handle: int) -> None:
        self._ask = ask
        self._handle = handle

    async def write(self, octets: bytes) -> None:
        """See `SubmissionHandle`."""
        await self._ask("write", self._handle, b64encode(octets).decode())

    async def commit(self) -> str:
        """See `SubmissionHandle`. TimeoutError: it may be queued or not."""
        try:
            return str(await self._ask("commit", self._handle))
        except WorkerGoneError as error:
            raise TimeoutError(str(error)) from None

    async def abandon(self) -> None:
        """See `SubmissionHandle`."""
        with suppress(StorageError):  # a worker that has exited has dropped it
            await self._ask("abandon", self._handle)


class SubmissionTable:
    """The open submissions of one supervisor."""

    def __init__(self, worker: SubmissionStarter) -> None:
        self._worker = worker
        self._handles = itertools.count(1)
        self._open: dict[int, SubmissionHandle] = {}

    async def begin(self, packed: dict[str, Any]) -> int:
        """Start one; its handle."""
        submission = await self._worker.begin(unpack(packed))
        handle = next(self._handles)
        self._open[handle] = submission
        return handle

    async def write(self, handle: int, octets: str) -> None:
        """Add a piece."""
        await self._handle_of(handle).write(b64decode(octets))

    async def commit(self, handle: int) -> str:
        """Queue it; its id."""
        submission = self._handle_of(handle)
        del self._open[handle]
        return await submission.commit()

    async def abandon(self, handle: int) -> None:
        """Abandon it."""
        submission = self._open.pop(handle, None)
        if submission is not None:
            await submission.abandon()

    async def close(self) -> None:
        """The supervisor has exited: abandon all."""
        await asyncio.gather(*map(self.abandon, list(self._open)))

    def _handle_of(self, handle: int) -> SubmissionHandle:
        try:
            return self._open[handle]
        except KeyError:
            raise StorageError("this message is no longer open") from None


def pack(request: SubmissionRequest) -> dict[str, Any]:
    """A request as JSON values."""
    return {
        "sender": _packed(request.sender),
        "recipients": [_packed(address) for address in request.recipients],
        "notes": dict(request.notes),
        "dot_stuffed": request.dot_stuffed,
        "remove_msgid": request.remove_msgid,
        "remove_date": request.remove_date,
        "requiretls": request.requiretls,
        "origin": request.origin,
    }


def unpack(packed: dict[str, Any]) -> SubmissionRequest:
    """The request again."""
    sender, recipients = Address(*packed["sender"]), tuple(Address(*one) for one in packed["recipients"])
    return SubmissionRequest(**{**packed, "sender": sender, "recipients": recipients})


def _packed(address: Address) -> list[str]:
    return [address.local, address.domain, address.ascii_domain]

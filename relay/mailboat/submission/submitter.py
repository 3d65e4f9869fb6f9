"""Queues messages from plugins and programs: one `Submission` each, and the `Submitter` of a worker.

A `Submission` is written to piece by piece and then committed; what it holds in memory is bounded. Made by
`Submitter`, which `app` builds. Raises `RefusedError` for a fault of the request or its contents,
`StorageError` for one that will pass.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mailboat.config.settings import Settings
from mailboat.hooks import NO_HOOKS, Hooks
from mailboat.hooks.transaction import before_queueing
from mailboat.message import received
from mailboat.message.prepare import HeaderTooLongError, Preparation, TooManyHopsError, UnfitError
from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft
from mailboat.model.observer import Observer, Received
from mailboat.queue.body_writer import BodyWriter, discard_body, prepare
from mailboat.queue.entry import group
from mailboat.queue.faults import storage_error
from mailboat.queue.signing import sign
from mailboat.queue.store import StorageError, Store
from mailboat.smtp.extensions.eightbitmime import with_body
from mailboat.submission.content import Normalizer
from mailboat.submission.request import RefusalKind, RefusedError, SubmissionRequest

log = logging.getLogger(__name__)


class SubmissionHandle(Protocol):
    """A submission as a caller sees it, in this process or another."""

    async def write(self, octets: bytes) -> None:
        """Add a piece of the contents."""

    async def commit(self) -> str:
        """All contents have been written: queue the message; its id, when it is durable."""

    async def abandon(self) -> None:
        """There will be no more contents, and no message. May be called at any time, also after `commit`."""


@dataclass(slots=True)
class Submitter:
    """Takes letters for one worker."""

    settings: Settings
    """Replaced on reload; a submission keeps what it began with."""
    store: Store
    observer: Observer
    clock: Clock
    room: Callable[[], str]
    """Why no new message can be taken now; empty when one can."""
    hooks: Hooks = NO_HOOKS
    """Replaced on reload."""

    def begin(self, request: SubmissionRequest, protocol: str) -> Submission:
        """Start a submission. `protocol` is for the event log: how the message came here."""
        if trouble := self.room():
            raise StorageError(trouble)
        most = self.settings.smtp.max_recipients
        if len(request.recipients) > most:
            raise RefusedError(f"more than {most} recipients", RefusalKind.TOO_BIG)
        return Submission(self, request, protocol)


class Submission:
    """One message being submitted."""

    def __init__(self, submitter: Submitter, request: SubmissionRequest, protocol: str) -> None:
        self._submitter = submitter
        self._settings = submitter.settings
        self._request = request
        self._protocol = protocol
        self._id = submitter.store.reserve_id()
        self._date = received.rfc5322_date(submitter.clock.now())
        self._size = 0
        self._lines = Normalizer(self._settings.smtp.data_line_length, dot_stuffed=request.dot_stuffed)
        self._body = BodyWriter(submitter.store, self._preparation, self._settings.smtp.nul)

    async def write(self, octets: bytes) -> None:
        """See `SubmissionHandle`."""
        try:
            await self._add(self._lines.feed(octets))
        except BaseException:
            self._body.discard()
            raise

    async def commit(self) -> str:
        """See `SubmissionHandle`."""
        try:
            await self._add(self._lines.finish())
            draft = await self._shown(self._draft(await self._finished()))
        except BaseException:
            self._body.discard()
            raise
        try:
            entries = await self._submitter.store.accept(draft)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        recipients = [str(address) for address in self._request.recipients]
        self._submitter.observer.received(
            Received(entries[0].message, recipients, "", self._protocol, signed_by=draft.signed_by)
        )
        if self._request.origin:
            log.info("%s was submitted by %s", self._id, self._request.origin)
        return self._id

    async def abandon(self) -> None:
        """See `SubmissionHandle`."""
        self._body.discard()

    async def _add(self, octets: bytes) -> None:
        self._size += len(octets)
        most = self._settings.smtp.databytes
        if self._size > most:
            raise RefusedError(f"the message is larger than {most} octets", RefusalKind.TOO_BIG)
        had_nul = self._body.has_nul
        if (writing := self._body.write(octets)) is not None:
            await asyncio.wait([writing])  # which does not cancel it
        if self._body.has_nul and not had_nul:
            self._submitter.observer.nul_found(self._settings.smtp.nul)
        if self._body.fault is not None:
            raise _public(self._body.fault)

    async def _finished(self) -> Body:
        if not self._size:
            raise RefusedError("the message is empty")
        try:
            return await self._body.completed()
        except (OSError, UnfitError) as error:
            raise _public(error) from None

    async def _shown(self, draft: Draft) -> Draft:
        """The draft as plugins leave it, signed."""
        submitter, signer = self._submitter, self._settings.signer
        try:
            draft = await before_queueing(submitter.hooks, draft, submitter.store.new_body_file)
            if signer is not None:
                draft = await sign(draft, self._body.text_digest, signer, submitter.clock, submitter.observer)
            return draft
        except BaseException as error:
            discard_body(draft.body)
            if isinstance(error, OSError):
                raise _public(error) from None
            raise

    def _draft(self, body: Body) -> Draft:
        request = self._request
        return Draft(
            sender=request.sender,
            recipients=request.recipients,
            body=body,
            groups=group(request.recipients, split=self._settings.outbound.always_split),
            id=self._id,
            parameters=with_body(request.parameters, is_ascii=self._body.ascii.is_ascii),
            notes=request.notes,
            tls_required_no=self._body.tls_required_no,
        )

    def _preparation(self) -> Preparation:
        """What is done to the message: `Received`, and `Message-ID` and `Date` where they are missing or unwanted."""
        request, dropped = self._request, self._settings.smtp.message_drop_headers
        removed = ["message-id"] * request.remove_msgid + ["date"] * request.remove_date
        return prepare(self._settings, self._id, self._date, removed=[*removed, *dropped])


_KINDS: Mapping[type, RefusalKind] = {TooManyHopsError: RefusalKind.LOOP, HeaderTooLongError: RefusalKind.TOO_BIG}


def _public(error: OSError | UnfitError) -> Exception:
    if isinstance(error, OSError):
        return storage_error(error, "the queue")
    return RefusedError(str(error), _KINDS.get(type(error), RefusalKind.MALFORMED))

"""The bounce message for recipients that failed permanently: original and outcomes in, a draft for the queue out.

`message.dsn` formats it, `queue.body_writer` stores it; this module collects its content. Called by `pipeline`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO

from mailboat.config.settings import Settings
from mailboat.hooks import NO_HOOKS, Hooks
from mailboat.hooks.transaction import before_queueing
from mailboat.message import dsn, received
from mailboat.message.prepare import UnfitError
from mailboat.message.text import wrapped
from mailboat.model.address import NULL_SENDER
from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, Entry, Parameters, SpooledBody
from mailboat.model.observer import Observer
from mailboat.queue.body_writer import BodyWriter, discard_body, prepare
from mailboat.queue.entry import Transition, group
from mailboat.queue.faults import storage_error
from mailboat.queue.signing import sign
from mailboat.queue.store import Store
from mailboat.smtp.extensions.dsn import envelope_id, original_recipient, wants_header_only
from mailboat.smtp.extensions.eightbitmime import with_body


class Bounces:
    """Writes bounce messages."""

    def __init__(
        self, store: Store, clock: Clock, observer: Observer, hooks: Callable[[], Hooks] = lambda: NO_HOOKS
    ) -> None:
        """`hooks` returns the hooks in force."""
        self._store = store
        self._clock = clock
        self._observer = observer
        self._hooks = hooks

    async def write(self, entry: Entry, change: Transition, settings: Settings) -> Draft:
        """The report on these recipients of an entry. Raises StorageError: the original is missing, or no space."""
        body = await self._store.body(entry)
        id = self._store.reserve_id()  # noqa: A001 - the field's word
        parameters = entry.message.parameters
        report = dsn.Dsn(
            id=id,
            me=settings.me,
            message=entry.message,
            recipients=_reported(entry, change),
            now=self._clock.now(),
            original=b"",
            # RFC 8689 5: the report goes without REQUIRETLS, so it must not bring back the text.
            cut=not change.bounced or wants_header_only(parameters) or entry.message.requiretls,
            pid=os.getpid(),
            envelope_id=envelope_id(parameters),
            retry_until=change.retry_until,
        )
        writer = BodyWriter(self._store, lambda: prepare(settings, id, received.rfc5322_date(report.now)))
        text = await _written(writer, _octets(report, settings, body), blocks=isinstance(body, SpooledBody))
        draft = Draft(
            sender=NULL_SENDER,
            recipients=[entry.message.sender],
            body=text,
            groups=group([entry.message.sender]),
            id=id,
            parameters=_parameters(entry, is_ascii=writer.ascii.is_ascii),
            tenant=entry.message.tenant,
            tls_required_no=writer.tls_required_no,
        )
        try:
            draft = await before_queueing(self._hooks(), draft, self._store.new_body_file)
            if settings.signer is not None:
                draft = await sign(draft, writer.text_digest, settings.signer, self._clock, self._observer)
            return draft
        except BaseException as error:
            discard_body(draft.body)
            if isinstance(error, OSError):
                raise storage_error(error, "the bounce message") from error
            raise


def _reported(entry: Entry, change: Transition) -> list[dsn.ReportedRecipient]:
    """The recipients that failed, those that are late, then those whose delivery the sender asked to be told of."""
    recipients = {recipient.id: recipient for recipient in entry.recipients}
    reported = [
        dsn.ReportedRecipient(to.address, outcome, action, original_recipient(to.parameters))
        for action, outcomes in change.actions
        for outcome in outcomes
        for to in (recipients[outcome.recipient],)
    ]
    for owed in change.owed:
        to = owed.recipient
        original = original_recipient(to.parameters)
        reported.append(dsn.ReportedRecipient(to.address, owed.outcome, owed.action, original, owed.at))
    return reported


def _parameters(entry: Entry, *, is_ascii: bool) -> Parameters:
    """SMTPUTF8 is needed only if the report itself is not ASCII (RFC 6533)."""
    said = {"SMTPUTF8": ""} if entry.message.smtputf8 and not is_ascii else {}
    return with_body(said, is_ascii=is_ascii)


async def _written(writer: BodyWriter, pieces: Iterator[bytes], *, blocks: bool) -> Body:
    """The message made of these octets. `blocks`: they come from a file. Raises StorageError."""
    try:
        while writer.fault is None and (
            piece := await asyncio.to_thread(next, pieces, b"") if blocks else next(pieces, b"")
        ):
            if (writing := writer.write(piece)) is not None:
                await asyncio.wait([writing])  # which does not cancel it
        return await writer.completed()
    except BaseException as error:
        writer.discard()
        if isinstance(error, OSError | UnfitError):
            raise storage_error(error, "the bounce message") from error
        raise


def _octets(report: dsn.Dsn, settings: Settings, body: Body) -> Iterator[bytes]:
    """The report about a message, in pieces, none of them empty."""
    most, texts = settings.outbound.bounce_original_max, settings.bounce
    if not isinstance(body, SpooledBody):
        yield dsn.build(replace(report, original=body, cut=report.cut or 0 < most < len(body)), texts)
        return
    with open(body.path, "rb") as original:  # noqa: PTH123 - a plain path of the store's
        cut, header_only = body.size > dsn.HEAD, report.cut or 0 < most < body.size
        report = replace(report, original=body.head + original.read(dsn.HEAD), cut=cut or header_only)
        if header_only or not cut:
            yield dsn.build(report, texts)
            return
        is_ascii = report.original.isascii() and all(piece.isascii() for piece in _pieces(original))
        before, behind = dsn.frame(report, texts, is_ascii=is_ascii)
        original.seek(0)
        yield before
        for lines in _lines(body.head, original):
            yield wrapped(lines)
        yield behind


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(dsn.HEAD):
        yield piece


def _lines(rest: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Whole lines of `rest` and the rest of the file, many at once; the last one may be incomplete."""
    for piece in _pieces(file):
        whole, end, rest = (rest + piece).rpartition(b"\n")
        if end:
            yield whole + end
    if rest:
        yield rest

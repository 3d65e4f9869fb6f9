"""The bounce message for recipients that failed for good: original and outcomes in, a draft for the queue out.

`message.dsn` knows what it looks like; here is only what it is made of. Called by `engine`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from mailboat.config.settings import BounceTemplates, Settings
from mailboat.hooks import NO_HOOKS, Hooks
from mailboat.hooks.transaction import before_queueing
from mailboat.message import dsn, received
from mailboat.message.text import wrapped
from mailboat.model.address import NULL_SENDER
from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, Entry, SpooledBody
from mailboat.model.outcome import Outcome
from mailboat.queue.body_writer import discard_body
from mailboat.queue.entry import group
from mailboat.queue.faults import storage_error
from mailboat.queue.store import Store


class Bounces:
    """Writes bounce messages."""

    def __init__(self, store: Store, clock: Clock, hooks: Callable[[], Hooks] = lambda: NO_HOOKS) -> None:
        """`hooks` tells those in force now."""
        self._store = store
        self._clock = clock
        self._hooks = hooks

    async def write(self, entry: Entry, failed: Sequence[Outcome], settings: Settings) -> Draft:
        """The bounce for these recipients of an entry. Raises StorageError: the original is not there, or no room."""
        body = await self._store.body(entry)
        id = self._store.reserve_id()  # noqa: A001 - the field's word
        addresses = {recipient.id: recipient.address for recipient in entry.recipients}
        report = dsn.Dsn(
            id=id,
            me=settings.me,
            message=entry.message,
            failures=[dsn.Failure(addresses[outcome.recipient], outcome) for outcome in failed],
            now=self._clock.now(),
            original=body if isinstance(body, bytes) else b"",
            pid=os.getpid(),
        )
        text, is_ascii = await self._text(report, body, settings)
        draft = Draft(
            sender=NULL_SENDER,
            recipients=[entry.message.sender],
            body=text,
            groups=group([entry.message.sender]),
            id=id,
            # Needed only where the report itself has more than ASCII in it (RFC 6533).
            smtputf8=entry.message.smtputf8 and not is_ascii,
            eightbit=not is_ascii,
        )
        try:
            return await before_queueing(self._hooks(), draft, self._store.new_body_file)
        except BaseException as error:
            discard_body(text)
            if isinstance(error, OSError):
                raise storage_error(error, "the bounce message") from error
            raise

    async def _text(self, report: dsn.Dsn, body: Body, settings: Settings) -> tuple[Body, bool]:
        """The report, and whether it is all ASCII."""
        trace = received.outbound_trace(settings.outbound.received_header, received.rfc5322_date(report.now))
        most = settings.outbound.bounce_original_max
        if isinstance(body, SpooledBody):
            work = partial(_large, report, trace, settings.bounce, self._store.new_body_file)
            return await asyncio.to_thread(work, body, header_only=0 < most < body.size)
        text = trace + dsn.build(replace(report, cut=0 < most < len(body)), settings.bounce)
        return text, text.isascii()


def _large(
    report: dsn.Dsn,
    trace: bytes,
    texts: BounceTemplates,
    new_file: Callable[[], tuple[str, int]],
    body: SpooledBody,
    *,
    header_only: bool,
) -> tuple[Body, bool]:
    """The report about a message on disk: in memory if it is not too large, else on disk too. Not on the loop."""
    try:
        with open(body.path, "rb") as original:  # noqa: PTH123 - a plain path of the store's
            cut = body.size > dsn.HEAD
            report = replace(report, original=original.read(dsn.HEAD), cut=cut or header_only)
            if header_only or not cut:
                text = trace + dsn.build(report, texts)
                return text, text.isascii()
            is_ascii = report.original.isascii() and all(piece.isascii() for piece in _pieces(original))
            before, behind = dsn.frame(report, texts, is_ascii=is_ascii)
            original.seek(0)
            path, descriptor = new_file()
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123
                    file.write(trace + before)
                    file.writelines(wrapped(lines) for lines in _lines(original))
                    file.write(behind)
                    size = file.tell()
            except BaseException:
                discard_body(SpooledBody(path, 0))
                raise
            return SpooledBody(path, size), is_ascii and before.isascii()
    except OSError as error:
        raise storage_error(error, body.path) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(dsn.HEAD):
        yield piece


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, many at once; the last one as it is."""
    rest = b""
    for piece in _pieces(file):
        whole, end, rest = (rest + piece).rpartition(b"\n")
        if end:
            yield whole + end
    if rest:
        yield rest

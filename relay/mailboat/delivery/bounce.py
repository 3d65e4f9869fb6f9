"""The bounce message for recipients that failed for good: original and outcomes in, a draft for the queue out.

`message.dsn` knows what it looks like; here is only what it is made of. Called by `engine`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from mailboat.config.settings import Settings
from mailboat.hooks import NO_HOOKS, Hooks
from mailboat.hooks.transaction import before_queueing
from mailboat.message import dsn, received
from mailboat.model.address import NULL_SENDER
from mailboat.model.clock import Clock
from mailboat.model.envelope import Draft, Entry, SpooledBody
from mailboat.model.outcome import Outcome
from mailboat.queue.entry import group
from mailboat.queue.store import StorageError, Store


class Bounces:
    """Writes bounce messages."""

    def __init__(self, store: Store, clock: Clock, hooks: Callable[[], Hooks] = lambda: NO_HOOKS) -> None:
        """`hooks` tells those in force now."""
        self._store = store
        self._clock = clock
        self._hooks = hooks

    async def write(self, entry: Entry, failed: Sequence[Outcome], settings: Settings) -> Draft:
        """The bounce for these recipients of an entry. Raises StorageError when the original cannot be read."""
        body = await self._store.body(entry)
        if isinstance(body, SpooledBody):
            original, cut = await asyncio.to_thread(_head, body)
        else:
            original, cut = body, False
        now = self._clock.now()
        id = self._store.reserve_id()  # noqa: A001 - the field's word
        addresses = {recipient.id: recipient.address for recipient in entry.recipients}
        report = dsn.Dsn(
            id=id,
            me=settings.me,
            message=entry.message,
            failures=[dsn.Failure(addresses[outcome.recipient], outcome) for outcome in failed],
            now=now,
            original=original,
            cut=cut,
            pid=os.getpid(),
        )
        trace = received.outbound_trace(settings.outbound.received_header, received.rfc5322_date(now))
        text = dsn.build(report, settings.bounce)
        draft = Draft(
            sender=NULL_SENDER,
            recipients=[entry.message.sender],
            body=trace + text,
            groups=group([entry.message.sender]),
            id=id,
            # Needed only where the report itself has more than ASCII in it (RFC 6533).
            smtputf8=entry.message.smtputf8 and not text.isascii(),
            eightbit=not text.isascii(),
        )
        return await before_queueing(self._hooks(), draft, self._store.new_body_file)


def _head(body: SpooledBody) -> tuple[bytes, bool]:
    """The first octets of a large body, and whether there are more."""
    try:
        with open(body.path, "rb") as file:  # noqa: PTH123 - a plain path of the store's
            return file.read(dsn.ORIGINAL_LIMIT), body.size > dsn.ORIGINAL_LIMIT
    except OSError as error:
        raise StorageError(f"cannot read {body.path}: {error.strerror}") from error

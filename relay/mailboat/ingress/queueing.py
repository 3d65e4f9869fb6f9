"""From the end of data to the 250: faults, plugins, the commit, and what the client hears of it.

The 250 waits for the store's future, so for the fsync of the group commit, and for `queue_ok` after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mailboat.hooks import Code, Decision, Point
from mailboat.ingress import denials, replies
from mailboat.ingress.authentication import Authentication
from mailboat.ingress.transaction import Transaction
from mailboat.message import received
from mailboat.message.prepare import UnfitError
from mailboat.model.envelope import Body, Entry
from mailboat.model.observer import Received, RejectReason
from mailboat.queue.store import StorageError
from mailboat.smtp import events
from mailboat.smtp.data import DataFault

log = logging.getLogger(__name__)

_BEFORE_QUEUEING = (Point.DATA_POST, Point.QUEUE_OUTBOUND, Point.PRE_SEND_TRANS_EMAIL)


class Queueing(Authentication):
    """A connection that can take a whole message."""

    _idle_commands = 0

    def _on_end_of_data(self, event: events.EndOfData) -> None:
        writing = self._current().write(event.octets)
        ended = partial(self._message_ended, event.fault)
        if writing is None:
            ended()
        else:
            self._wait_for_disk(writing, ended)

    def _wait_for_disk(self, work: asyncio.Future[Any], then: Callable[[], None]) -> None:
        """Hear the client no further until a thread is through with the file; that time is not the client's."""
        self._held = self._committing = True
        since = self._context.clock.monotonic()
        work.add_done_callback(lambda _: self._disk_is_through(since, then))

    def _disk_is_through(self, since: float, then: Callable[[], None]) -> None:
        message = self._current()
        self._held = self._committing = False
        if self._closing:  # nobody was promised anything
            self._drop_transaction()
            return
        message.began_at += self._context.clock.monotonic() - since
        then()
        self._go_on()

    def _message_ended(self, fault: DataFault | None) -> None:
        message = self._current()
        if fault is not None:
            reply, reason = replies.DATA_FAULTS[fault]
            self._refuse_message(reason, reply)
            return
        if message.is_too_big:
            self._refuse_message(RejectReason.TOO_BIG, replies.TOO_BIG)
            return
        if message.has_nul:
            self._context.observer.nul_found(message.settings.smtp.nul)
        try:
            finishing = message.finish()
        except UnfitError as error:
            reply, reason = replies.UNFIT[type(error)]
            self._refuse_message(reason, reply)
        except OSError as error:
            self._storage_failed(error)
        else:
            if finishing is None:
                self._decide()
            else:
                self._wait_for_disk(finishing, partial(self._message_finished, finishing))

    def _message_finished(self, done: asyncio.Future[Body]) -> None:
        error = done.exception()
        if error is None:
            self._decide()
        else:
            self._storage_failed(error)

    def _decide(self) -> None:
        self._await(self._hooks.begin_row(_BEFORE_QUEUEING, self._who), self._message_decided)

    def _message_decided(self, decision: Decision) -> None:
        if decision.code in denials.REFUSALS:
            self._deny_message(Point(decision.point), decision)
        elif decision.code is Code.OK and decision.point == Point.QUEUE_OUTBOUND:
            self._taken_elsewhere(decision)
        else:
            self._ready()

    def _taken_elsewhere(self, decision: Decision) -> None:
        """A plugin has taken the message: it is not ours any more."""
        id_ = self._current().id
        log.info("%s: the plugin %s has taken the message", id_, decision.plugin)
        self._drop_transaction()
        self._idle_commands = 0
        self._answer(denials.accepted(b"250", "2.0.0", f"{decision.text or 'Message Queued'} ({id_})"))

    def _ready(self) -> None:
        message = self._current()
        if message.needs_rewriting:
            self._committing = True
            rewritten = asyncio.get_running_loop().run_in_executor(None, message.rewrite)
            rewritten.add_done_callback(partial(self._rewritten, message))
        else:
            self._queue(message)

    def _rewritten(self, message: Transaction, done: asyncio.Future[None]) -> None:
        """The file has its new header, or there was no room for it."""
        self._committing = False
        error = done.exception()
        if self._closing:  # nobody was promised anything
            message.discard()
        elif error is None:
            self._queue(message)
        else:
            self._storage_failed(error)
            self._go_on()

    def _queue(self, message: Transaction) -> None:
        try:
            draft = message.draft()
        except OSError as error:
            self._refuse_message(RejectReason.STORAGE, replies.storage_reply(error))
            return
        committed = self._context.store.accept(draft)
        self._committing = True
        committed.add_done_callback(self._committed)

    def _committed(self, done: asyncio.Future[Sequence[Entry]]) -> None:
        """C1 is durable, or failed: only now may the client hear of it."""
        error = StorageError("given up") if done.cancelled() else done.exception()
        if error is None:
            self._tell(done.result())
            text = f"Message Queued ({self._current().id})"
            if not self._hooks.wants(Point.QUEUE_OK):
                self._confirm()
                return
            asked = self._hooks.begin(Point.QUEUE_OK, self._who, text)
            if isinstance(asked, Decision):
                self._confirm()
            else:  # not `_ask`: the message is queued, and its hook goes on, whether the client is still here or not
                asked.on_done(lambda _: self._confirm())
        else:
            self._committing = False
            self._storage_failed(error)
            self._go_on()

    def _storage_failed(self, error: BaseException) -> None:
        if not isinstance(error, StorageError | OSError):
            log.error("a message could not be queued, its client is told 451", exc_info=error)
        self._refuse_message(RejectReason.STORAGE, replies.storage_reply(error))

    def _tell(self, entries: Sequence[Entry]) -> None:
        message = self._current()
        origin = message.origin
        protocol = received.protocol(
            extended=origin.extended,
            tls=bool(origin.tls_version),
            authenticated=origin.authenticated,
            smtputf8=message.mail.smtputf8,
        )
        recipients = [str(address) for address in message.recipients]
        user = self._who.auth_user or ""
        self._context.observer.received(Received(entries[0].message, recipients, self._client, protocol, user))

    def _confirm(self) -> None:
        """The message is durable, and everybody knows."""
        self._committing = False
        id_ = self._current().id
        self._end_transaction()
        self._idle_commands = 0
        self._answer(replies.queued(id_))
        self._go_on()

    def _refuse_message(self, reason: RejectReason, reply: bytes) -> None:
        self._refuse(reason, reply)
        self._drop_transaction()

    def _deny_message(self, point: Point, decision: Decision) -> None:
        self._deny(point, decision)
        self._drop_transaction()

"""One client and its mail: the decisions that its `ServerSession` asks for, one handler an event.

Decisions are synchronous, and a reply is written as soon as one is known. The 250 after DATA waits for the store's
future, so for the fsync of the group commit. Knows no sockets (`wire` does) and no message octets (`transaction`);
made by `listener`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from mailboat.ingress import replies
from mailboat.ingress.context import IngressContext
from mailboat.ingress.transaction import TooManyHops, Transaction
from mailboat.ingress.wire import MAX_BUFFERED, Wire
from mailboat.message import received
from mailboat.model.envelope import Entry
from mailboat.model.observer import Received, Rejected, RejectReason
from mailboat.queue.store import StorageError
from mailboat.smtp import events

log = logging.getLogger(__name__)

SLOWEST_RATE = 1024
"""Octets a second that a message must come in at, besides `inactivity_timeout` once."""
MAX_IDLE_COMMANDS = 100
"""EHLO, NOOP, RSET, VRFY and HELP between two messages; each one more counts as an error. Far more than any client
needs that checks an idle connection now and then, far less than keeps a worker busy."""


class Connection(Wire):
    """A client's connection."""

    def __init__(self, context: IngressContext, *, implicit_tls: bool = False) -> None:
        super().__init__(context, implicit_tls=implicit_tls)
        self._entered = False
        """Counted by admission."""
        self._relaying = False
        self._origin = received.Origin("", "")
        self._transaction: Transaction | None = None
        self._errors = 0
        self._idle_commands = 0

    # The wire's questions.

    def _welcome(self) -> bytes | None:
        admission = self._context.admission
        refusal = admission.enter(self._client)
        if refusal is not None:
            reply, reason = replies.REFUSALS[refusal]
            self._reject(reason, reply)
            return reply
        self._entered = True
        self._context.observer.inbound_connections(+1)
        self._relaying = admission.may_relay(self._client)
        return None

    def _farewell(self) -> None:
        """A message whose commit is under way stays accepted: the client may not know, and sends it again."""
        if self._entered:
            self._context.admission.leave(self._client)
            self._context.observer.inbound_connections(-1)
        if not self._committing:
            self._drop_transaction()

    # Refusals.

    def _refuse(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        self._reject(reason, reply, recipient)
        self._answer(reply, accepted=False)
        if reply.startswith(b"5"):  # trouble of our own is no error of the client
            self._count_error()

    def _refuse_message(self, reason: RejectReason, reply: bytes) -> None:
        self._refuse(reason, reply)
        self._drop_transaction()

    def _reject(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        sender = str(self._transaction.mail.sender) if self._transaction else ""
        text = reply.decode().rstrip()
        self._context.observer.rejected(Rejected(reason, self._client, text, sender, recipient))

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._settings.smtp.max_errors and not self._closing:
            self._reject(RejectReason.TOO_MANY_ERRORS, replies.TOO_MANY_ERRORS)
            self._say_goodbye(replies.TOO_MANY_ERRORS)

    def _count_idle_command(self) -> None:
        self._idle_commands += 1
        if self._idle_commands > MAX_IDLE_COMMANDS:
            self._count_error()

    # Events, one handler each.

    def _on_hello(self, event: events.Hello) -> None:
        self._drop_transaction()
        tls = self._transport.get_extra_info("cipher")
        self._origin = received.Origin(
            ehlo=event.name,
            ip=self._client,
            extended=event.extended,
            tls_version=tls[1] if tls else "",
            tls_cipher=tls[0] if tls else "",
        )
        self._answer(self._session.ehlo())
        self._count_idle_command()

    def _on_mail(self, event: events.Mail) -> None:
        refusal = self._context.admission.room()
        if refusal is not None:
            reply, reason = replies.REFUSALS[refusal]
            self._refuse(reason, reply)
        elif event.size > self._settings.smtp.databytes:
            self._refuse(RejectReason.TOO_BIG, replies.TOO_BIG)  # RFC 1870 6.1: before the octets are sent
        else:
            self._transaction = Transaction(event, self._origin, self._settings, self._context.store)
            self._answer(replies.SENDER_OK)

    def _on_rcpt(self, event: events.Rcpt) -> None:
        transaction = self._current()
        if not self._relaying:
            self._refuse(RejectReason.RELAY_DENIED, replies.RELAY_DENIED, str(event.recipient))
        elif len(transaction.recipients) >= self._settings.smtp.max_recipients:
            self._refuse(RejectReason.TOO_MANY_RECIPIENTS, replies.TOO_MANY_RECIPIENTS, str(event.recipient))
        else:
            transaction.recipients.append(event.recipient)
            self._answer(replies.RECIPIENT_OK)

    def _on_data(self, _: events.Data) -> None:
        self._current().begin(self._context.clock)
        self._answer(replies.GO_AHEAD)

    def _on_chunk(self, event: events.Chunk) -> None:
        transaction = self._current()
        transaction.write(event.octets)
        self._touch()
        # A trickle keeps no connection open for ever: all of the message counts, not only its last piece.
        slowest = self._settings.smtp.inactivity_timeout + transaction.size / SLOWEST_RATE
        self._deadline = min(self._deadline, transaction.began_at + slowest)
        if transaction.size > 2 * self._settings.smtp.databytes + MAX_BUFFERED:
            self._reject(RejectReason.TOO_BIG, replies.TOO_BIG)
            self._say_goodbye(replies.TOO_BIG)

    def _on_end_of_data(self, event: events.EndOfData) -> None:
        transaction = self._current()
        transaction.write(event.octets)
        if event.fault is not None:
            reply, reason = replies.DATA_FAULTS[event.fault]
            self._refuse_message(reason, reply)
            return
        if transaction.is_too_big:
            self._refuse_message(RejectReason.TOO_BIG, replies.TOO_BIG)
            return
        try:
            draft = transaction.draft()
        except TooManyHops:
            self._refuse_message(RejectReason.LOOP, replies.LOOP)
        except OSError as error:
            self._refuse_message(RejectReason.STORAGE, replies.storage_reply(error))
        else:
            committed = self._context.store.accept(draft)
            self._committing = True
            committed.add_done_callback(self._committed)

    def _committed(self, done: asyncio.Future[Sequence[Entry]]) -> None:
        """C1 is durable, or failed: only now may the client hear of it."""
        self._committing = False
        error = StorageError("given up") if done.cancelled() else done.exception()
        if error is None:
            self._confirm(done.result())
        else:
            if not isinstance(error, StorageError):
                log.error("a message could not be queued, its client is told 451", exc_info=error)
            self._refuse_message(RejectReason.STORAGE, replies.storage_reply(error))
        self._go_on()

    def _confirm(self, entries: Sequence[Entry]) -> None:
        transaction = self._current()
        origin = transaction.origin
        protocol = received.protocol(
            extended=origin.extended,
            tls=bool(origin.tls_version),
            authenticated=origin.authenticated,
            smtputf8=transaction.mail.smtputf8,
        )
        recipients = [str(address) for address in transaction.recipients]
        self._context.observer.received(Received(entries[0].message, recipients, self._client, protocol))
        self._transaction = None
        self._idle_commands = 0
        self._answer(replies.queued(transaction.id))

    def _current(self) -> Transaction:
        """The open transaction: the session lets no RCPT or DATA through without one."""
        assert self._transaction is not None
        return self._transaction

    def _drop_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.discard()
            self._transaction = None

    def _on_start_tls(self, _: events.StartTls) -> None:
        if not self._context.tls.available:  # the certificate was taken out of the configuration meanwhile
            self._refuse(RejectReason.TLS, replies.NO_TLS)
            return
        self._answer(replies.START_TLS)
        self._flush()
        self._begin_tls()

    def _on_reset(self, event: events.Reset) -> None:
        self._drop_transaction()
        self._on_idle(event)

    def _on_idle(self, _: events.Event) -> None:
        self._touch()
        self._count_idle_command()

    def _on_quit(self, _: events.Quit) -> None:
        self._flush()
        self._end()

    def _on_refusal(self, event: events.Refusal) -> None:
        self._reject(_REASONS[event.kind], event.reply.encode())
        self._touch()
        self._count_error()

    _handlers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        events.Hello: _on_hello,
        events.Mail: _on_mail,
        events.Rcpt: _on_rcpt,
        events.Data: _on_data,
        events.Chunk: _on_chunk,
        events.EndOfData: _on_end_of_data,
        events.StartTls: _on_start_tls,
        events.Reset: _on_reset,
        events.Idle: _on_idle,
        events.Quit: _on_quit,
        events.Refusal: _on_refusal,
    }


_REASONS = {
    "syntax": RejectReason.SYNTAX,
    "sequence": RejectReason.SEQUENCE,
    "too_long": RejectReason.LINE_TOO_LONG,
    "bare_newline": RejectReason.BARE_NEWLINE,
    "auth": RejectReason.AUTH,
}

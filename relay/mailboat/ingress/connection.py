"""One client: octets between its socket and its `ServerSession`, and the decisions that the session asks for.

Everything happens in callbacks of the event loop: no task a connection, and a reply is written as soon as the
decision is known. The 250 after DATA waits for the store's future, so for the fsync of the group commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from mailboat.config.settings import BareNewline, Settings
from mailboat.ingress import replies
from mailboat.ingress.admission import Admission
from mailboat.ingress.tls import ServerTls
from mailboat.ingress.transaction import TooManyHops, Transaction
from mailboat.message import received
from mailboat.model.clock import Clock
from mailboat.model.envelope import Entry
from mailboat.model.observer import Observer, Received, Rejected, RejectReason
from mailboat.queue.store import StorageError, Store
from mailboat.smtp import events
from mailboat.smtp.extensions import Offers
from mailboat.smtp.session import ServerSession, SessionLimits

log = logging.getLogger(__name__)

MAX_BUFFERED = 65_536
"""Octets of pipelined input that wait for a reply before reading stops."""
SLOWEST_RATE = 1024
"""Octets a second that a message must come in at, besides `inactivity_timeout` once."""
HANDSHAKE_TIMEOUT = 30.0
"""Seconds."""
LINGER = 5.0
"""Seconds between our last word and the end of the connection, for a client that does not close."""


@dataclass(slots=True)
class IngressContext:
    """What all connections of a worker share. `settings` is replaced on reload; a session keeps what it began with."""

    settings: Settings
    store: Store
    admission: Admission
    observer: Observer
    clock: Clock
    tls: ServerTls
    connections: set[Connection]


class Connection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, context: IngressContext, *, implicit_tls: bool = False) -> None:
        self._context = context
        self._settings = context.settings
        self._implicit_tls = implicit_tls
        self._session = self._new_session()
        self._client = ""
        self._entered = False
        self._origin = received.Origin("", "")
        self._transaction: Transaction | None = None
        self._relaying = False
        self._errors = 0
        self._closing = False
        self._reading = True
        self._deadline = 0.0
        self._committing = False
        self._eof = False
        self._upgrade: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._data_since = 0.0

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (or, with implicit TLS, finished its handshake)."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is none
        peer = transport.get_extra_info("peername")
        self._client = peer[0] if isinstance(peer, tuple) else ""
        refusal = self._context.admission.enter(self._client)
        if refusal is not None:
            reply, reason = replies.REFUSALS[refusal]
            self._reject(reason, reply)
            self._say_goodbye(reply)
            return
        self._entered = True
        self._context.connections.add(self)
        self._context.observer.inbound_connections(+1)
        self._relaying = self._context.admission.may_relay(self._client)
        self._touch()
        if self._implicit_tls:
            self._begin_tls()
        else:
            self._session.greet()
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone. A message whose commit is under way stays accepted: it may not know, and sends again."""
        if self._entered:
            self._context.admission.leave(self._client)
            self._context.connections.discard(self)
            self._context.observer.inbound_connections(-1)
            self._entered = False
        if self._transaction is not None and not self._committing:
            self._transaction.discard()
        self._closing = True

    def data_received(self, data: bytes) -> None:
        """Octets from the client."""
        session = self._session
        if self._closing:
            return
        if self._upgrade is not None:
            self._early.append(data)  # inside TLS already, but `start_tls` has not returned its transport yet
            return
        session.feed(data)
        self._run()
        if session.buffered > MAX_BUFFERED and self._reading and not self._closing:
            self._reading = False
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more. It may still wait for the reply to its last message; TLS cannot stay half open."""
        self._eof = True
        return self._committing and self._transport.can_write_eof()

    # Time, as the listener's sweep sees it.

    def expired(self, now: float) -> bool:
        """Whether the client has taken too long; `now` is monotonic."""
        return now > self._deadline and not self._committing

    def time_out(self) -> None:
        """Give the client up."""
        if self._closing:
            return
        self._reject(RejectReason.TIMEOUT, replies.IDLE_TOO_LONG)
        self._say_goodbye(replies.IDLE_TOO_LONG)

    def shut_down(self) -> None:
        """Close with 421 as soon as no transaction is under way (RFC 5321 3.8)."""
        if self._session.is_idle and not self._closing:
            self._say_goodbye(replies.SHUTTING_DOWN)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # The session's side.

    def _new_session(self) -> ServerSession:
        smtp = self._settings.smtp
        limits = SessionLimits(smtp.data_line_length, smtp.bare_newline is BareNewline.NORMALIZE)
        return ServerSession(self._settings.me, limits, self._offers(inside_tls=self._implicit_tls))

    def _offers(self, *, inside_tls: bool) -> Offers:
        return Offers(self._settings.smtp.databytes, starttls=self._context.tls.available and not inside_tls)

    def _run(self) -> None:
        session = self._session
        while not self._closing:
            event = session.next_event()
            if event is None:
                break
            self._handlers[type(event)](self, event)
        self._flush()

    def _flush(self) -> None:
        if output := self._session.take_output():
            self._transport.write(output)

    def _touch(self) -> None:
        self._deadline = self._context.clock.monotonic() + self._settings.smtp.inactivity_timeout

    def _answer(self, reply: bytes, *, accepted: bool = True) -> None:
        self._session.answer(reply, accepted=accepted)
        self._touch()

    def _refuse(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        self._reject(reason, reply, recipient)
        self._answer(reply, accepted=False)
        if reply.startswith(b"5"):  # trouble of our own is no error of the client
            self._count_error()

    def _reject(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        sender = str(self._transaction.mail.sender) if self._transaction else ""
        text = reply.decode().rstrip()
        self._context.observer.rejected(Rejected(reason, self._client, text, sender, recipient))

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._settings.smtp.max_errors:
            self._reject(RejectReason.TOO_MANY_ERRORS, replies.TOO_MANY_ERRORS)
            self._say_goodbye(replies.TOO_MANY_ERRORS)

    def _say_goodbye(self, reply: bytes) -> None:
        self._session.close(reply)
        self._flush()
        self._close()

    def _close(self) -> None:
        """Close after what is written. Unread input would turn the close into a reset that eats our last words, so
        it is read and dropped for a while."""
        self._closing = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER, self._transport.abort)
        else:
            self._transport.close()

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
        self._current().begin(self._context.clock.now())
        self._data_since = self._context.clock.monotonic()
        self._answer(replies.GO_AHEAD)

    def _on_chunk(self, event: events.Chunk) -> None:
        transaction = self._current()
        transaction.write(event.octets)
        self._touch()
        # A trickle keeps no connection open for ever: all of the message counts, not only its last piece.
        slowest = self._settings.smtp.inactivity_timeout + transaction.size / SLOWEST_RATE
        self._deadline = min(self._deadline, self._data_since + slowest)
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
            self._committing = True
            self._context.store.accept(draft).add_done_callback(self._committed)

    def _committed(self, done: asyncio.Future[Sequence[Entry]]) -> None:
        """C1 is durable, or failed: only now may the client hear of it."""
        self._committing = False
        transaction = self._current()
        error = done.exception()
        if isinstance(error, StorageError):
            self._refuse_message(RejectReason.STORAGE, replies.storage_reply(error))
        elif error is not None:
            raise error
        else:
            self._tell_received(transaction, done.result())
            self._transaction = None
            self._answer(replies.queued(transaction.id))
        if not self._closing:
            self._resume()

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        self._run()
        if self._context.admission.load.draining:
            self.shut_down()
        if self._eof and not self._committing and not self._closing:
            self._transport.close()

    def _tell_received(self, transaction: Transaction, entries: Sequence[Entry]) -> None:
        origin = transaction.origin
        protocol = received.protocol(
            extended=origin.extended,
            tls=bool(origin.tls_version),
            authenticated=origin.authenticated,
            smtputf8=transaction.mail.smtputf8,
        )
        recipients = [str(address) for address in transaction.recipients]
        self._context.observer.received(Received(entries[0].message, recipients, self._client, protocol))

    def _refuse_message(self, reason: RejectReason, reply: bytes) -> None:
        self._refuse(reason, reply)
        self._drop_transaction()
        if self._session.is_deaf and not self._closing:
            self._flush()
            self._close()

    def _current(self) -> Transaction:
        """The open transaction: the session lets no RCPT or DATA through without one."""
        assert self._transaction is not None
        return self._transaction

    def _drop_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.discard()
            self._transaction = None

    def _on_start_tls(self, _: events.StartTls) -> None:
        self._answer(replies.START_TLS)
        self._flush()
        self._drop_transaction()
        self._begin_tls()

    def _begin_tls(self) -> None:
        self._transport.pause_reading()
        self._upgrade = asyncio.create_task(self._start_tls())

    async def _start_tls(self) -> None:
        session, context = self._session, self._context.tls.context
        assert context is not None
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
            )
        except OSError as error:  # ssl.SSLError is one
            self._reject(RejectReason.TLS, f"TLS handshake failed: {error}".encode())
            self._transport.abort()
            return
        if transport is None:  # the client left during the handshake
            return
        self._transport = transport
        self._upgrade = None
        session.restart(self._offers(inside_tls=True))
        if self._implicit_tls:
            session.greet()
        session.feed(b"".join(self._early))
        self._early.clear()
        self._touch()
        self._run()
        self._flush()

    def _on_reset(self, _: events.Reset) -> None:
        self._drop_transaction()
        self._touch()

    def _on_quit(self, _: events.Quit) -> None:
        self._flush()
        self._closing = True
        self._transport.close()

    def _on_refusal(self, event: events.Refusal) -> None:
        self._reject(_REASONS[event.kind], event.reply.encode())
        self._count_error()
        self._touch()

    _handlers: ClassVar[dict[type, Callable[[Connection, Any], None]]] = {
        events.Hello: _on_hello,
        events.Mail: _on_mail,
        events.Rcpt: _on_rcpt,
        events.Data: _on_data,
        events.Chunk: _on_chunk,
        events.EndOfData: _on_end_of_data,
        events.StartTls: _on_start_tls,
        events.Reset: _on_reset,
        events.Quit: _on_quit,
        events.Refusal: _on_refusal,
    }


_REASONS = {
    "syntax": RejectReason.SYNTAX,
    "sequence": RejectReason.SEQUENCE,
    "too_long": RejectReason.LINE_TOO_LONG,
    "bare_newline": RejectReason.BARE_NEWLINE,
}

"""One client and its mail: the decisions that its `ServerSession` asks for, one handler an event.

Decisions are synchronous unless a plugin has to wait for something, and a reply is written as soon as one is known.
Knows no sockets (`wire` does) and no message octets (`transaction`); made by `listener`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from mailboat.hooks import Code, Decision, Point
from mailboat.ingress import denials, replies
from mailboat.ingress.client import Client
from mailboat.ingress.context import IngressContext
from mailboat.ingress.queueing import Queueing
from mailboat.ingress.senders import is_allowed
from mailboat.ingress.transaction import Transaction
from mailboat.ingress.wire import MAX_BUFFERED
from mailboat.message import received
from mailboat.model.address import Address
from mailboat.model.observer import RejectReason
from mailboat.smtp import events

SLOWEST_RATE = 1024
"""Octets a second that a message must come in at, besides `inactivity_timeout` once."""
MAX_IDLE_COMMANDS = 100
"""EHLO, NOOP, RSET, VRFY and HELP between two messages; each one more counts as an error. Far more than any client
needs that checks an idle connection now and then, far less than keeps a worker busy."""


class Connection(Queueing):
    """A client's connection."""

    def __init__(self, context: IngressContext, *, implicit_tls: bool = False, submission: bool = False) -> None:
        super().__init__(context, implicit_tls=implicit_tls)
        self._submission = submission or implicit_tls
        self._entered = False
        """Counted by admission."""
        self._may_relay_anyway = False
        """Without AUTH: by address, or because a plugin said so when the client connected."""

    # The wire's questions.

    def _welcome(self) -> bytes | None:
        admission = self._context.admission
        refusal = admission.enter(self._client, self)
        if refusal is not None:
            reply, reason = replies.REFUSALS[refusal]
            self._reject(reason, reply)
            return reply
        self._entered = True
        self._context.observer.inbound_connections(+1)
        self._who = Client(self._transport, self._client, admission.may_relay(self._client))
        self._may_relay = self._who.relaying
        self._session.bare_paths = lambda: self._who.relaying and not self._settings.smtp.strict_rfc1869
        return None

    def _open(self) -> None:
        self._ask(Point.CONNECT, self._connect_decided)

    def _connect_decided(self, decision: Decision) -> None:
        if decision.code in denials.REFUSALS:
            self._deny(Point.CONNECT, decision)
            return
        self._may_relay = self._may_relay_anyway = self._who.relaying
        self._trust()
        self._session.greet()
        self._flush()

    def _secured(self) -> None:
        """What was said in clear counts no more (RFC 3207 4.2)."""
        who = self._who
        who.tls = True
        who.auth_user = None
        who.hello_name = ""
        if not self._implicit_tls:
            who.relaying = self._may_relay = self._may_relay_anyway

    def _farewell(self) -> None:
        """A message whose commit is under way stays accepted: the client may not know, and sends it again."""
        if self._entered:
            self._context.admission.leave(self)
            self._context.observer.inbound_connections(-1)
        if not self._committing:
            self._drop_transaction()

    # What admission asks of a visitor.

    @property
    def is_idle(self) -> bool:
        """Whether no plugin decides about it, and it is not handing in a message."""
        message = self._who.message
        return self._asked is None and not (self._committing or (message and message.recipients))

    def make_room(self) -> None:
        """Close, for the sake of another client."""
        if self._closing or self._upgrade is not None:
            self.abort()
            return
        self._reject(RejectReason.TOO_MANY_CONNECTIONS, replies.MADE_ROOM)
        self._session.close(replies.MADE_ROOM)
        self._flush()
        self._end()
        self._allow(0.0)  # inside TLS the other side has to agree: the next sweep waits for that no longer

    def _trust(self) -> None:
        if self._may_relay:
            self._context.admission.trust(self)

    def _count_idle_command(self) -> None:
        self._idle_commands += 1
        if self._idle_commands > MAX_IDLE_COMMANDS:
            self._count_error()

    # Events, one handler each.

    def _on_hello(self, event: events.Hello) -> None:
        self._drop_transaction()
        self._put_off = False
        self._who.hello_name = event.name
        self._ask(Point.EHLO, partial(self._hello_decided, event), event.name)

    def _hello_decided(self, event: events.Hello, decision: Decision) -> None:
        if decision.code in denials.REFUSALS:
            self._deny(Point.EHLO, decision)
            return
        self._may_relay = self._who.relaying
        self._trust()
        tls = self._transport.get_extra_info("cipher")
        self._origin = received.Origin(
            ehlo=event.name,
            ip=self._client,
            extended=event.extended,
            authenticated=self._session.authenticated,
            tls_version=tls[1] if tls else "",
            tls_cipher=tls[0] if tls else "",
        )
        self._offer_auth()
        self._answer(self._session.ehlo())
        self._count_idle_command()

    def _on_mail(self, event: events.Mail) -> None:
        self._put_off = False
        refusal = self._context.admission.room()
        if self._must_authenticate():
            self._refuse(RejectReason.AUTH, replies.AUTH_REQUIRED)
        elif not self._may_send_as(event.sender):
            self._refuse(RejectReason.SENDER_DENIED, replies.SENDER_DENIED)
        elif refusal is not None:
            reply, reason = replies.REFUSALS[refusal]
            self._refuse(reason, reply)
        elif event.size > self._settings.smtp.databytes:
            self._refuse(RejectReason.TOO_BIG, replies.TOO_BIG)  # RFC 1870 6.1: before the octets are sent
        else:
            self._who.message = Transaction(event, self._origin, self._settings, self._context.store)
            if self._hooks.wants(Point.MAIL):
                self._ask(Point.MAIL, self._mail_decided, event.sender, _parameters(event))
            else:
                self._answer(replies.SENDER_OK)

    def _may_send_as(self, sender: Address) -> bool:
        """Whether `senders_allow` has the sender, where the client relays by address; users are for plugins to hold."""
        allowed = self._context.settings.senders_allow
        who = self._who
        return allowed is None or not who.relaying or who.auth_user is not None or is_allowed(sender, allowed)

    def _mail_decided(self, decision: Decision) -> None:
        if decision.code in denials.REFUSALS:
            self._deny_message(Point.MAIL, decision)
        else:
            self._answer(replies.SENDER_OK)

    def _on_rcpt(self, event: events.Rcpt) -> None:
        if len(self._current().recipients) >= self._settings.smtp.max_recipients:
            self._refuse(RejectReason.TOO_MANY_RECIPIENTS, replies.TOO_MANY_RECIPIENTS, str(event.recipient))
        elif self._hooks.wants(Point.RCPT):
            then = partial(self._rcpt_decided, event, self._who.relaying)
            self._ask(Point.RCPT, then, event.recipient, {})
        else:
            self._take_recipient(event, allowed=self._who.relaying)

    def _rcpt_decided(self, event: events.Rcpt, relaying: bool, decision: Decision) -> None:
        allowed = self._who.relaying or decision.code is Code.OK
        self._who.relaying = relaying
        if decision.code in denials.REFUSALS:
            self._deny(Point.RCPT, decision, str(event.recipient))
        else:
            self._take_recipient(event, allowed=allowed)

    def _take_recipient(self, event: events.Rcpt, *, allowed: bool) -> None:
        if allowed:
            self._current().take_recipient(event.recipient)
            self._answer(replies.RECIPIENT_OK)
        else:
            self._refuse(RejectReason.RELAY_DENIED, self._relay_denied(), str(event.recipient))

    def _on_data(self, _: events.Data) -> None:
        self._put_off = False
        self._current().begin(self._context.clock)
        self._answer(replies.GO_AHEAD)

    def _on_chunk(self, event: events.Chunk) -> None:
        message = self._current()
        writing = message.write(event.octets)
        self._touch()
        # A trickle keeps no connection open for ever: all of the message counts, not only its last piece.
        slowest = self._settings.smtp.inactivity_timeout + message.size / SLOWEST_RATE
        self._deadline = min(self._deadline, message.began_at + slowest)
        if message.size > 2 * self._settings.smtp.databytes + MAX_BUFFERED:
            self._reject(RejectReason.TOO_BIG, replies.TOO_BIG)
            self._say_goodbye(replies.TOO_BIG)
        elif writing is not None:
            self._wait_for_disk(writing, self._touch)

    def _on_start_tls(self, _: events.StartTls) -> None:
        if not self._context.tls.available:  # the certificate was taken out of the configuration meanwhile
            self._refuse(RejectReason.TLS, replies.NO_TLS)
            return
        self._answer(replies.START_TLS)
        self._flush()
        self._begin_tls()

    def _on_challenge(self, _: events.Challenge) -> None:
        self._touch()

    def _on_reset(self, event: events.Reset) -> None:
        self._drop_transaction()
        put_off, self._put_off = self._put_off, False
        if put_off:
            self._touch()  # this ends what we refused, and is no idle command
        else:
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
        if not (self._put_off and event.kind == "sequence"):
            self._count_error()

    _handlers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        events.Hello: _on_hello,
        events.Mail: _on_mail,
        events.Rcpt: _on_rcpt,
        events.Data: _on_data,
        events.Chunk: _on_chunk,
        events.EndOfData: Queueing._on_end_of_data,  # noqa: SLF001 - its own class's
        events.StartTls: _on_start_tls,
        events.Challenge: _on_challenge,
        events.Auth: Queueing._on_auth,  # noqa: SLF001
        events.Reset: _on_reset,
        events.Idle: _on_idle,
        events.Quit: _on_quit,
        events.Refusal: _on_refusal,
    }


def _parameters(event: events.Mail) -> dict[str, str]:
    """What stood behind the sender, as plugins get it."""
    size = {"SIZE": str(event.size)} if event.size else {}
    body = {"BODY": "8BITMIME"} if event.eightbit else {}
    return {**size, **body, **({"SMTPUTF8": ""} if event.smtputf8 else {})}


_REASONS = {
    "syntax": RejectReason.SYNTAX,
    "sequence": RejectReason.SEQUENCE,
    "too_long": RejectReason.LINE_TOO_LONG,
    "bare_newline": RejectReason.BARE_NEWLINE,
    "auth": RejectReason.AUTH,
}

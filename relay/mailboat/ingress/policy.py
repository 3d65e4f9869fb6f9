"""Decides about a client: who may connect, send, and to whom, with admission, plugins and AUTH.

Decisions are synchronous unless a plugin waits. Knows no sockets (`connection` does) and no message octets (`receiver`
does); made by `connection`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from mailboat.hooks import Decision, Point
from mailboat.ingress import policy_replies, replies
from mailboat.ingress.authenticator import Authenticator
from mailboat.ingress.context import IngressContext
from mailboat.ingress.dialogue import Dialogue
from mailboat.ingress.policy_gate import PolicyGate
from mailboat.ingress.senders import is_allowed
from mailboat.message import received
from mailboat.model.address import Address
from mailboat.model.observer import RejectReason
from mailboat.smtp import events
from mailboat.smtp.extensions import size
from mailboat.smtp.sasl import MECHANISMS

log = logging.getLogger(__name__)


class Policy:
    """Decides about one client."""

    __slots__ = (
        "_client",
        "_context",
        "_dialogue",
        "_entered",
        "_gate",
        "_may_relay_anyway",
        "_settings",
        "_submission",
        "authenticator",
    )

    def __init__(self, context: IngressContext, dialogue: Dialogue, gate: PolicyGate, *, submission: bool) -> None:
        self._context = context
        self._settings = context.settings
        self._dialogue = dialogue
        self._gate = gate
        self._client = gate.client
        self.authenticator = Authenticator(context, dialogue, gate)
        self._submission = submission
        """Whether this is a submission port: `submission_listen` or `smtps_listen`."""
        self._entered = False
        """Counted by admission."""
        self._may_relay_anyway = False
        """Whether it may relay without AUTH: by address, or by a plugin's decision at `connect`."""

    # Connecting and disconnecting.

    def enter(self, transport: asyncio.BaseTransport) -> bytes | None:
        """A client has connected; returns a reply if it is refused."""
        dialogue, admission, client = self._dialogue, self._context.admission, self._client
        refusal = admission.enter(dialogue.client_address, dialogue)
        if refusal is not None:
            reply, reason = replies.REFUSALS[refusal]
            self._gate.reject(reason, reply)
            return reply
        self._entered = True
        self._context.observer.inbound_connections(+1)
        client.connected(transport, dialogue.client_address, relaying=admission.may_relay(dialogue.client_address))
        dialogue.session.bare_paths = lambda: client.relaying and not self._settings.smtp.strict_rfc1869
        return None

    def open(self) -> None:
        """Greet the client, after admission and implicit TLS."""
        self._gate.ask(Point.CONNECT, self._connect_decided)

    def _connect_decided(self, decision: Decision) -> None:
        if decision.code in policy_replies.REFUSALS:
            self._gate.deny(Point.CONNECT, decision)
            return
        self._client.may_relay = self._may_relay_anyway = self._client.relaying
        self._trust()
        self._dialogue.session.greet()
        self._dialogue.flush()

    def secured(self, *, implicit_tls: bool) -> None:
        """TLS has begun: the state before it is discarded (RFC 3207 4.2)."""
        client = self._client
        client.tls = True
        client.auth_user = None
        client.hello_name = ""
        if not implicit_tls:
            client.relaying = client.may_relay = self._may_relay_anyway

    def leave(self) -> None:
        """The client is gone."""
        if self._entered:
            self._context.admission.leave(self._dialogue)
            self._context.observer.inbound_connections(-1)

    def give_up(self) -> None:
        """No answer is needed any more: cancel pending decisions. May be called again."""
        self.authenticator.give_up()
        self._gate.give_up()

    def _trust(self) -> None:
        if self._client.may_relay:
            self._context.admission.trust(self._dialogue)

    # EHLO.

    def hello(self, event: events.Hello) -> None:
        """Decide about EHLO or HELO, and answer."""
        self._gate.put_off = False
        self._client.hello_name = event.name
        self._gate.ask(Point.EHLO, partial(self._hello_decided, event), event.name)

    def _hello_decided(self, event: events.Hello, decision: Decision) -> None:
        if decision.code in policy_replies.REFUSALS:
            self._gate.deny(Point.EHLO, decision)
            return
        dialogue, client = self._dialogue, self._client
        client.may_relay = client.relaying
        self._trust()
        version, cipher = dialogue.tls()
        client.origin = received.Origin(
            ehlo=event.name,
            ip=dialogue.client_address,
            extended=event.extended,
            authenticated=dialogue.session.authenticated,
            tls_version=version,
            tls_cipher=cipher,
        )
        self._offer_auth()
        dialogue.answer(dialogue.session.ehlo())
        self._gate.count_idle_command()

    def _offer_auth(self) -> None:
        """Set the session's AUTH mechanisms to those that plugins offer to this client."""
        hooks, session = self._context.hooks, self._dialogue.session
        if hooks.wants(Point.AUTH):
            offered = hooks.auth_mechanisms(self._client)
            known = tuple(name for name in offered if name in MECHANISMS)
            if unknown := set(offered) - set(known):
                log.error("plugins offer AUTH mechanisms that are not supported: %s", ", ".join(sorted(unknown)))
            session.offers = replace(session.offers, auth=known)

    # Mail.

    def refusal_of_mail(self, event: events.Mail) -> tuple[bytes, RejectReason] | None:
        """Why MAIL is refused, before plugins are called."""
        full = self._context.admission.room()
        if self._must_authenticate():
            return replies.AUTH_REQUIRED, RejectReason.AUTH
        if not self._may_send_as(event.sender):
            return replies.SENDER_DENIED, RejectReason.SENDER_DENIED
        if full is not None:
            return replies.REFUSALS[full]
        if size.declared(event.parameters) > self._settings.smtp.databytes:
            return replies.TOO_BIG, RejectReason.TOO_BIG  # RFC 1870 6.1: before the octets are sent
        return None

    def _must_authenticate(self) -> bool:
        """Whether the client must still authenticate on this port (RFC 6409 4.3)."""
        if self._client.relaying or self._dialogue.session.offers.auth is None:
            return False
        return self._submission or self._client.local_port == self._context.submission_port

    def _may_send_as(self, sender: Address) -> bool:
        """Whether `senders_allow` has the sender, if the client relays by address; plugins restrict users."""
        allowed = self._context.settings.senders_allow
        client = self._client
        return allowed is None or not client.relaying or client.auth_user is not None or is_allowed(sender, allowed)

    def relay_denied(self) -> bytes:
        """The reply that refuses relaying, by whether AUTH is possible (RFC 4954 6)."""
        offers = self._dialogue.session.offers
        could_authenticate = offers.auth or (offers.auth is not None and offers.starttls)
        return replies.AUTH_REQUIRED if could_authenticate else replies.RELAY_DENIED

    # Commands without mail.

    def reset(self) -> None:
        """RSET was answered."""
        put_off, self._gate.put_off = self._gate.put_off, False
        self._dialogue.touch()
        if not put_off:  # else it ends a transaction that was refused, and is not an idle command
            self._gate.count_idle_command()

    def idle(self) -> None:
        """NOOP, HELP or VRFY was answered."""
        self._dialogue.touch()
        self._gate.count_idle_command()

    def refused(self, event: events.RejectedCommand) -> None:
        """The session itself refused a command."""
        self._gate.reject(_REASONS[event.kind], event.reply.encode())
        self._dialogue.touch()
        if not (self._gate.put_off and event.kind == "sequence"):
            self._gate.count_error()


_REASONS = {
    "syntax": RejectReason.SYNTAX,
    "sequence": RejectReason.SEQUENCE,
    "too_long": RejectReason.LINE_TOO_LONG,
    "bare_newline": RejectReason.BARE_NEWLINE,
    "auth": RejectReason.AUTH,
}

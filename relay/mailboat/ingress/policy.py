"""Who may come in, send, and to whom: what a connection decides about its client, with admission, plugins and AUTH.

Decisions are synchronous unless a plugin has to wait for something. Knows no sockets (`connection` does) and no message
octets (`receiver` does); made by `connection`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from mailboat.hooks import Decision, Point
from mailboat.ingress import denials, replies
from mailboat.ingress.asking import Asking
from mailboat.ingress.authentication import Authentication
from mailboat.ingress.context import IngressContext
from mailboat.ingress.dialogue import Dialogue
from mailboat.ingress.senders import is_allowed
from mailboat.message import received
from mailboat.model.address import Address
from mailboat.model.observer import RejectReason
from mailboat.smtp import events
from mailboat.smtp.sasl import MECHANISMS

log = logging.getLogger(__name__)


class Policy:
    """Decides about one client."""

    __slots__ = (
        *("_asking", "_context", "_dialogue", "_entered", "_may_relay_anyway", "_settings", "_submission", "_who"),
        "authentication",
    )

    def __init__(self, context: IngressContext, dialogue: Dialogue, asking: Asking, *, submission: bool) -> None:
        self._context = context
        self._settings = context.settings
        self._dialogue = dialogue
        self._asking = asking
        self._who = asking.who
        self.authentication = Authentication(context, dialogue, asking)
        self._submission = submission
        """Only clients of ours come in here: `submission_listen` or `smtps_listen`."""
        self._entered = False
        """Counted by admission."""
        self._may_relay_anyway = False
        """Without AUTH: by address, or because a plugin said so when the client connected."""

    # Coming and going.

    def enter(self, transport: asyncio.BaseTransport) -> bytes | None:
        """A client has come; the reply that turns it away, if so."""
        dialogue, admission, who = self._dialogue, self._context.admission, self._who
        refusal = admission.enter(dialogue.client, dialogue)
        if refusal is not None:
            reply, reason = replies.REFUSALS[refusal]
            self._asking.reject(reason, reply)
            return reply
        self._entered = True
        self._context.observer.inbound_connections(+1)
        who.come(transport, dialogue.client, relaying=admission.may_relay(dialogue.client))
        dialogue.session.bare_paths = lambda: who.relaying and not self._settings.smtp.strict_rfc1869
        return None

    def open(self) -> None:
        """Greet the client, which has entered and is inside TLS if it wanted so at once."""
        self._asking.ask(Point.CONNECT, self._connect_decided)

    def _connect_decided(self, decision: Decision) -> None:
        if decision.code in denials.REFUSALS:
            self._asking.deny(Point.CONNECT, decision)
            return
        self._who.may_relay = self._may_relay_anyway = self._who.relaying
        self._trust()
        self._dialogue.session.greet()
        self._dialogue.flush()

    def secured(self, *, implicit_tls: bool) -> None:
        """TLS has begun: what was said in clear counts no more (RFC 3207 4.2)."""
        who = self._who
        who.tls = True
        who.auth_user = None
        who.hello_name = ""
        if not implicit_tls:
            who.relaying = who.may_relay = self._may_relay_anyway

    def leave(self) -> None:
        """The client is gone."""
        if self._entered:
            self._context.admission.leave(self._dialogue)
            self._context.observer.inbound_connections(-1)

    def give_up(self) -> None:
        """Nothing will be answered any more: whatever is being decided may stop. May be called again."""
        self.authentication.give_up()
        self._asking.give_up()

    def _trust(self) -> None:
        if self._who.may_relay:
            self._context.admission.trust(self._dialogue)

    # EHLO.

    def hello(self, event: events.Hello) -> None:
        """Decide about EHLO or HELO, and answer."""
        self._asking.put_off = False
        self._who.hello_name = event.name
        self._asking.ask(Point.EHLO, partial(self._hello_decided, event), event.name)

    def _hello_decided(self, event: events.Hello, decision: Decision) -> None:
        if decision.code in denials.REFUSALS:
            self._asking.deny(Point.EHLO, decision)
            return
        dialogue, who = self._dialogue, self._who
        who.may_relay = who.relaying
        self._trust()
        version, cipher = dialogue.tls()
        who.origin = received.Origin(
            ehlo=event.name,
            ip=dialogue.client,
            extended=event.extended,
            authenticated=dialogue.session.authenticated,
            tls_version=version,
            tls_cipher=cipher,
        )
        self._offer_auth()
        dialogue.answer(dialogue.session.ehlo())
        self._asking.count_idle_command()

    def _offer_auth(self) -> None:
        """Have the session offer what plugins offer to this client now."""
        hooks, session = self._context.hooks, self._dialogue.session
        if hooks.wants(Point.AUTH):
            offered = tuple(name.upper() for name in hooks.auth_mechanisms(self._who))
            known = tuple(name for name in offered if name in MECHANISMS)
            if unknown := set(offered) - set(known):
                log.error("plugins offer AUTH mechanisms that cannot be spoken here: %s", ", ".join(sorted(unknown)))
            session.offers = replace(session.offers, auth=known)

    # Mail.

    def refusal_of_mail(self, event: events.Mail) -> tuple[bytes, RejectReason] | None:
        """Why MAIL cannot be taken, before plugins are asked."""
        full = self._context.admission.room()
        if self._must_authenticate():
            return replies.AUTH_REQUIRED, RejectReason.AUTH
        if not self._may_send_as(event.sender):
            return replies.SENDER_DENIED, RejectReason.SENDER_DENIED
        if full is not None:
            return replies.REFUSALS[full]
        if event.size > self._settings.smtp.databytes:
            return replies.TOO_BIG, RejectReason.TOO_BIG  # RFC 1870 6.1: before the octets are sent
        return None

    def _must_authenticate(self) -> bool:
        """Whether this client came in where nobody may send without AUTH (RFC 6409 4.3), and has not relayed yet."""
        if self._who.relaying or self._dialogue.session.offers.auth is None:
            return False
        return self._submission or self._who.local_port == self._context.submission_port

    def _may_send_as(self, sender: Address) -> bool:
        """Whether `senders_allow` has the sender, where the client relays by address; users are for plugins to hold."""
        allowed = self._context.settings.senders_allow
        who = self._who
        return allowed is None or not who.relaying or who.auth_user is not None or is_allowed(sender, allowed)

    def relay_denied(self) -> bytes:
        """The reply where AUTH would help, or not (RFC 4954 6)."""
        offers = self._dialogue.session.offers
        could_authenticate = offers.auth or (offers.auth is not None and offers.starttls)
        return replies.AUTH_REQUIRED if could_authenticate else replies.RELAY_DENIED

    # What moves no mail.

    def reset(self) -> None:
        """RSET was answered."""
        put_off, self._asking.put_off = self._asking.put_off, False
        self._dialogue.touch()
        if not put_off:  # else it ends what we refused, and is no idle command
            self._asking.count_idle_command()

    def idle(self) -> None:
        """NOOP, HELP or VRFY was answered."""
        self._dialogue.touch()
        self._asking.count_idle_command()

    def refused(self, event: events.Refusal) -> None:
        """The session refused something by itself."""
        self._asking.reject(_REASONS[event.kind], event.reply.encode())
        self._dialogue.touch()
        if not (self._asking.put_off and event.kind == "sequence"):
            self._asking.count_error()


_REASONS = {
    "syntax": RejectReason.SYNTAX,
    "sequence": RejectReason.SEQUENCE,
    "too_long": RejectReason.LINE_TOO_LONG,
    "bare_newline": RejectReason.BARE_NEWLINE,
    "auth": RejectReason.AUTH,
}

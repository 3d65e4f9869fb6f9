"""One client's connection: its socket, flow control both ways, TLS, time, and the end.

It has a session, which makes events from octets, a policy, which decides about the client, and a receiver, which
accepts its mail; each event goes to one of them. Everything runs in callbacks of the event loop, without a task for
each connection, except during a TLS handshake. `listener` makes connections and calls their timers.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from mailboat.config.settings import BareNewline, Endpoint, RequireTls
from mailboat.ingress import replies
from mailboat.ingress.client import ConnectedClient
from mailboat.ingress.context import IngressContext
from mailboat.ingress.dialogue import MAX_BUFFERED
from mailboat.ingress.policy import Policy
from mailboat.ingress.policy_gate import PolicyGate
from mailboat.ingress.receiver import MessageReceiver
from mailboat.model.observer import RejectReason
from mailboat.smtp import events
from mailboat.smtp.extensions import Offers, offers_before_auth
from mailboat.smtp.session import ServerSession, SessionLimits

HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a client has for a TLS handshake, if `inactivity_timeout` is not shorter."""
LINGER = 5.0
"""Seconds between our last reply and the end of the connection, for a client that does not close."""


class ServerConnection(asyncio.Protocol):
    """A client's connection."""

    def __init__(
        self,
        context: IngressContext,
        listener: Endpoint | None = None,
        *,
        implicit_tls: bool = False,
        submission: bool = False,
    ) -> None:
        self._context = context
        self._settings = context.settings
        self._implicit_tls = implicit_tls
        self.session = self._new_session()
        self.client_address = ""
        """The client's address; empty when it has none."""
        self.deadline = 0.0
        """Monotonic: when the client has taken too long."""
        self.closing = False
        """The last reply is written; further input is discarded."""
        self.committing = False
        """The client waits for the relay: it cannot time out, and may have closed its side."""
        self.held = False
        """A decision is pending, or a reply is delayed: further input waits."""
        self._eof = False
        self._reading = True
        self._unread = False
        """The client does not read replies: nothing more is done until it does."""
        self._upgrade: asyncio.Task[None] | None = None
        """The task of the TLS handshake, during which no reply can be sent."""
        self._early: list[bytes] | None = None
        """Input inside TLS that arrives before the loop reports the end of the handshake; None: no handshake."""
        self._tls: ssl.SSLContext | None = None
        """The TLS of the connection."""
        self._gate = PolicyGate(context, self, ConnectedClient(listener))
        self.policy = Policy(context, self, self._gate, submission=submission or implicit_tls)
        self.receiver = MessageReceiver(context, self, self._gate, self.policy)
        self._hello = b""
        """First octets of implicit TLS that arrived before the loop's TLS could handle them."""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is not a subclass
        peer = transport.get_extra_info("peername")
        self.client_address = peer[0] if isinstance(peer, tuple) else ""
        self._context.connections.add(self)
        self.touch()
        refusal = self.policy.enter(transport)
        if refusal is not None and self._implicit_tls:
            self._end()  # before the handshake the client cannot read a reply
        elif refusal is not None:
            self.close_with(refusal)
        elif self._implicit_tls:
            self._begin_tls()
        else:
            self.policy.open()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it is lost makes no difference
        """The client has disconnected."""
        self._gone()

    def _gone(self) -> None:
        connections = self._context.connections
        if self in connections:
            connections.remove(self)
            self._stop()
            self.policy.leave()
            if not self.committing:  # else the message stays accepted; without its 250 the client sends it again
                self.receiver.drop()
                if self._upgrade is None:
                    self._part()
            if not connections:
                self._context.all_closed.set()

    def _part(self) -> None:
        """Let go of the parts, which refer to the connection: as cycles, all of it would stay in memory until the
        collector runs, and each message would need memory that no cache holds. Nothing calls them any more."""
        del self.session, self.policy, self.receiver, self._gate

    def data_received(self, data: bytes) -> None:
        """Octets from the client."""
        if self.closing:
            return
        if self._upgrade is not None:
            if self._early is not None:
                self._early.append(data)
            elif self._implicit_tls:
                self._hello += data
            return  # plaintext after STARTTLS is discarded (RFC 3207 4.2)
        self.session.feed(data)
        self._run()
        if (self.committing or self.held or self._unread) and self.session.buffered > MAX_BUFFERED:
            self._stop_reading()

    def eof_received(self) -> bool:
        """The client closed its side. It may still wait for the reply to its last message; TLS cannot stay half
        open."""
        self._eof = True
        return (self.committing or self.held) and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """The client does not read replies: stop reading its input, so that replies do not accumulate."""
        self._unread = True
        self._stop_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        self._unread = False
        if not (self.committing or self.held):
            self.go_on()

    def _stop_reading(self) -> None:
        if self._reading and not self.closing:
            self._reading = False
            self._transport.pause_reading()

    def _start_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def go_on(self) -> None:
        """Continue with input that waited for a reply, or for the client to read one."""
        if self.closing or self._unread:
            return
        self._start_reading()
        self._run()
        if self._eof and not (self.committing or self.held or self.closing):
            self._end()

    # The session's side.

    def _new_session(self) -> ServerSession:
        smtp = self._settings.smtp
        limits = SessionLimits(smtp.data_line_length, smtp.bare_newline is BareNewline.NORMALIZE)
        offers = self._offers(inside_tls=self._implicit_tls)
        return ServerSession(self._settings.me, limits, offers, ticket=self._ticket)

    def _ticket(self) -> bytes:
        return f"<{secrets.token_hex(16)}.{self._context.clock.now():.0f}@{self._settings.me}>".encode()

    def _offers(self, *, inside_tls: bool) -> Offers:
        smtp = self._settings.smtp
        starttls = self._context.tls.available and not inside_tls
        requiretls = None if self._settings.tls_outbound.requiretls is RequireTls.OFF else inside_tls
        return offers_before_auth(smtp.databytes, starttls, smtp.max_recipients, requiretls)

    def _run(self) -> None:
        session = self.session
        while not (self.closing or self._unread or self.held):
            event = session.next_event()
            if event is None:
                break
            self._handlers[type(event)](self, event)
        self.flush()
        if not self.closing:
            if session.is_closing:
                self._close()
            elif self._context.admission.load.draining:
                self.shut_down()

    def answer(self, reply: bytes, *, accepted: bool = True) -> None:
        """Answer the session's last event, and restart the client's timeout."""
        self.session.answer(reply, accepted=accepted)
        self.touch()

    def flush(self) -> None:
        """Write the session's replies."""
        if output := self.session.data_to_send():
            self._transport.write(output)

    # Time, as the listener's sweep sees it.

    def tick(self, now: float) -> None:
        """Time has passed; `now` is monotonic."""
        self.policy.authenticator.tick(now)

    def touch(self) -> None:
        """Restart the client's timeout."""
        self.deadline = self._context.clock.monotonic() + self._settings.smtp.inactivity_timeout

    def allow(self, seconds: float) -> None:
        """Set the client's timeout, from now."""
        self.deadline = self._context.clock.monotonic() + seconds

    def expired(self, now: float) -> bool:
        """Whether the client has taken too long; `now` is monotonic."""
        return now > self.deadline and not self.committing

    def time_out(self) -> None:
        """Close: the client has taken too long."""
        reply = replies.DECIDED_TOO_LONG if self.held else replies.IDLE_TOO_LONG
        if not self.closing:
            self._gate.reject(RejectReason.TIMEOUT, reply)
        if self.closing or self._upgrade is not None:
            self.abort()
        else:
            self.close_with(reply)

    # For admission.

    @property
    def is_idle(self) -> bool:
        """Whether no plugin is deciding about it, and it is not sending a message."""
        return not (self._gate.is_waiting or self.committing or self.receiver.has_recipients)

    def make_room(self) -> None:
        """Close, so that another client can connect."""
        if self.closing or self._upgrade is not None:
            self.abort()
            return
        self._gate.reject(RejectReason.TOO_MANY_CONNECTIONS, replies.MADE_ROOM)
        self.session.close(replies.MADE_ROOM)
        self.flush()
        self._end()
        self.allow(0.0)  # inside TLS the close needs the other side: the next sweep aborts it

    # The end.

    def shut_down(self, reply: bytes = replies.SHUTTING_DOWN) -> None:
        """Close with 421 if no transaction is under way (RFC 5321 3.8)."""
        if self._upgrade is not None:
            self.abort()
        elif self.session.is_idle and not self.closing:
            self.close_with(reply)

    @property
    def is_outdated(self) -> bool:
        """Inside TLS with a certificate or settings that have been replaced."""
        return self._tls is not None and self._tls is not self._context.tls.context

    def abort(self) -> None:
        """Close at once."""
        self._stop()
        self._transport.abort()

    def _stop(self) -> None:
        self.closing = True
        self.policy.give_up()

    def close_with(self, reply: bytes) -> None:
        """Send a last reply, and close."""
        self.session.close(reply)
        self.flush()
        self._close()

    def _close(self) -> None:
        """Close after the written replies. Unread input would turn the close into a reset and lose the last reply,
        so input is read and discarded for a while."""
        self.allow(LINGER)
        self._start_reading()
        self._stop()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _end(self) -> None:
        """Close after what is written, when the client has nothing more to say."""
        self.allow(LINGER)
        self._stop()
        self._transport.close()

    # TLS.

    def tls(self) -> tuple[str, str]:
        """The version and the cipher of TLS; empty in clear."""
        cipher = self._transport.get_extra_info("cipher")
        return (cipher[1], cipher[0]) if cipher else ("", "")

    def _begin_tls(self) -> None:
        self._transport.pause_reading()  # what comes now is for TLS
        self.allow(min(HANDSHAKE_TIMEOUT, self._settings.smtp.inactivity_timeout))
        self._upgrade = asyncio.create_task(self._set_up_tls())

    async def _set_up_tls(self) -> None:
        self._transport.pause_reading()  # again: uvloop begins to read after `connection_made`, whatever was said in it
        transport, context = None, self._context.tls.context
        try:
            if context is not None and not self.closing:
                self._early = []
                transport = await self._handshake(context)
        except OSError as error:  # ssl.SSLError is one
            self._gate.reject(RejectReason.TLS, f"TLS handshake failed: {error}".encode())
        self._upgrade = None
        if transport is None or self.closing:
            # A connection that ends in its handshake is not always told so by the loop.
            self._transport.abort()
            self._gone()
        else:
            self._tls = context
            self._speak_inside(transport)

    async def _handshake(self, context: ssl.SSLContext) -> asyncio.Transport | None:
        """The transport inside TLS; None when the client went away. Raises OSError."""
        loop = asyncio.get_running_loop()
        # The loop has a timeout of its own, longer than ours: `time_out` comes first.
        upgrade = asyncio.ensure_future(loop.start_tls(self._transport, self, context, server_side=True))
        if self._hello:
            await asyncio.sleep(0)  # `start_tls` puts its own protocol in our place,
            await asyncio.sleep(0)  # and calls its `connection_made`
            if not upgrade.done():
                feed(cast("asyncio.BufferedProtocol", self._transport.get_protocol()), self._hello)
            self._hello = b""
        return await upgrade

    def _speak_inside(self, transport: asyncio.Transport) -> None:
        early, self._early = self._early or (), None
        self._transport = transport
        self._reading, self._unread = True, False
        self.session.restart(self._offers(inside_tls=True))
        self.touch()
        self.policy.secured(implicit_tls=self._implicit_tls)
        if self._implicit_tls:
            self.policy.open()
        self.data_received(b"".join(early))

    # Events that concern several parts.

    def _on_hello(self, event: events.Hello) -> None:
        self.receiver.drop()
        self.policy.hello(event)

    def _on_reset(self, _: events.Reset) -> None:
        self.receiver.drop()
        self.policy.reset()

    def _on_start_tls(self, _: events.StartTls) -> None:
        if not self._context.tls.available:  # the certificate has been removed from the configuration
            self._gate.refuse(RejectReason.TLS, replies.NO_TLS)
            return
        self.answer(replies.START_TLS)
        self.flush()
        self._begin_tls()

    def _on_quit(self, _: events.Quit) -> None:
        self.flush()
        self._end()

    _handlers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        events.Hello: _on_hello,
        events.Mail: lambda self, event: self.receiver.mail(event),
        events.Rcpt: lambda self, event: self.receiver.recipient(event),
        events.Data: lambda self, _: self.receiver.data(),
        events.Chunk: lambda self, event: self.receiver.chunk(event),
        events.EndOfData: lambda self, event: self.receiver.end_of_data(event),
        events.StartTls: _on_start_tls,
        events.Challenge: lambda self, _: self.touch(),
        events.Auth: lambda self, event: self.policy.authenticator.check(event),
        events.Reset: _on_reset,
        events.NoOp: lambda self, _: self.policy.idle(),
        events.Quit: _on_quit,
        events.RejectedCommand: lambda self, event: self.policy.refused(event),
    }
    """The handler of each kind of event, which also sends the reply."""


def feed(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Pass octets to a protocol, as a transport does."""
    rest = memoryview(data)
    while rest:
        buffer = memoryview(protocol.get_buffer(len(rest)))
        count = min(len(buffer), len(rest))
        buffer[:count] = rest[:count]
        protocol.buffer_updated(count)
        rest = rest[count:]

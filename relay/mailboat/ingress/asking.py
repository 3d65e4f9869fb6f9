"""Asking plugins about a client, and refusing it: what every decision of a connection is made with.

Where no plugin is registered at a point, a decision is one look into a dictionary and goes on at once. Where one has to
wait, the client's further input waits too, other clients do not, and the deadline counts on. Knows no mail;
`authentication`, `queueing` and `connection` add the decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mailboat.hooks import Decision, Hooks, Point, Running
from mailboat.ingress import denials, replies
from mailboat.ingress.client import Client
from mailboat.ingress.context import IngressContext
from mailboat.ingress.transaction import Transaction
from mailboat.ingress.wire import Wire
from mailboat.model.observer import Rejected, RejectReason

Then = Callable[[Decision], None]


class Asking(Wire):
    """A connection that can ask and refuse."""

    def __init__(self, context: IngressContext, *, implicit_tls: bool = False) -> None:
        super().__init__(context, implicit_tls=implicit_tls)
        self._who = Client()
        """What is known of the client; what plugins get."""
        self._may_relay = False
        """Whether the client may relay as long as nothing changes. A plugin that sets `relaying` in `mail` means this
        transaction, one in `rcpt` this recipient: what opens the relay for one must not open it for all."""
        self._asked: Running | None = None
        self._errors = 0
        self._put_off = False
        """A command of this transaction was refused for now: 503 to those that follow it, already on their way in a
        pipeline (RFC 2920 3.1), is no error of the client."""

    @property
    def _hooks(self) -> Hooks:
        return self._context.hooks

    # Asking.

    def _ask(self, point: Point, then: Then, *args: object) -> None:
        """Have plugins decide, and go on with `then`: at once where none is asked, or none waits for anything."""
        self._await(self._context.hooks.begin(point, self._who, *args), then)

    def _await(self, asked: Decision | Running, then: Then) -> None:
        """Go on with what plugins decided, or are yet to decide."""
        if isinstance(asked, Decision):
            then(asked)
            return
        self._asked = asked
        self._held = True
        self._touch()
        asked.on_done(partial(self._decided, then))

    def _decided(self, then: Then, decision: Decision) -> None:
        self._asked = None
        self._held = False
        if not self._closing:
            then(decision)
            self._go_on()

    def _give_up(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    # Refusing.

    def _deny(self, point: Point, decision: Decision, recipient: str = "") -> None:
        """Answer with a plugin's refusal, and close if it says so."""
        reply = denials.denial(point, decision)
        if decision.code in denials.DISCONNECTS or point is Point.CONNECT:
            self._reject(RejectReason.HOOK, reply, recipient)
            self._say_goodbye(reply)
        else:
            self._refuse(RejectReason.HOOK, reply, recipient)

    def _refuse(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        self._reject(reason, reply, recipient)
        self._answer(reply, accepted=False)
        if reply.startswith(b"5"):  # trouble of our own is no error of the client
            self._count_error()
        else:
            self._put_off = True

    def _reject(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        message = self._who.message
        sender = str(message.mail.sender) if message else ""
        text = " ".join(reply.decode().split("\r\n")).rstrip()
        self._context.observer.rejected(Rejected(reason, self._client, text, sender, recipient))

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._settings.smtp.max_errors and not self._closing:
            self._reject(RejectReason.TOO_MANY_ERRORS, replies.TOO_MANY_ERRORS)
            self._say_goodbye(replies.TOO_MANY_ERRORS)

    # The open transaction.

    def _current(self) -> Transaction:
        """The open transaction: the session lets no RCPT or DATA through without one."""
        message = self._who.message
        assert message is not None
        return message

    def _end_transaction(self) -> None:
        """It is queued, or given up."""
        self._who.message = None
        self._who.relaying = self._may_relay

    def _drop_transaction(self) -> None:
        message = self._who.message
        if message is not None:
            message.discard()
            self._end_transaction()

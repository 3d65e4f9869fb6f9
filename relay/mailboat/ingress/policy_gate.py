"""Asks plugins about a client, and refuses it: every decision of a connection uses it.

Where no plugin is registered at a point, a decision is one look into a dictionary. Where a plugin has to wait, this
client's further input waits too, and its deadline runs on; other clients do not wait. Knows no mail; `policy`,
`authenticator` and `receiver` use it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mailboat.hooks import Decision, Point, Running
from mailboat.ingress import policy_replies, replies
from mailboat.ingress.client import ConnectedClient
from mailboat.ingress.context import IngressContext
from mailboat.ingress.dialogue import Dialogue
from mailboat.model.observer import Rejected, RejectReason

MAX_IDLE_COMMANDS = 100
"""EHLO, NOOP, RSET, VRFY and HELP between two messages; each one more counts as an error. Far more than any client
needs that checks an idle connection now and then, far less than keeps a worker busy."""

Then = Callable[[Decision], None]


class PolicyGate:
    """Asks about one client, and refuses."""

    __slots__ = ("_asked", "_context", "_dialogue", "_errors", "_max_errors", "client", "idle_commands", "put_off")

    def __init__(self, context: IngressContext, dialogue: Dialogue, client: ConnectedClient) -> None:
        self._context = context
        self._dialogue = dialogue
        self._max_errors = context.settings.smtp.max_errors
        self.client = client
        self._asked: Running | None = None
        self._errors = 0
        self.idle_commands = 0
        """Since the last message."""
        self.put_off = False
        """A command of this transaction was refused for now: 503 to those that follow it, already on their way in a
        pipeline (RFC 2920 3.1), is no error of the client."""

    @property
    def is_waiting(self) -> bool:
        """A plugin is deciding."""
        return self._asked is not None

    # Asking.

    def ask(self, point: Point, then: Then, *args: object) -> None:
        """Have plugins decide, then call `then`: at once where none is asked, or none has to wait."""
        self.await_decision(self._context.hooks.begin(point, self.client, *args), then)

    def await_decision(self, asked: Decision | Running, then: Then) -> None:
        """Call `then` with what plugins decided, or will decide."""
        if isinstance(asked, Decision):
            then(asked)
            return
        self._asked = asked
        self._dialogue.held = True
        self._dialogue.touch()
        asked.on_done(partial(self._decided, then))

    def _decided(self, then: Then, decision: Decision) -> None:
        self._asked = None
        self._dialogue.held = False
        if not self._dialogue.closing:
            then(decision)
            self._dialogue.go_on()

    def give_up(self) -> None:
        """Nothing more will be answered: cancel what is being decided. May be called again."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    # Refusing.

    def deny(self, point: Point, decision: Decision, recipient: str = "") -> None:
        """Answer with a plugin's refusal, and close if it says so."""
        reply = policy_replies.denial(point, decision)
        if decision.code in policy_replies.DISCONNECTS or point is Point.CONNECT:
            self.reject(RejectReason.HOOK, reply, recipient)
            self._dialogue.close_with(reply)
        else:
            self.refuse(RejectReason.HOOK, reply, recipient)

    def refuse(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        """Answer with a refusal, and count the error."""
        self.reject(reason, reply, recipient)
        self._dialogue.answer(reply, accepted=False)
        if reply.startswith(b"5"):  # trouble of our own is no error of the client
            self.count_error()
        else:
            self.put_off = True

    def reject(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        """Tell the observer of a refusal."""
        message = self.client.message
        sender = str(message.mail.sender) if message else ""
        text = " ".join(reply.decode().split("\r\n")).rstrip()
        self._context.observer.rejected(Rejected(reason, self._dialogue.client_address, text, sender, recipient))

    def count_error(self) -> None:
        """The client has made an error; close if they are many."""
        self._errors += 1
        if self._errors >= self._max_errors and not self._dialogue.closing:
            self.reject(RejectReason.TOO_MANY_ERRORS, replies.TOO_MANY_ERRORS)
            self._dialogue.close_with(replies.TOO_MANY_ERRORS)

    def count_idle_command(self) -> None:
        """The client has sent a command that moves no mail."""
        self.idle_commands += 1
        if self.idle_commands > MAX_IDLE_COMMANDS:
            self.count_error()

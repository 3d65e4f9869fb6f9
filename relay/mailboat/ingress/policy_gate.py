"""Calls plugins about a client, and refuses it; used by every decision of a connection.

If no plugin has a hook at a point, a decision costs one dictionary look-up. While a plugin waits, this client's further
input waits too, but its deadline does not stop; other clients do not wait. Knows no mail; used by `policy`,
`authenticator` and `receiver`.
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
"""EHLO, NOOP, RSET, VRFY and HELP between two messages; each one more counts as an error. Far more than a client
needs to keep an idle connection alive, far fewer than would keep a worker busy."""

Then = Callable[[Decision], None]


class PolicyGate:
    """Calls plugins about one client, and refuses it."""

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
        """A command of this transaction was refused temporarily: a 503 to the commands pipelined after it (RFC 2920
        3.1) is not an error of the client."""

    @property
    def is_waiting(self) -> bool:
        """A plugin is deciding."""
        return self._asked is not None

    # Asking.

    def ask(self, point: Point, then: Then, *args: object) -> None:
        """Let plugins decide, then call `then`: at once if there is no hook, or none waits."""
        self.await_decision(self._context.hooks.begin(point, self.client, *args), then)

    def await_decision(self, asked: Decision | Running, then: Then) -> None:
        """Call `then` with the decision of plugins, now or later."""
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
        """No answer is needed any more: cancel pending decisions. May be called again."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    # Refusing.

    def deny(self, point: Point, decision: Decision, recipient: str = "") -> None:
        """Answer with a plugin's refusal, and close the connection if the code says so."""
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
        if reply.startswith(b"5"):  # an internal fault is not an error of the client
            self.count_error()
        else:
            self.put_off = True

    def reject(self, reason: RejectReason, reply: bytes, recipient: str = "") -> None:
        """Notify the observer of a refusal."""
        message = self.client.message
        sender = str(message.mail.sender) if message else ""
        text = " ".join(reply.decode().split("\r\n")).rstrip()
        self._context.observer.rejected(Rejected(reason, self._dialogue.client_address, text, sender, recipient))

    def count_error(self) -> None:
        """Count an error of the client; close if there are too many."""
        self._errors += 1
        if self._errors >= self._max_errors and not self._dialogue.closing:
            self.reject(RejectReason.TOO_MANY_ERRORS, replies.TOO_MANY_ERRORS)
            self._dialogue.close_with(replies.TOO_MANY_ERRORS)

    def count_idle_command(self) -> None:
        """Count a command without effect on mail."""
        self.idle_commands += 1
        if self.idle_commands > MAX_IDLE_COMMANDS:
            self.count_error()

"""AUTH (RFC 4954): which attempts are checked, the plugins' decision, and delays after failures. Used by `policy`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mailboat.hooks import AuthAttempt, Code, Decision, Point
from mailboat.ingress import policy_replies, replies
from mailboat.ingress.auth_gate import AuthTry, network_of
from mailboat.ingress.context import IngressContext
from mailboat.ingress.dialogue import Dialogue
from mailboat.ingress.policy_gate import PolicyGate
from mailboat.model.observer import RejectReason
from mailboat.smtp import events
from mailboat.smtp.sasl import SaslCredentials

MAX_FAILURES = 5
"""Wrong credentials in one connection; the last one closes it with 421."""
LONGEST_DELAY = 16.0
"""Seconds. The reply to wrong credentials is delayed by 1 s, then 2, 4, … up to this; only this client waits."""


class Authenticator:
    """Lets one client authenticate."""

    __slots__ = ("_client", "_context", "_dialogue", "_failures", "_gate", "_held_back", "_timeout", "_try", "_until")

    def __init__(self, context: IngressContext, dialogue: Dialogue, gate: PolicyGate) -> None:
        self._context = context
        self._dialogue = dialogue
        self._gate = gate
        self._client = gate.client
        self._timeout = context.settings.smtp.inactivity_timeout
        self._failures = 0
        self._until = 0.0
        self._held_back: Callable[[], None] | None = None
        """The reply to send at `_until` (monotonic)."""
        self._try: AuthTry | None = None
        """The attempt that waits in `AuthGate`, or is being checked."""

    def check(self, event: events.Auth) -> None:
        """Decide about the client's credentials, and answer."""
        given = event.credentials
        if given.authorize_as not in ("", given.user):  # RFC 4616 2: a client may act for itself only
            self._failed(replies.AUTH_FAILED, close=False)
            return
        self._try = AuthTry(
            network_of(self._dialogue.client_address), given.user, partial(self._ask, given), self._held_off
        )
        auth_gate = self._context.auth_gate
        auth_gate.longest = self._context.settings.smtp.auth_backoff_max
        auth_gate.ask(self._try, self._context.clock.monotonic())
        if self._try is not None:  # it waits for the gate or for a plugin
            self._dialogue.held = True
            self._dialogue.touch()

    def _ask(self, given: SaslCredentials, proven: bool) -> None:
        waited, self._dialogue.held = self._dialogue.held, False
        attempt = AuthAttempt(given.mechanism, given.user, given.password, given.matches, proven)
        self._gate.ask(Point.AUTH, partial(self._decided, given.user), attempt)
        if waited:
            self._dialogue.go_on()

    def _held_off(self) -> None:
        """Refuse without a check, and delay the reply like that to wrong credentials, so that retrying does not
        help."""
        self._try = None
        self._failed(replies.AUTH_HELD_BACK, close=False, reason=RejectReason.AUTH_BACKOFF)

    def _decided(self, user: str, decision: Decision) -> None:
        close = decision.code in policy_replies.DISCONNECTS
        succeeded = None if decision.code in policy_replies.TEMPORARY else decision.code is Code.OK
        self._leave_auth_gate(succeeded=succeeded)
        if succeeded:
            self._succeeded(user)
            return
        self._client.relaying = self._client.may_relay  # undo what a plugin set without answering OK
        if succeeded is None:
            self._refuse(policy_replies.denial(Point.AUTH, decision), close=close)
        elif decision.code in policy_replies.PERMANENT:
            self._failed(policy_replies.denial(Point.AUTH, decision), close=close)
        else:
            self._failed(replies.AUTH_FAILED, close=False)

    def _leave_auth_gate(self, *, succeeded: bool | None) -> None:
        attempt, self._try = self._try, None
        if attempt is not None:
            self._context.auth_gate.done(attempt, self._context.clock.monotonic(), succeeded=succeeded)

    def _succeeded(self, user: str) -> None:
        client = self._client
        client.auth_user = user
        client.relaying = client.may_relay = True
        self._context.admission.trust(self._dialogue)
        client.origin = replace(client.origin, authenticated=True)
        self._dialogue.answer(replies.AUTHENTICATED)

    def _failed(self, reply: bytes, *, close: bool, reason: RejectReason = RejectReason.AUTH) -> None:
        """Wrong credentials: the reply waits longer each time."""
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            reply, close = replies.TOO_MANY_AUTH_FAILURES, True
        delay = min(2.0 ** (self._failures - 1), LONGEST_DELAY)
        self._until = self._context.clock.monotonic() + delay
        self._held_back = partial(self._refuse, reply, close=close, reason=reason)
        self._dialogue.held = True
        self._dialogue.allow(delay + self._timeout)

    def _refuse(self, reply: bytes, *, close: bool, reason: RejectReason = RejectReason.AUTH) -> None:
        if close:
            self._gate.reject(reason, reply)
            self._dialogue.close_with(reply)
        else:
            self._gate.refuse(reason, reply)

    def tick(self, now: float) -> None:
        """Send a reply that was delayed until `now` (monotonic). Called by the listener's sweep."""
        if self._held_back is not None and now >= self._until:
            say, self._held_back = self._held_back, None
            self._dialogue.held = False
            say()
            self._dialogue.go_on()

    def give_up(self) -> None:
        """No answer is needed any more: withdraw the attempt. May be called again."""
        self._held_back = None
        attempt, self._try = self._try, None
        if attempt is not None:
            self._context.auth_gate.withdraw(attempt, self._context.clock.monotonic())

"""AUTH: who may try, what plugins say, and how long a client that guesses has to wait (RFC 4954)."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mailboat.hooks import AuthAttempt, Code, Decision, Point
from mailboat.ingress import denials, replies
from mailboat.ingress.asking import Asking
from mailboat.ingress.auth_gate import AuthTry, network_of
from mailboat.ingress.context import IngressContext
from mailboat.message import received
from mailboat.model.observer import RejectReason
from mailboat.smtp import events
from mailboat.smtp.sasl import MECHANISMS, Credentials

log = logging.getLogger(__name__)

MAX_FAILURES = 5
"""Wrong credentials in one connection; the last one closes it with 421."""
LONGEST_DELAY = 16.0
"""Seconds. The reply to wrong credentials waits 1 s, then 2, 4, … so long; only this client waits."""
SUBMISSION_PORT = 587
"""RFC 6409 3.1: only clients of ours come in here, as where TLS begins with the first octet (RFC 8314 3.3)."""


class Authentication(Asking):
    """A connection that can authenticate."""

    _submission = False
    """Only clients of ours come in here: `submission_listen` or `smtps_listen`."""

    def __init__(self, context: IngressContext, *, implicit_tls: bool = False) -> None:
        super().__init__(context, implicit_tls=implicit_tls)
        self._origin = received.Origin("", "")
        self._failures = 0
        self._until = 0.0
        self._held_back: Callable[[], None] | None = None
        """What is said when `_until` (monotonic) has come."""
        self._try: AuthTry | None = None
        """What waits at the gate, or is being checked."""

    @abstractmethod
    def _trust(self) -> None:
        """Have admission know, where the client may relay."""

    def _offer_auth(self) -> None:
        """Have the session offer what plugins offer to this client now."""
        if self._hooks.wants(Point.AUTH):
            offered = tuple(name.upper() for name in self._hooks.auth_mechanisms(self._who))
            known = tuple(name for name in offered if name in MECHANISMS)
            if unknown := set(offered) - set(known):
                log.error("plugins offer AUTH mechanisms that cannot be spoken here: %s", ", ".join(sorted(unknown)))
            self._session.offers = replace(self._session.offers, auth=known)

    def _must_authenticate(self) -> bool:
        """Whether this client came in where nobody may send without AUTH (RFC 6409 4.3), and has not relayed yet."""
        if self._who.relaying or self._session.offers.auth is None:
            return False
        return self._submission or self._who.local_port == SUBMISSION_PORT

    def _relay_denied(self) -> bytes:
        """The reply where AUTH would help, or not (RFC 4954 6)."""
        offers = self._session.offers
        could_authenticate = offers.auth or (offers.auth is not None and offers.starttls)
        return replies.AUTH_REQUIRED if could_authenticate else replies.RELAY_DENIED

    def _on_auth(self, event: events.Auth) -> None:
        given = event.credentials
        if given.authorize_as not in ("", given.user):  # RFC 4616 2: nobody here may act as somebody else
            self._auth_failed(replies.AUTH_FAILED, close=False)
            return
        self._try = AuthTry(network_of(self._client), given.user, partial(self._check, given), self._held_off)
        gate = self._context.auth_gate
        gate.longest = self._context.settings.smtp.auth_backoff_max
        gate.ask(self._try, self._context.clock.monotonic())
        if self._try is not None:  # it waits, there or for a plugin
            self._held = True
            self._touch()

    def _check(self, given: Credentials, proven: bool) -> None:
        waited, self._held = self._held, False
        attempt = AuthAttempt(given.mechanism, given.user, given.password, given.matches, proven)
        self._ask(Point.AUTH, partial(self._auth_decided, given.user), attempt)
        if waited:
            self._go_on()

    def _held_off(self) -> None:
        """Refused unchecked, and held back like wrong credentials: to try again at once is of no use."""
        self._try = None
        self._auth_failed(replies.AUTH_HELD_BACK, close=False, reason=RejectReason.AUTH_BACKOFF)

    def _auth_decided(self, user: str, decision: Decision) -> None:
        close = decision.code in denials.DISCONNECTS
        succeeded = None if decision.code in denials.TEMPORARY else decision.code is Code.OK
        self._leave_gate(succeeded=succeeded)
        if succeeded:
            self._authenticated(user)
            return
        self._who.relaying = self._may_relay  # whatever a plugin set that did not say OK
        if succeeded is None:
            self._auth_refused(denials.denial(Point.AUTH, decision), close=close)
        elif decision.code in denials.PERMANENT:
            self._auth_failed(denials.denial(Point.AUTH, decision), close=close)
        else:
            self._auth_failed(replies.AUTH_FAILED, close=False)

    def _leave_gate(self, *, succeeded: bool | None) -> None:
        attempt, self._try = self._try, None
        if attempt is not None:
            self._context.auth_gate.done(attempt, self._context.clock.monotonic(), succeeded=succeeded)

    def _authenticated(self, user: str) -> None:
        self._who.auth_user = user
        self._who.relaying = self._may_relay = True
        self._trust()
        self._origin = replace(self._origin, authenticated=True)
        self._answer(replies.AUTHENTICATED)

    def _auth_failed(self, reply: bytes, *, close: bool, reason: RejectReason = RejectReason.AUTH) -> None:
        """Wrong credentials: each time the client waits longer for hearing so."""
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            reply, close = replies.TOO_MANY_AUTH_FAILURES, True
        delay = min(2.0 ** (self._failures - 1), LONGEST_DELAY)
        self._until = self._context.clock.monotonic() + delay
        self._held_back = partial(self._auth_refused, reply, close=close, reason=reason)
        self._held = True
        self._allow(delay + self._settings.smtp.inactivity_timeout)

    def _auth_refused(self, reply: bytes, *, close: bool, reason: RejectReason = RejectReason.AUTH) -> None:
        if close:
            self._reject(reason, reply)
            self._say_goodbye(reply)
        else:
            self._refuse(reason, reply)

    def tick(self, now: float) -> None:
        """Say what was held back until now; `now` is monotonic. The listener's sweep calls it."""
        if self._held_back is not None and now >= self._until:
            say, self._held_back = self._held_back, None
            self._held = False
            say()
            self._go_on()

    def _give_up(self) -> None:
        self._held_back = None
        attempt, self._try = self._try, None
        if attempt is not None:
            self._context.auth_gate.withdraw(attempt, self._context.clock.monotonic())
        super()._give_up()

"""The way of one attempt from target to target: whom the message is offered to, and what each answer leads to.

Owns the order of steps within a target, no policy: `delivery.verdict` classifies replies and faults. Made by `attempt`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from pathlib import Path

from mailboat.config.settings import Settings
from mailboat.delivery import tls_verdict, verdict
from mailboat.delivery.attempt_parts import AttemptParts
from mailboat.delivery.destination import HostAddress
from mailboat.delivery.dial import label
from mailboat.delivery.envelope import envelope_for
from mailboat.delivery.gate import Approach, Busy, Cost
from mailboat.delivery.limits import HeldError
from mailboat.delivery.oauth import TokenError, server_of
from mailboat.delivery.offers import PeerOffers
from mailboat.delivery.overrides import WorkerOverrides
from mailboat.delivery.places import Place
from mailboat.delivery.retries import RetryPlans
from mailboat.delivery.rule_actions import Fired, acted, retry_after
from mailboat.delivery.session import FileBody, Session
from mailboat.delivery.verdict import FaultKind, PeerTrouble, Signal, Trouble
from mailboat.model.envelope import Entry, Recipient, SpooledBody
from mailboat.model.outcome import Outcome, PeerFacts, Result, Stage
from mailboat.model.tls import PolicySource
from mailboat.queue.entry import is_last_attempt
from mailboat.queue.store import StorageError
from mailboat.routing.answers import Site, Target, Targets, TlsRequirement
from mailboat.smtp.extensions import DSN, EXTENSIONS, REQUIRETLS

log = logging.getLogger(__name__)

ADDRESSES = 5
"""Most addresses that one attempt tries; the others are tried in later attempts."""
SILENCES = 2
"""Most addresses that may be silent in one attempt."""
BUSY_DELAY = 5.0
"""Seconds to the next attempt on an entry, for a part of which the next host had no free connection."""
_OPPORTUNISTIC = TlsRequirement()
_FITS_UNDER_REQUIRETLS = tuple((e.keyword, e.fit) for e in EXTENSIONS if e.fit is not None)
_FITS = tuple((keyword, fit) for keyword, fit in _FITS_UNDER_REQUIRETLS if keyword != REQUIRETLS.keyword)


class _After(Enum):
    """What to do with the same target after a transaction."""

    LEAVE = auto()
    AGAIN = auto()
    """Offer the remaining recipients to it."""
    FRESH = auto()
    """The reused connection was dead: no transaction took place, and a new connection is needed."""


class _TokenLater(PeerTrouble):
    """The token server failed recently, and is not asked for this many seconds."""

    def __init__(self, trouble: Trouble, seconds: float) -> None:
        super().__init__(trouble)
        self.seconds = seconds


class Walk:
    """The state of one attempt as it goes from target to target."""

    # Values that nearly every attempt keeps to its end; they are not set for each.
    session: Session | None = None
    """The session in use."""
    peer: PeerFacts | None = None
    tls = _OPPORTUNISTIC
    """That of the last target."""
    stage = Stage.ROUTE
    excused = False
    """The failure does not count, because it says nothing about the mail."""
    passed_on: frozenset[int] = frozenset()
    """Recipients that a host with DSN has accepted."""
    retry_after: float | None = None
    """Seconds until its hosts in back-off are tried again."""
    _body: bytes | FileBody | None = None
    _silences = 0
    _refused = 0
    """Targets that the TLS policy refuses: they are skipped."""
    _requiretls = False
    """A target must offer REQUIRETLS."""
    _cut_short = False
    """Not all targets were tried."""
    _held = False
    """A limit does not allow to go on."""
    _renewed = False
    """An access token that a host refused was renewed."""
    _tlsa_renewed = False
    """TLSA records that a certificate did not match were asked again."""
    _token_later: float | None = None
    """Seconds until a token server that failed recently is asked again."""

    def __init__(self, entry: Entry, settings: Settings, parts: AttemptParts, place: Place | None) -> None:
        self.entry = entry
        self.pending: list[Recipient] = list(entry.recipients)
        """Those without an outcome yet."""
        self.tls_failures: list[PolicySource] = []
        """Who demanded the TLS that a target lacks."""
        self._settings = settings
        self._parts = parts
        self._place = place
        self._outcomes: dict[int, Outcome] = {}
        self._troubles: list[tuple[str, str, Trouble]] = []
        self._answers: dict[int, Outcome] = {}
        """Answers of hosts for recipients in `pending` that another host may still accept."""
        self._answered: set[int] = set()
        """Recipients for which the target in use has answered."""
        self._passed: list[tuple[Target, HostAddress]] = []
        """Targets that were not tried because they have no free connection or are in back-off."""
        self._costs: set[Cost] = set()
        """The costs of failed targets, if no message was offered."""

    def needs_new_policy(self, answer: Targets) -> bool:
        """RFC 8461 5.1: mail does not fail permanently under an MTA-STS policy before it is known whether there is a
        new one."""
        if all(target.tls.policy is not PolicySource.STS for target in answer.targets):
            return False
        plan = RetryPlans(self._settings).of(self.entry, self._place)
        return is_last_attempt(self.entry, plan, self._parts.clock.now())

    def goes_on(self, target: Target) -> bool:
        """Whether the attempt may try one more target."""
        if self._place is None:
            raise Busy  # there are targets now, for which it needs a place
        now = self._parts.clock.monotonic()
        most = target.timed(self._settings.outbound).attempt_timeout
        self._place.most = most if target.timeouts else None
        is_over = now - self._place.began >= most
        many = len(self._troubles) - self._refused >= ADDRESSES or self._silences >= SILENCES
        self._cut_short = many or is_over or self._held
        if self._cut_short:
            return False
        # A host of lower preference is used if the better ones do not work, not if they are busy.
        return not self._passed or not any(
            passed.priority < target.priority and now >= a.dead_until for passed, a in self._passed
        )

    async def visit(self, target: Target) -> None:
        """Offer the pending recipients to one target."""
        gate, place, clock = self._parts.gate, self._place, self._parts.clock
        assert place is not None
        self.tls = target.tls
        self._requiretls = self._requiretls or target.tls.requiretls
        if target.tls.refusal:  # also refused on a connection kept open by other mail
            self._refused += 1
            self._parts.pool.refused(target)
            self._failed(target, PeerTrouble(tls_verdict.refusal(target.tls)))
            return
        if target.credentials is not None:
            try:
                target = await self._with_token(target)
            except PeerTrouble as failure:  # before connecting: the host is not involved
                self._failed(target, failure)
                return
        approach, address = gate.approach(place, target.spot, clock.monotonic())
        if approach is not Approach.GO:
            self._passed.append((target, address))
            return
        fresh = False
        self._answered.clear()
        while self._offered():
            self.stage = Stage.CONNECT
            try:
                session = None if fresh else self._parts.pool.reuse(target, self._settings, place.hold)
                if session is None:
                    session, target = await self._open(target, place)
            except PeerTrouble as failure:
                self._failed(target, failure)
                return
            except HeldError as held:
                self._hold_back(held)
                return
            gate.opened(place, session, clock.monotonic())
            place.interrupt = session.stream.give_up
            try:
                after = await self._converse(session, target)
            except HeldError as held:
                self._release(keep=True)
                self._hold_back(held)
                return
            finally:
                place.interrupt = None
            if after is _After.LEAVE:
                return
            fresh = after is _After.FRESH
            if fresh:
                await self._parts.pool.gone(session)

    async def _with_token(self, target: Target, refused: str = "") -> Target:
        """The target with an access token other than `refused`, if it needs one. Raises PeerTrouble."""
        credentials = target.credentials
        if credentials is None or credentials.grant is None:
            return target
        try:
            token = await self._parts.tokens.token(credentials.grant, refused)
        except TokenError as error:
            text = f"no access token from {server_of(credentials.grant)}: {error}"
            trouble = Trouble(Stage.AUTH, FaultKind.NO_TOKEN, text)
            left = error.retry_at - self._parts.clock.monotonic()
            raise (_TokenLater(trouble, left) if left > 0 else PeerTrouble(trouble)) from error
        return replace(target, credentials=replace(credentials, token=token.value))

    async def _open(self, target: Target, place: Place) -> tuple[Session, Target]:
        """A new session, and the target as it was accepted, perhaps with a new access token. Raises PeerTrouble."""
        try:
            return await self._connect(target, place), target
        except PeerTrouble as failure:
            renewed = await self._renewed_after(failure.trouble, target)
            if renewed is None:
                raise
        return await self._connect(renewed, place), renewed

    async def _renewed_after(self, trouble: Trouble, target: Target) -> Target | None:
        """The target with a new access token or new TLSA records instead of those that failed, once an attempt.

        None if there are no others. Raises PeerTrouble.
        """
        if trouble.kind is FaultKind.TLSA and not self._tlsa_renewed:
            self._tlsa_renewed = True  # RFC 7671 8.1: the host may have changed its certificate since they were asked
            entry, router = self.entry, self._parts.router
            return await router.renewed(target, entry.domain, entry.message.sender, entry.tls, entry.route)
        used = target.credentials.token if target.credentials is not None else ""
        if not used or self._renewed or not verdict.refuses_token(trouble):
            return None
        self._renewed = True
        target = await self._with_token(target, refused=used)
        return None if target.credentials is None or target.credentials.token == used else target

    def _failed(self, target: Target, failure: PeerTrouble) -> None:
        """Handle the failure to open a session with a target."""
        if isinstance(failure, _TokenLater):
            self._token_later = failure.seconds  # nothing was tried
        else:
            self._learn(target, verdict.signal_of(failure.trouble), failure.trouble)
            if (seen := self._rules) is not None:
                overrides, site, began = seen
                overrides.heard(self.entry, site, failure.trouble, began)
        self._trouble(target, failure.trouble)

    @property
    def _rules(self) -> tuple[WorkerOverrides, Site, float] | None:
        """Rules that look at replies, with the site and when the attempt began; None: there are none."""
        overrides, place = self._parts.overrides, self._place
        if overrides is None or not overrides.has_rules or place is None or place.destination.site is None:
            return None
        return overrides, place.destination.site, place.began

    def _fired(self, session: Session, transcript: verdict.Transcript) -> Fired:
        """The rules that the replies to a transaction have fired."""
        if (seen := self._rules) is None:
            return {}
        overrides, site, began = seen
        session.subject = overrides.subject(self.entry, site)
        return overrides.heard_all(self.entry, site, transcript, began)

    async def _connect(self, target: Target, place: Place) -> Session:
        """A new session. Raises PeerTrouble."""
        why = ""

        def interrupt(reason: str) -> None:
            nonlocal why
            why = reason
            scope.reschedule(asyncio.get_running_loop().time())

        place.interrupt = interrupt
        try:
            async with asyncio.timeout(None) as scope:
                return await self._parts.pool.open(target, self._settings, place.hold)
        except TimeoutError as error:
            raise PeerTrouble(Trouble(Stage.CONNECT, FaultKind.TIMEOUT, why)) from error
        finally:
            place.interrupt = None

    def _learn(self, target: Target, signal: Signal, trouble: Trouble | None) -> None:
        """Tell the gate what was learnt of a target."""
        assert self._place is not None
        cost = self._parts.gate.learn(self._place, signal, self._parts.clock.monotonic(), trouble, target.host)
        if trouble is not None:
            self._costs.add(cost)
            self._silences += signal is Signal.SILENT

    def conclude(self, outcomes: list[Outcome]) -> None:
        """Note outcomes; the first one of a recipient counts."""
        for outcome in outcomes:
            self._outcomes.setdefault(outcome.recipient, outcome)
        self.pending = [r for r in self.pending if r.id not in self._outcomes]

    def _offered(self) -> list[Recipient]:
        """The recipients not yet offered to the target in use."""
        return [r for r in self.pending if r.id not in self._answered] if self._answered else self.pending

    def _pass_on(self, answers: list[Outcome]) -> None:
        """Note answers that another host may improve on; a temporary one overrides that the message does not fit a
        host."""
        for outcome in answers:
            self._answered.add(outcome.recipient)
            if outcome.result is Result.DEFERRED or outcome.recipient not in self._answers:
                self._answers[outcome.recipient] = outcome

    def give_up(self, trouble: Trouble) -> None:
        """Defer the pending recipients."""
        self.conclude(verdict.deferred(self.pending, trouble, self.peer.host if self.peer else ""))

    def exhaust(self) -> None:
        """No target is left. Raises Busy."""
        answers, troubles, all_asked = self._answers, self._troubles, not self._passed
        final = self._requiretls and not self._cut_short
        conclusive = tls_verdict.is_conclusive if final else verdict.is_conclusive
        self.conclude(verdict.standing(self.pending, answers, troubles, all_asked=all_asked, conclusive=conclusive))
        if not self.pending:
            return
        if not self._troubles:
            self._pass()
            return
        exhausted = tls_verdict.exhausted if final else verdict.exhausted
        outcomes = exhausted(self.pending, troubles)
        if not self._outcomes and Cost.ATTEMPT not in self._costs and outcomes[0].result is Result.DEFERRED:
            if Cost.TURN in self._costs:
                raise Busy
            self.excused = True
            if self._token_later is not None:
                self.retry_after = max(self._token_later, BUSY_DELAY)
        self.conclude(outcomes)

    def _pass(self) -> None:
        """The pending recipients were not offered to any host. Raises Busy, unless others have an outcome to record."""
        now = self._parts.clock.monotonic()
        busy = [address for _, address in self._passed if now >= address.dead_until]
        if busy and not self._outcomes:
            raise Busy(busy)
        target, address = min(self._passed, key=lambda passed: passed[1].dead_until)
        why = "has as many connections as it takes" if busy else "is left alone after failures"
        trouble = Trouble(Stage.CONNECT, FaultKind.CONNECT, f"{label(target)} {why}")
        self.retry_after, self.excused = max(address.dead_until - now, BUSY_DELAY), True
        self.conclude(verdict.deferred(self.pending, trouble, target.host))

    def _hold_back(self, held: HeldError) -> None:
        """A limit does not allow to go on. Raises Busy, unless there is something to record."""
        if not (self._outcomes or self._answers or self._troubles):
            raise Busy
        self._cut_short = self._held = True
        if not self._troubles:
            self.excused, self.retry_after = True, BUSY_DELAY
            self.give_up(Trouble(self.stage, FaultKind.LOCAL, held.cause))

    def in_order(self) -> tuple[Outcome, ...]:
        """One outcome for each recipient, in the entry's order."""
        return tuple([self._outcomes[recipient.id] for recipient in self.entry.recipients])

    def close(self) -> None:
        """Release what an interrupted attempt still holds."""
        self._discard()
        if isinstance(self._body, FileBody):
            self._body.file.close()

    async def _converse(self, session: Session, target: Target) -> _After:
        """One transaction with the pending recipients."""
        self.session, self.stage = session, Stage.MAIL
        facts = session.facts
        self.peer = facts if facts.host == target.host else replace(facts, host=target.host)
        try:
            body = await self._load()
        except (StorageError, OSError) as error:
            return self._unreadable(error)
        reused = session.used > 0
        fitting = self._fitting(session.offers, target, body)
        if not fitting:
            self._release(keep=True)
            return _After.LEAVE
        recipients = fitting[: session.offers.limits.recipients][: target.max_recipients]
        hold = None if self._place is None else self._place.hold
        if hold is not None:
            hold.renew(len(recipients), self._parts.clock.monotonic())
        envelope = envelope_for(self.entry.message, recipients, session.offers, self._parts.clock.now())
        try:
            transcript = await session.transact(envelope, body, target.timed(self._settings.outbound))
        except OSError as error:
            return self._unreadable(error)
        if reused and verdict.was_dead(transcript):
            self._release(keep=False)
            return _After.FRESH
        if hold is not None and (transcript.fault or (transcript.data is not None and transcript.data.code < 400)):
            hold.used()
        fired = self._fired(session, transcript)
        signal, trouble = verdict.signal_in(transcript)
        self._learn(target, signal, trouble)
        if transcript.mail is not None:
            self._costs.add(Cost.ATTEMPT)
        judgement = verdict.judge(transcript, recipients, target.host)
        if fired:
            acted(judgement, fired)
            self.retry_after = retry_after(fired) or self.retry_after
        if DSN in session.offers:
            self.passed_on |= {o.recipient for o in judgement.outcomes if o.result is Result.DELIVERED}
        if transcript.fault is not None:
            self._discard()
        else:
            self._release(keep=judgement.trouble is None)
        return self._apply(judgement, target, more=len(recipients) < len(fitting))

    def _apply(self, judgement: verdict.Judgement, target: Target, *, more: bool) -> _After:
        """`more`: others are still to be offered to it."""
        self.conclude(judgement.outcomes)
        if judgement.answered:
            self._pass_on(judgement.answered)
        if judgement.trouble is not None:
            self._trouble(target, judgement.trouble)
            return _After.LEAVE
        return _After.AGAIN if judgement.again or more else _After.LEAVE

    def _fitting(self, offers: PeerOffers, target: Target, body: bytes | FileBody) -> list[Recipient]:
        """The recipients to offer to this host; what does not fit its offers is left to other hosts, without MAIL."""
        offered = self._offered()
        head = partial(_head_of, body)
        for keyword, fit in _FITS_UNDER_REQUIRETLS if target.tls.requiretls else _FITS:
            misfit = fit(self.entry.message, offered, head, host=target.host, value=offers.values.get(keyword))
            if misfit is not None:
                self._pass_on(verdict.cannot_take(misfit, target.host))
                offered = self._offered()
                if not offered:
                    break
        return offered

    async def _load(self) -> bytes | FileBody:
        """The body, at its beginning."""
        if self._body is None:
            body = await self._parts.store.body(self.entry)
            if isinstance(body, SpooledBody):
                file = await asyncio.to_thread(Path(body.path).open, "rb")
                self._body = FileBody(file, body.size, body.head)
            else:
                self._body = body
        elif isinstance(self._body, FileBody):
            self._body.file.seek(0)
        return self._body

    def _unreadable(self, error: Exception) -> _After:
        log.error("%s: the stored message cannot be read: %s", self.entry.id, error)
        self._discard()
        self.give_up(Trouble(Stage.BODY, FaultKind.LOCAL, "the stored message cannot be read"))
        return _After.LEAVE

    def _trouble(self, target: Target, trouble: Trouble) -> None:
        """A target failed: note why, and decide whether this ends the attempt."""
        if tls_verdict.is_about_tls(trouble, target.tls):
            trouble = tls_verdict.with_demand(trouble, target.tls)
            self.tls_failures.append(target.tls.policy)
        self._troubles.append((target.host, label(target), trouble))
        if trouble.stage is Stage.AUTH and trouble.reply is not None and trouble.reply.is_permanent:
            self._parts.observer.authentication_failed(target.host, str(trouble.reply))
        if verdict.ends_attempt(trouble):
            self.conclude(verdict.deferred(self.pending, trouble, target.host))

    def _release(self, *, keep: bool) -> None:
        if self.session is not None:
            self._parts.pool.release(self.session, self._settings, keep=keep)
            self.session = None
            if keep and self._place is not None and self._place.hold is not None:
                self._place.hold.let_go()

    def _discard(self) -> None:
        if self.session is not None:
            self._parts.pool.discard(self.session)
            self.session = None


def _head_of(body: bytes | FileBody) -> bytes:
    return body if isinstance(body, bytes) else body.head()

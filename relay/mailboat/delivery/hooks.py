"""Calls the outbound hooks of plugins, from `send_email` to `delivered`.

Calls the hooks and converts their answers to values of `attempt`, `verdict` and `queue.entry`; decides nothing itself.
`pipeline` calls it at each step, unless no plugin has a hook at these points. Made by `app.build`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from mailboat.config.settings import Settings
from mailboat.delivery import verdict
from mailboat.delivery.notes import PluginNotes
from mailboat.delivery.plugin_routes import hop_of, mx_of
from mailboat.hooks import BounceError, Code, Decision, DeferredInfo, Delivered, Hooks, Point, Running
from mailboat.model.address import Address
from mailboat.model.clock import Clock
from mailboat.model.envelope import Entry
from mailboat.model.outcome import AttemptReport, Outcome, PeerFacts, Result
from mailboat.model.tls import NOTHING_ASKED, MessageTls
from mailboat.queue.entry import Transition, dropped, without_report
from mailboat.routing.answers import RoutingAnswer
from mailboat.routing.route import Hop

log = logging.getLogger(__name__)

LEAST_DELAY = 1.0
"""Shortest delay by `send_email` in seconds: without one, a plugin would be called endlessly."""
REASON_KEPT = 500
"""Characters of a plugin's text that are kept as a reason."""

_POINTS = (
    *(Point.SEND_EMAIL, Point.GET_MX, Point.DEFERRED, Point.BOUNCE, Point.DELIVERED),
    Point.PRE_SEND_TRANS_EMAIL,  # of bounce messages: `bounce` calls it
)
_BEFORE_ATTEMPT = (Point.SEND_EMAIL, Point.GET_MX)
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\s+")


class HopRouter(Protocol):
    """The part of routing that hooks need."""

    async def via(self, domain: str, hops: Sequence[Hop], asked: MessageTls = NOTHING_ASKED) -> RoutingAnswer:
        """The targets over hops that a plugin chose."""


class DeliveryHooks:
    """The outbound hooks of one worker."""

    def __init__(self, hooks: Callable[[], Hooks], router: HopRouter, clock: Clock) -> None:
        """`hooks` returns the hooks in force: a reload replaces them, but an attempt keeps those it began with."""
        self._hooks = hooks
        self._router = router
        self._clock = clock
        self._known: Hooks | None = None
        self._wanted = False

    @property
    def chooses_route(self) -> bool:
        """Whether a plugin may choose next hops: then targets are not looked up before the plugin is called."""
        return self._hooks().wants(Point.GET_MX)

    def for_attempt(self, entry: Entry, settings: Settings) -> AttemptHooks | None:
        """The hooks of one attempt; None when no plugin is at any point of delivery."""
        hooks = self._hooks()
        if hooks is not self._known:
            self._known, self._wanted = hooks, any(hooks.wants(point) for point in _POINTS)
        return AttemptHooks(hooks, entry, settings, self._router, self._clock) if self._wanted else None


class AttemptHooks:
    """One attempt on one entry, as its hooks see it."""

    def __init__(self, hooks: Hooks, entry: Entry, settings: Settings, router: HopRouter, clock: Clock) -> None:
        self._hooks = hooks
        self.entry = entry
        """The entry's notes are those stored before the attempt."""
        self._settings = settings
        self._router = router
        self._clock = clock
        self._notes = PluginNotes(entry, settings)
        self._notified = False
        """`delivered` was called."""

    async def before(self) -> AttemptReport | RoutingAnswer | None:
        """Call `send_email` and `get_mx`: a report if there is no attempt, or targets; None: by routing."""
        domain = self.entry.domain
        asked = self._hooks.begin_many(_BEFORE_ATTEMPT, self._notes.hmail, domain)
        decision = asked if isinstance(asked, Decision) else await asked.wait()
        if (noted := self._notes.stored()) is not None:
            self.entry = replace(self.entry, noted=noted)
        if decision.code is Code.DELAY:
            delay = max(LEAST_DELAY, decision.seconds)
            return self._put_off(f"plugin {decision.plugin} delays it by {delay:g} s", delay)
        if decision.code is Code.CONT:
            return None
        if decision.failed:
            # Routing might choose another next hop than the plugin, and the mail might bounce because of that.
            return self._put_off("a plugin failed to choose the next hop")
        if decision.code is Code.DENY:
            return self._decided(Result.BOUNCED, "5.1.2", _line(decision.text) or f"No MX for {domain}")
        if decision.code is Code.DENYSOFT:
            text = _line(decision.text) or f"Temporary MX lookup error for {domain}"
            return self._decided(Result.DEFERRED, "4.1.2", text)
        hops = [hop_of(mx, self._settings) for mx in decision.mx]
        return await self._router.via(domain, hops, self.entry.tls)

    def with_notes(self, change: Transition) -> Transition:
        """The transition to record, with the notes of plugins."""
        if change.remaining is None or (noted := self._notes.stored()) is None:
            return change
        return replace(change, remaining=replace(change.remaining, noted=noted))

    def asks_after(self, change: Transition) -> bool:
        """Whether a hook may change or delay the result of an attempt."""
        wants = self._hooks.wants
        return change.report.counted and bool(
            (change.deferred and wants(Point.DEFERRED))
            or ((change.bounced or change.silenced) and wants(Point.BOUNCE))
            or (change.bounced and wants(Point.PRE_SEND_TRANS_EMAIL))
        )

    async def after(self, change: Transition) -> Transition:
        """The result of an attempt after the hooks `deferred` and `bounce`."""
        if change.deferred and self._hooks.wants(Point.DEFERRED):
            change = await self._deferred(change)
        if (change.bounced or change.silenced) and self._hooks.wants(Point.BOUNCE):
            change = await self._bounced(change)
        return change

    async def _deferred(self, change: Transition) -> Transition:
        failed = change.deferred
        last = failed[-1]
        mx = mx_of(last, change.report.peer)
        info = DeferredInfo(change.delay or 0.0, last.reason, self._people(failed), mx)
        decision = await self._ask(Point.DEFERRED, info)
        if decision.code is Code.OK:
            log.info("%s: plugin %s dropped %d recipients", self.entry.id, decision.plugin, len(failed))
            report, _ = dropped(change.report, Result.DEFERRED)
            return replace(change, report=report, remaining=None, delay=None, delayed=())
        if decision.code is Code.DENYSOFT and decision.seconds > 0 and change.remaining is not None:
            remaining = replace(change.remaining, next_attempt=self._clock.now() + decision.seconds)
            return replace(change, remaining=remaining, delay=decision.seconds)
        return change

    async def _bounced(self, change: Transition) -> Transition:
        failed = change.bounced + change.silenced
        expired = [o for o in failed if o.expired]
        refused = [o for o in failed if not o.expired]
        last = failed[-1]
        mx = mx_of(last, change.report.peer)
        error = BounceError(last.reason, mx, self._people(expired), self._people(refused))
        decision = await self._ask(Point.BOUNCE, error)
        if decision.code is Code.OK and change.bounced:
            return without_report(change)
        return change

    def wants_delivered(self, change: Transition) -> bool:
        """Whether `delivered` must still be called for delivered recipients."""
        return bool(change.delivered) and not self._notified and self._hooks.wants(Point.DELIVERED)

    def notify_delivered(self, change: Transition) -> Coroutine[Any, Any, None] | None:
        """Call `delivered` once for each host that accepted the message; an awaitable if a hook waits."""
        self._notified = True
        deliveries = self._deliveries(change)
        for params in deliveries:
            asked = self._hooks.begin(Point.DELIVERED, self._notes.hmail, params)
            if not isinstance(asked, Decision):
                return self._notify_others(asked, deliveries)
        return None

    async def _notify_others(self, asked: Running, deliveries: Iterator[Delivered]) -> None:
        await asked.wait()
        for params in deliveries:
            await self._ask(Point.DELIVERED, params)

    def _deliveries(self, change: Transition) -> Iterator[Delivered]:
        peer = change.report.peer or PeerFacts()
        by_host: dict[str, list[Outcome]] = {}
        for outcome in change.delivered:
            by_host.setdefault(outcome.mx, []).append(outcome)
        for host, outcomes in by_host.items():
            facts = peer if host in ("", peer.host) else PeerFacts(host)
            reply = outcomes[-1].reply
            yield Delivered(
                host=facts.host,
                ip=facts.ip,
                response=_text_of(reply.text) if reply is not None else "",
                delay=max(0.0, self._clock.now() - self.entry.message.queued_at),
                port=facts.port,
                mode=facts.protocol,
                ok_recips=self._people(outcomes),
                secured=bool(facts.tls_version),
                authenticated=facts.authenticated,
            )

    def over(self) -> None:
        """The attempt is over: call the functions that plugins gave to `when_over`."""
        for function in self._notes.hmail.is_over():
            try:
                function()
            except Exception:
                log.exception("%s: a plugin's function at the end of the attempt failed", self.entry.id)

    async def _ask(self, point: Point, *more: object) -> Decision:
        return await self._hooks.run(point, self._notes.hmail, *more)

    def _people(self, outcomes: Sequence[Outcome]) -> list[Address]:
        addresses = {recipient.id: recipient.address for recipient in self.entry.recipients}
        return [addresses[outcome.recipient] for outcome in outcomes]

    def _put_off(self, reason: str, delay: float | None = None) -> AttemptReport:
        """A report without an attempt, which is not counted."""
        report = self._decided(Result.DEFERRED, "4.3.0", reason)
        return replace(report, retry_after=delay, counted=False)

    def _decided(self, result: Result, status: str, reason: str) -> AttemptReport:
        outcomes = verdict.decided(self.entry.recipients, result, status, reason)
        return AttemptReport(tuple(outcomes), None, self._clock.now(), 0.0)


def _line(text: str) -> str:
    """A plugin's text as a reason: one line of limited length."""
    return " ".join(text.split())[:REASON_KEPT]


def _text_of(reply: str) -> str:
    """The text of a reply without enhanced codes."""
    return " ".join(_ENHANCED.sub("", line, count=1) if _ENHANCED.match(line) else line for line in reply.split("\n"))

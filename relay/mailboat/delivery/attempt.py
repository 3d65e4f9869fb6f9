"""One attempt on one entry: routes it, tries the targets in order, and reports one outcome for each recipient.

Owns the order of steps, no policy: `delivery.verdict` classifies replies and faults, `delivery.pool` provides
connections. Records nothing. Called by `delivery.pipeline`.
"""

from __future__ import annotations

import logging

from mailboat.config.settings import Settings
from mailboat.delivery import verdict
from mailboat.delivery.attempt_parts import AttemptParts
from mailboat.delivery.gate import Busy
from mailboat.delivery.places import Place
from mailboat.delivery.source import chosen_source
from mailboat.delivery.verdict import FaultKind, Trouble
from mailboat.delivery.walk import Walk
from mailboat.model.envelope import Entry, EntryKey
from mailboat.model.outcome import AttemptReport
from mailboat.routing.answers import RoutingAnswer, Targets, Unroutable

log = logging.getLogger(__name__)


class Attempter:
    """Makes attempts. Safe to use for many entries at once."""

    def __init__(self, parts: AttemptParts) -> None:
        self._parts = parts
        self._walks: dict[EntryKey, Walk] = {}

    async def attempt(
        self, entry: Entry, settings: Settings, answer: RoutingAnswer | None = None, *, place: Place | None = None
    ) -> AttemptReport:
        """Try to deliver; `answer` replaces routing if a plugin has chosen the next hops.

        Never raises for an internal error, which is logged and defers. When cancelled, it drops its connection;
        `past_dot` tells whether that may cause a duplicate. Without a place no connection is made.

        Raises:
            Busy: nothing was tried, because other attempts to the same hosts are under way.
        """
        clock = self._parts.clock
        started_at, start = clock.now(), clock.monotonic()
        walk = Walk(entry, settings, self._parts, place)
        self._walks[entry.key] = walk
        try:
            await self._run(walk, answer)
        except Busy:
            raise
        except Exception:
            log.exception("attempt on %s", entry.id)
            walk.give_up(Trouble(walk.stage, FaultKind.LOCAL, "internal error, see the log of the relay"))
        finally:
            self._walks.pop(entry.key, None)
            walk.close()
        return AttemptReport(
            walk.in_order(),
            walk.peer,
            started_at,
            clock.monotonic() - start,
            retry_after=walk.retry_after,
            counted=not walk.excused,
            passed_on=walk.passed_on,
            excused=walk.excused,
            tls_policy=walk.tls.policy,
            tls_demand=walk.tls.demand,
            tls_failures=tuple(walk.tls_failures),
        )

    def past_dot(self, key: EntryKey) -> bool:
        """Whether an attempt waits for the reply to its final dot: cancelling it now may cause a duplicate."""
        walk = self._walks.get(key)
        return walk is not None and walk.session is not None and walk.session.dot_sent

    def hang_up(self, key: EntryKey) -> None:
        """Drop the connection of an attempt, which then reports the same as if the peer had dropped it."""
        walk = self._walks.get(key)
        if walk is not None and walk.session is not None:
            walk.session.stream.abort()

    async def _run(self, walk: Walk, answer: RoutingAnswer | None) -> None:
        entry = walk.entry
        if answer is None:
            sender = entry.message.sender
            answer = await self._parts.router.route(entry.domain, sender, entry.tls, entry.route)
            if isinstance(answer, Targets) and walk.needs_new_policy(answer):
                router = self._parts.router
                answer = await router.route_anew(answer, entry.domain, sender, entry.tls, entry.route)
        if isinstance(answer, Unroutable):
            permanent, status, reason = answer.permanent, answer.status, answer.reason
            walk.conclude(verdict.unroutable(entry.recipients, status, reason, permanent=permanent))
            return
        source = chosen_source(entry)
        for target in self._parts.gate.order(answer.targets, self._parts.clock.monotonic()):
            if not walk.goes_on(target):
                break
            await walk.visit(target if source is None else source.applied_to(target))
            if not walk.pending:
                return
        walk.exhaust()

"""Returns the targets of mail, smart hosts or MX, each with its TLS requirement. The interface to delivery.

Caches each result of `finder` until the first of its DNS answers expires, so that a busy destination costs one
dictionary look-up for each message. A new configuration clears the cache. Decides nothing itself.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from mailboat.config.settings import Settings
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.clock import Clock
from mailboat.model.observer import DnsResult, Observer
from mailboat.model.tls import NOTHING_ASKED, MessageTls, PolicySource
from mailboat.routing import dane
from mailboat.routing.answers import Located, RoutingAnswer, Target, Targets, Unroutable
from mailboat.routing.finder import Finder, RouteQuery, RouteResult
from mailboat.routing.local import LocalAddresses
from mailboat.routing.resolver import Resolver
from mailboat.routing.route import Hop
from mailboat.routing.sts_cache import StsPolicies

MAX_RESULTS = 50_000
"""Maximum of cached results; the least recently used are dropped first."""


class Router:
    """Routes mail. One for each worker; `configure` must be called first."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        observer: Observer,
        clock: Clock,
        policies: StsPolicies | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`policies`: those of MTA-STS; without them none are followed."""
        self._resolver = resolver
        self._observer = observer
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311 - fairness, not secrecy
        self._policies = policies
        self._finder: Finder | None = None
        self._results: OrderedDict[RouteQuery, RouteResult] = OrderedDict()

    def configure(self, settings: Settings, local: LocalAddresses) -> None:
        """Set new settings. A running look-up still uses the old ones, and is not cached."""
        self._resolver.configure(settings.outbound.dns_servers, settings.outbound.dns_trust_ad)
        if self._policies is not None:
            self._policies.configure(settings.tls_outbound)
        self._finder = Finder(settings, local, self._resolver, self._clock, self._policies)
        self.forget()

    def forget(self) -> None:
        """Clear the cache."""
        self._results = OrderedDict()

    def has_route(self, name: str) -> bool:
        """Whether there is a `[route]` of this name."""
        return self._configured().route_named(name) is not None

    def destination(self, domain: str, sender: Address = NULL_SENDER, by: str = "") -> str:
        """The destination key of mail, for scheduling and limits: `route:NAME` of its route, else its domain.

        `by`, here and below: the route that an administrator has chosen, if it exists; empty: none.
        """
        route = self._configured().route_of(domain, sender, by)
        return domain if route is None else f"route:{route.name}"

    async def route(
        self, domain: str, sender: Address = NULL_SENDER, asked: MessageTls = NOTHING_ASKED, by: str = ""
    ) -> RoutingAnswer:
        """The targets for mail to a domain (`Address.ascii_domain`) in the order to try them, or why there are none."""
        return self._answer(await self._find(domain, sender, asked, by))

    async def route_anew(
        self,
        answer: Targets,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> RoutingAnswer:
        """The same instead of an answer, with the records of its MTA-STS policies asked for past all caches."""
        finder = self._configured()
        route = finder.route_of(domain, sender, by)
        under_policy = [target for target in answer.targets if target.tls.policy is PolicySource.STS]
        for name in {domain if route is None else target.host.lower() for target in under_policy}:
            if self._policies is not None:
                await self._policies.look_again(name)
        self._results.pop(finder.query(domain, route, asked), None)
        return await self.route(domain, sender, asked, by)

    async def locate(
        self, domain: str, sender: Address = NULL_SENDER, asked: MessageTls = NOTHING_ASKED, by: str = ""
    ) -> Located:
        """The site of mail; the targets are cached for `route`."""
        found = await self._find(domain, sender, asked, by)
        if found.site is not None:
            return Located(found.site, found.expires)
        assert isinstance(found.plan, Unroutable)
        return Located(found.plan, found.expires)

    async def _find(self, domain: str, sender: Address, asked: MessageTls, by: str) -> RouteResult:
        finder = self._configured()
        route = finder.route_of(domain, sender, by)
        query = finder.query(domain, route, asked)
        results = self._results
        found = results.get(query)
        if found is not None and self._clock.monotonic() < found.expires:
            self._observer.dns_query(DnsResult.CACHED)
        else:
            found = results[query] = await finder.find(query, route, self._chance)
            if len(results) > MAX_RESULTS:
                results.popitem(last=False)
        results.move_to_end(query)
        return found

    async def renewed(
        self,
        target: Target,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> Target | None:
        """The target with the TLSA records of now, asked past all caches; None: they are the same, or there are none.

        For a target that `route` gave for this mail.
        """
        tls = target.tls
        found = dane.usable(await self._resolver.tlsa_anew(dane.owner(tls.servername, target.port)))
        if found == tls.tlsa:
            return None
        finder = self._configured()
        self._results.pop(finder.query(domain, finder.route_of(domain, sender, by), asked), None)
        return replace(target, tls=replace(tls, tlsa=found)) if found else None

    async def via(self, domain: str, hops: Sequence[Hop], asked: MessageTls = NOTHING_ASKED) -> RoutingAnswer:
        """The targets over hops that a plugin chose, in the order given; their names are looked up."""
        ordered = [replace(hop, priority=place) for place, hop in enumerate(hops)]
        return self._answer(await self._configured().by_hops(RouteQuery(domain, asked), ordered))

    def _answer(self, found: RouteResult) -> RoutingAnswer:
        return found.plan if isinstance(found.plan, Unroutable) else found.plan.order(self._chance)

    def _configured(self) -> Finder:
        if self._finder is None:
            raise RuntimeError("the router was asked before it was configured")
        return self._finder

"""Finds the targets of mail under one configuration: by route, address literal, MX, or a plugin's hops.

Queries the DNS (with `lookups`) and applies the pure rules (`mx`, `route`, `security`); caches nothing. `router` makes
one for each configuration, and caches the results.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from mailboat.config.settings import IPAddress, Route, Settings
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.clock import Clock
from mailboat.model.tls import NOTHING_ASKED, MessageTls
from mailboat.routing import mx, security
from mailboat.routing.answers import Site, Target, Unroutable
from mailboat.routing.local import LocalAddresses
from mailboat.routing.lookups import MAX_AGE, QueryLookups
from mailboat.routing.mx import MxHost
from mailboat.routing.records import Answer, Families, MxRecord, NoData, NxDomain
from mailboat.routing.resolver import Resolver
from mailboat.routing.route import Hop, RouteTable, hops
from mailboat.routing.shaped import Shaped, shaped
from mailboat.routing.sts_cache import StsPolicies
from mailboat.routing.subject import Subject, TlsPolicy
from mailboat.routing.target_plan import MAX_TARGETS, Host, TargetPlan
from mailboat.shaping.effective import Facts

MAX_HOSTS = 12
"""Maximum of MX hosts of a domain that are looked up."""
_HOSTS_AT_ONCE = 4
"""Hosts of one destination looked up together. With more, one domain with many MXs would crowd out the others."""


class RouteQuery(NamedTuple):
    """The mail to route; the key of its result in the cache of `router`, for each message."""

    domain: str
    """Normalised (`Address.ascii_domain`), or an address literal in brackets; empty where it makes no difference."""
    asked: MessageTls = NOTHING_ASKED
    """What the message asks of TLS."""
    route: str = ""
    """Name of the `[route]` that takes it; empty without."""


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The targets of some mail, or why there are none."""

    plan: TargetPlan | Unroutable
    expires: float
    """Monotonic time until which this holds."""
    site: Site | None = None
    """The site, which other domains may share; None without targets."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that was looked up, and its targets: none if it has no address."""

    host: MxHost
    targets: Host

    @property
    def usable(self) -> int:
        """How many targets the TLS policy does not refuse."""
        return sum(not target.tls.refusal for family in self.targets for target in family)


Watch = Callable[[Hop, Candidate, QueryLookups], None]
"""Told of each host when it was looked up, and by which look-ups."""


class Finder:
    """Asks the DNS for the targets of mail, under one configuration."""

    def __init__(
        self,
        settings: Settings,
        local: LocalAddresses,
        resolver: Resolver,
        clock: Clock,
        policies: StsPolicies | None = None,
        watch: Watch | None = None,
    ) -> None:
        """`policies`: those of MTA-STS. `watch`: for whoever explains what is found."""
        outbound = settings.outbound
        self._me = settings.me.lower()
        self._mx_port = outbound.mx_port
        self._prefer = outbound.inet_prefer
        self._limits = settings.shaping
        self._local = local
        self._local_ok = outbound.local_mx_ok
        policy = TlsPolicy.of(outbound.enable_tls, settings.tls_outbound)
        self._policy = replace(policy, reports=settings.tlsrpt.counts)
        self._routes = RouteTable(outbound.routes)
        self._resolver = resolver
        self._clock = clock
        self._policies = policies
        self._watch = watch

    def route_named(self, name: str) -> Route | None:
        """The `[route]` of this name."""
        return self._routes.named.get(name)

    def route_of(self, domain: str, sender: Address = NULL_SENDER, by: str = "") -> Route | None:
        """The `[route]` that takes mail from a sender to a domain: the one named `by`, if it exists."""
        chosen = self.route_named(by) if by else None
        return chosen or self._routes.find(domain, sender)

    def query(self, domain: str, route: Route | None, asked: MessageTls) -> RouteQuery:
        """What is to be found for mail that `route` takes; a route has the same targets for nearly all domains."""
        if route is None:
            return RouteQuery(domain, asked)
        return RouteQuery(domain if self._policy.names(domain) else "", asked, route.name)

    async def find(self, query: RouteQuery, route: Route | None, chance: Random) -> RouteResult:
        """The targets of mail to a domain or address literal, or those of its route."""
        if route is not None and route.waits:
            # Not cached: the mail is deferred without counting an attempt.
            why = Unroutable(False, "4.3.5", f"route {route.name} waits: {route.waits}")
            return RouteResult(why, self._clock.monotonic())
        if route is not None:
            return await self.by_hops(query, hops(route, self._mx_port), route)
        literal = mx.literal(query.domain)
        if literal is None:
            return await self._by_mx(query, chance)
        return await self._by_literal(query, literal)

    async def by_hops(self, query: RouteQuery, given: Sequence[Hop], route: Route | None = None) -> RouteResult:
        """The hosts chosen by a route or plugin, by priority. Without any: defer, because an operator can correct
        it."""
        lookups = self._lookups()
        facts = Facts(route=query.route)
        what = shaped(self._limits, facts, route, self._prefer)
        by_priority = sorted((replace(hop, shaped=what) for hop in given), key=lambda hop: hop.priority)
        found = await self._look_up(query, by_priority, lookups)
        usable = [candidate for candidate in found if candidate.targets]
        if usable:
            return _found(query, usable, lookups, facts, what)
        return RouteResult(_no_hop(query.route, [at.host for at in found]), lookups.expires(usable=False))

    async def _by_mx(self, query: RouteQuery, chance: Random) -> RouteResult:
        lookups = self._lookups()
        if self._policies is not None and self._policy.enabled and not query.asked.lax:
            self._policies.ask_ahead(query.domain)
        answer = await lookups.mx(query.domain)
        records = mx.exchanges(query.domain, answer)
        if not isinstance(records, Unroutable) and not self._local_ok:
            records = mx.preferred_to(self._me, records) or mx.loops(query.domain, f"{self._me} is its MX")
        if isinstance(records, Unroutable):
            return RouteResult(records, lookups.expires(usable=False))
        # Shuffled first, so that of too many equal hosts different ones are left out each time.
        mixed = sorted(chance.sample(records, len(records)), key=lambda record: record.preference)
        secure = isinstance(answer, Answer | NoData | NxDomain) and answer.secure
        facts = Facts(query.domain, tuple({record.exchange.lower() for record in records}))
        what = shaped(self._limits, facts, None, self._prefer)
        wanted = [self._mx_hop(record, what, secure=secure) for record in mixed[:MAX_HOSTS]]
        found = await self._look_up(query, wanted, lookups)
        exists = not isinstance(answer, NxDomain)
        hosts = mx.reachable(query.domain, [at.host for at in found], what.inet, exists=exists)
        if isinstance(hosts, Unroutable):
            return RouteResult(hosts, lookups.expires(usable=False))
        return _found(query, [candidate for candidate in found if candidate.host in hosts], lookups, facts, what)

    async def _by_literal(self, query: RouteQuery, literal: IPAddress | Unroutable) -> RouteResult:
        """The host of an address literal (RFC 5321 4.1.3)."""
        until = self._clock.monotonic() + MAX_AGE
        if isinstance(literal, Unroutable):
            return RouteResult(literal, until)
        if not self._local_ok and (mx.never_leaves(literal) or self._local.contains(literal)):
            return RouteResult(mx.loops(query.domain, f"{literal} is its own address"), until)
        facts = Facts(query.domain)
        what = shaped(self._limits, facts, None, self._prefer)
        if literal.version not in what.inet.versions:
            reason = f"{query.domain} is not an {mx.address_of(what.inet)}"
            return RouteResult(Unroutable(True, "5.4.4", reason), until)
        lookups = self._lookups()
        hop = Hop(str(literal), self._mx_port, local_ok=self._local_ok, by_system=False, shaped=what)
        host = MxHost(hop.host, 0, ((literal,),))
        return _found(query, [await self._candidate(query, hop, host, lookups)], lookups, facts, what)

    def _lookups(self) -> QueryLookups:
        return QueryLookups(self._resolver, self._clock, self._policies)

    def _mx_hop(self, record: MxRecord, what: Shaped, *, secure: bool) -> Hop:
        return Hop(
            record.exchange,
            self._mx_port,
            priority=record.preference,
            local_ok=self._local_ok,
            by_system=False,
            by_mx=True,
            secure=secure,
            shaped=what,
        )

    async def _look_up(self, query: RouteQuery, wanted: Sequence[Hop], lookups: QueryLookups) -> list[Candidate]:
        """The hosts with their targets, until there are enough for one attempt."""
        found: list[Candidate] = []
        for start in range(0, len(wanted), _HOSTS_AT_ONCE):
            wave = wanted[start : start + _HOSTS_AT_ONCE]
            if len(wave) == 1:  # mostly: no task for it
                found.append(await self._look_up_host(query, wave[0], lookups))
            else:
                found += await asyncio.gather(*(self._look_up_host(query, hop, lookups) for hop in wave))
            usable = sum(candidate.usable for candidate in found)
            # If the DNS fails slowly, mail does not wait for more hosts than needed.
            if usable >= MAX_TARGETS or (usable and lookups.failed):
                break
        return found

    async def _look_up_host(self, query: RouteQuery, hop: Hop, lookups: QueryLookups) -> Candidate:
        if hop.path:
            return await self._candidate(query, hop, MxHost(hop.path, hop.priority), lookups)
        name, prefer = hop.name_of_host.lower(), hop.shaped.inet
        v6, v4 = self._without_dns(name) or await _addresses(hop, prefer.versions, lookups)
        is_ours: Callable[[IPAddress], bool] | None = None if hop.local_ok else self._local.contains
        host = mx.host(MxRecord(hop.priority, name), v6, v4, prefer, is_ours)
        return await self._candidate(query, hop, host, lookups)

    async def _candidate(self, query: RouteQuery, hop: Hop, host: MxHost, lookups: QueryLookups) -> Candidate:
        """A host with a target for each of its addresses; waits for the checks of `security`."""
        families: Sequence[Sequence[IPAddress | None]] = ((None,),) if hop.path else host.addresses
        targets = [[await self._target(query, hop, ip, lookups) for ip in family] for family in families]
        candidate = Candidate(host, targets)
        if self._watch is not None:
            self._watch(hop, candidate, lookups)
        return candidate

    async def _target(self, query: RouteQuery, hop: Hop, ip: IPAddress | None, lookups: QueryLookups) -> Target:
        name = hop.name or hop.name_of_host
        subject = Subject(
            query.domain,
            name,
            ip,
            query.route,
            hop.tls,
            query.asked,
            has_secret=hop.credentials is not None and not hop.auth_without_tls,
            port=hop.port,
            versions=hop.shaped.inet.versions,
            shaped=hop.shaped,
            dane=self._policy.dane if hop.by_mx else hop.route is not None and hop.route.dane,
            sts=hop.route is not None and hop.route.sts,
            by_mx=hop.by_mx,
            mx_secure=hop.secure,
            lookups=lookups,
        )
        tls = await security.requirement(self._policy, subject)
        return Target(
            host=name,
            ip="" if ip is None else str(ip),
            port=hop.port,
            path=hop.path,
            protocol=hop.protocol,
            priority=hop.priority,
            tls=tls.with_roots(hop.ca),
            credentials=hop.credentials,
            bind=hop.bind,
            ehlo=hop.ehlo,
            max_messages=hop.shaped.max_messages,
            max_recipients=hop.shaped.max_recipients,
            idle_timeout=hop.shaped.idle_timeout,
            timeouts=hop.shaped.timeouts,
        )

    def _without_dns(self, name: str) -> Families | None:
        """What an address, or a name that is loopback by itself (RFC 6761 6.3), resolves to; None: ask a server."""
        until = self._clock.monotonic() + MAX_AGE
        if name == "localhost" or name.endswith(".localhost"):
            return Answer(("::1",), until), Answer(("127.0.0.1",), until)
        try:
            version = ipaddress.ip_address(name).version
        except ValueError:
            return None
        found, other = Answer((name,), until), NoData(until)
        return (found, other) if version == 6 else (other, found)


def _found(
    query: RouteQuery, candidates: Sequence[Candidate], lookups: QueryLookups, facts: Facts, what: Shaped
) -> RouteResult:
    tiers: dict[int, list[Host]] = {}
    for candidate in candidates:
        tiers.setdefault(candidate.host.preference, []).append(candidate.targets)
    plan = TargetPlan(list(tiers.values()))
    names = sorted({candidate.host.name.lower() for candidate in candidates})
    key = f"route:{query.route}" if query.route else ",".join(names)
    usable = any(candidate.usable for candidate in candidates)
    return RouteResult(plan, lookups.expires(usable=usable), Site(key, plan.spots(), facts, what.window))


async def _addresses(hop: Hop, versions: Sequence[int], lookups: QueryLookups) -> Families:
    if hop.by_system:
        return await lookups.host(hop.host.lower(), versions)
    return await lookups.families(hop.name_of_host.lower(), versions)


def _no_hop(route: str, hosts: Sequence[MxHost]) -> Unroutable:
    where = f"route {route}" if route else "the hosts that a plugin chose"
    why = "; ".join(
        host.failure or (f"{host.name} is {host.skipped}, which is this host" if host.skipped else host.name)
        for host in hosts[:3]
    )
    return Unroutable(False, "4.4.3", f"no address for {where}: {why or 'no hosts'}")

"""Finds where mail goes, under one configuration: by route, by literal, by MX, or by a plugin's hops.

Asks the DNS (`resolver`) and lets the pure rules (`mx`, `route`, `security`) decide; keeps nothing. `router` makes one
for each configuration, and remembers what it finds.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from mailboat.config.settings import IPAddress, Route, Settings
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.clock import Clock
from mailboat.routing import mx, security
from mailboat.routing.answers import Site, Target, Unroutable
from mailboat.routing.local import LocalAddresses
from mailboat.routing.mx import MxHost
from mailboat.routing.records import Answer, Lookup, LookupFailure, MxRecord, NoData, NxDomain
from mailboat.routing.resolver import Families, Resolver
from mailboat.routing.route import Hop, RouteTable, hops
from mailboat.routing.target_plan import MAX_TARGETS, Host, TargetPlan

MAX_AGE = 60.0
"""Seconds that a result is kept at most: this machine's addresses, or a host whose look-up failed, may have changed."""
MAX_HOSTS = 12
"""MX hosts of a domain that are looked up at most."""
_HOSTS_AT_ONCE = 4
"""Hosts of one destination looked up together. With more, one domain with many MXs would crowd out the others."""

_Record = TypeVar("_Record", str, MxRecord)


@dataclass(frozen=True, slots=True)
class RouteQuery:
    """Which mail is to be routed."""

    domain: str
    """Normalised (`Address.ascii_domain`), or an address literal in brackets."""
    force_tls: bool = False
    route: str = ""
    """Name of the `[route]` that takes it; empty without."""


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The targets of some mail, or why there are none."""

    plan: TargetPlan | Unroutable
    expires: float
    """Monotonic time until which this holds."""
    site: Site | None = None
    """What the mail shares with that of other domains; None without targets."""


class Finder:
    """Asks the DNS for the targets of mail, under one configuration."""

    def __init__(self, settings: Settings, local: LocalAddresses, resolver: Resolver, clock: Clock) -> None:
        outbound = settings.outbound
        self._me = settings.me.lower()
        self._mx_port = outbound.mx_port
        self._prefer = outbound.inet_prefer
        self._local = local
        self._local_ok = outbound.local_mx_ok
        self._policy = security.TlsPolicy.of(outbound.enable_tls, settings.tls_outbound)
        self._routes = RouteTable(outbound.routes)
        self._resolver = resolver
        self._clock = clock

    def route_of(self, domain: str, sender: Address = NULL_SENDER) -> Route | None:
        """The `[route]` that takes mail from a sender to a domain."""
        return self._routes.find(domain, sender)

    async def find(self, query: RouteQuery, route: Route | None, chance: Random) -> RouteResult:
        """Where mail to a domain or address literal goes; over `route`, where one takes it."""
        if route is not None and route.waits:
            # Over at once: mail is put off, and no attempt of the plan is spent on it.
            why = Unroutable(False, "4.3.5", f"route {route.name} waits: {route.waits}")
            return RouteResult(why, self._clock.monotonic())
        if route is not None:
            return await self.by_hops(replace(query, route=route.name), hops(route, self._mx_port))
        literal = mx.literal(query.domain)
        if literal is None:
            return await self._by_mx(query, chance)
        return self._by_literal(query, literal)

    async def by_hops(self, query: RouteQuery, given: Sequence[Hop]) -> RouteResult:
        """Over hosts that a route or plugin chose, by priority. Without any: defer, for a person can mend it."""
        lifetime = _Lifetime(self._clock)
        by_priority = sorted(given, key=lambda hop: hop.priority)
        found = await self._look_up(by_priority, lifetime)
        usable = [(hop, host) for hop, host in found if hop.path or host.addresses]
        if usable:
            return self._found(query, usable, lifetime.expires(usable=True))
        return RouteResult(_no_hop(query.route, [host for _, host in found]), lifetime.expires(usable=False))

    async def _by_mx(self, query: RouteQuery, chance: Random) -> RouteResult:
        lifetime = _Lifetime(self._clock)
        answer = lifetime.note(await self._resolver.mx(query.domain))
        records = mx.exchanges(query.domain, answer)
        if not isinstance(records, Unroutable) and not self._local_ok:
            records = mx.preferred_to(self._me, records) or mx.loops(query.domain, f"{self._me} is its MX")
        if isinstance(records, Unroutable):
            return RouteResult(records, lifetime.expires(usable=False))
        # Mixed first, so that where equals are too many to look up all, not always the same ones are left out.
        mixed = sorted(chance.sample(records, len(records)), key=lambda record: record.preference)
        wanted = [self._mx_hop(record) for record in mixed[:MAX_HOSTS]]
        found = await self._look_up(wanted, lifetime)
        exists = not isinstance(answer, NxDomain)
        hosts = mx.reachable(query.domain, [host for _, host in found], self._prefer, exists=exists)
        if isinstance(hosts, Unroutable):
            return RouteResult(hosts, lifetime.expires(usable=False))
        usable = [(hop, host) for hop, host in found if host in hosts]
        return self._found(query, usable, lifetime.expires(usable=True))

    def _by_literal(self, query: RouteQuery, literal: IPAddress | Unroutable) -> RouteResult:
        """The host that a literal is (RFC 5321 4.1.3)."""
        until = self._clock.monotonic() + MAX_AGE
        if isinstance(literal, Unroutable):
            return RouteResult(literal, until)
        if not self._local_ok and (mx.never_leaves(literal) or self._local.contains(literal)):
            return RouteResult(mx.loops(query.domain, f"{literal} does not leave it"), until)
        if literal.version not in self._prefer.versions:
            reason = f"{query.domain} is not an {mx.address_of(self._prefer)}"
            return RouteResult(Unroutable(True, "5.4.4", reason), until)
        record = MxRecord(0, str(literal))
        return self._found(query, [(self._mx_hop(record), MxHost(record.exchange, 0, ((literal,),)))], until)

    def _mx_hop(self, record: MxRecord) -> Hop:
        return Hop(record.exchange, self._mx_port, priority=record.preference, local_ok=self._local_ok, by_system=False)

    async def _look_up(self, wanted: Sequence[Hop], lifetime: _Lifetime) -> list[tuple[Hop, MxHost]]:
        """The hops with their addresses, until there are enough for one attempt."""
        found: list[tuple[Hop, MxHost]] = []
        for start in range(0, len(wanted), _HOSTS_AT_ONCE):
            wave = wanted[start : start + _HOSTS_AT_ONCE]
            if len(wave) == 1:  # mostly: no task for it
                hosts = [await self._host(wave[0], lifetime)]
            else:
                hosts = await asyncio.gather(*(self._host(hop, lifetime) for hop in wave))
            found += zip(wave, hosts, strict=True)
            addresses = sum(len(family) for _, host in found for family in host.addresses)
            # Where the DNS is slow to fail, mail does not wait for more hosts than it needs.
            if addresses >= MAX_TARGETS or (addresses and lifetime.failed):
                break
        return found

    async def _host(self, hop: Hop, lifetime: _Lifetime) -> MxHost:
        if hop.path:
            return MxHost(hop.path, hop.priority)
        name, prefer = hop.name_of_host.lower(), hop.inet or self._prefer
        v6, v4 = self._without_dns(name) or await self._ask(hop, prefer.versions)
        is_ours: Callable[[IPAddress], bool] | None = None if hop.local_ok else self._local.contains
        return mx.host(MxRecord(hop.priority, name), lifetime.note(v6), lifetime.note(v4), prefer, is_ours)

    async def _ask(self, hop: Hop, versions: Sequence[int]) -> Families:
        if hop.by_system:
            return await self._resolver.host(hop.host.lower(), versions)
        return await self._resolver.families(hop.name_of_host.lower(), versions)

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

    def _found(self, query: RouteQuery, usable: Sequence[tuple[Hop, MxHost]], expires: float) -> RouteResult:
        plan = self._plan(query, usable)
        names = sorted({host.name.lower() for _, host in usable})
        key = f"route:{query.route}" if query.route else ",".join(names)
        return RouteResult(plan, expires, Site(key, plan.spots()))

    def _plan(self, query: RouteQuery, usable: Sequence[tuple[Hop, MxHost]]) -> TargetPlan:
        tiers: dict[int, list[Host]] = {}
        for hop, host in usable:
            families: list[list[IPAddress | None]] = [list(family) for family in host.addresses] or [[None]]
            targets = [[self._target(query, hop, ip) for ip in family] for family in families]
            tiers.setdefault(hop.priority, []).append(targets)
        return TargetPlan(list(tiers.values()))

    def _target(self, query: RouteQuery, hop: Hop, ip: IPAddress | None) -> Target:
        name = hop.name or hop.name_of_host
        secret = hop.credentials is not None and not hop.auth_without_tls
        subject = security.Subject(query.domain, name, ip, query.route, hop.tls, query.force_tls, secret)
        tls = security.requirement(self._policy, subject)
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
            route=hop.route,
        )


class _Lifetime:
    """How long the look-ups behind a result hold."""

    def __init__(self, clock: Clock) -> None:
        self._known = self._failed = clock.monotonic() + MAX_AGE
        self.failed = False
        """Whether any look-up failed so far."""

    def note(self, found: Lookup[_Record]) -> Lookup[_Record]:
        """Note a look-up, and pass it on."""
        if isinstance(found, LookupFailure):
            self.failed = True
            self._failed = min(self._failed, found.expires)
        else:
            self._known = min(self._known, found.expires)
        return found

    def expires(self, *, usable: bool) -> float:
        """A failure beside hosts that work is looked into again after `MAX_AGE`; one that defers mail, soon."""
        return self._known if usable else min(self._known, self._failed)


def _no_hop(route: str, hosts: Sequence[MxHost]) -> Unroutable:
    where = f"route {route}" if route else "the hosts that a plugin chose"
    why = "; ".join(
        host.failure or (f"{host.name} is {host.skipped}, which is this host" if host.skipped else host.name)
        for host in hosts[:3]
    )
    return Unroutable(False, "4.4.3", f"no address for {where}: {why or 'no hosts'}")

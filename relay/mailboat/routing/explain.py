"""What TLS mail to a domain would have to have, and why: for people. `finder` decides it, as it does for deliveries.

Makes the same look-ups as a delivery, and one to learn whether DNS answers are validated. Called by `mailboat tls`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from mailboat.config.settings import Route, Settings, TlsLevel
from mailboat.model.address import Address
from mailboat.model.clock import Clock
from mailboat.model.sts import StsAnswer, StsMode
from mailboat.model.tls import NOTHING_ASKED, PolicySource
from mailboat.routing import dane, mx
from mailboat.routing.answers import Target, TlsRequirement, Unroutable
from mailboat.routing.finder import Candidate, Finder, RouteResult
from mailboat.routing.local import LocalAddresses
from mailboat.routing.lookups import QueryLookups
from mailboat.routing.records import Answer, LookupFailure, MxRecord, NoData, NxDomain, is_hostname
from mailboat.routing.resolver import Resolver
from mailboat.routing.route import Hop
from mailboat.routing.sts_cache import StsPolicies, record_name
from mailboat.routing.tls_reporting import presentation

_NOTHING = TlsRequirement()
_Seen = tuple[Hop, Candidate, QueryLookups]


@dataclass(frozen=True, slots=True)
class HostFinding:
    """A host, with those of its addresses of which the same is demanded."""

    host: str
    preference: int
    tls: TlsRequirement = _NOTHING
    addresses: tuple[str, ...] = ()
    secure: bool = False
    """The host was found securely and its addresses are authenticated, so that its TLSA records count."""
    tlsa: tuple[str, ...] = ()
    """Its TLSA records as zone files have them, usable or not."""
    unused: str = ""
    """Why it is not connected to, other than by `tls.refusal`."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a mail that asks nothing itself."""

    domain: str
    route: str
    """The `[route]` that takes it; empty: by MX."""
    secure: bool
    """The MX answer is authenticated."""
    sts: StsAnswer | None
    """What MTA-STS says of the domain; None: not asked, since it cannot count."""
    hosts: Sequence[HostFinding]
    unroutable: Unroutable | None
    """Why there is no host."""
    notes: Sequence[str]
    """What keeps a policy from counting."""
    failed: bool
    """A look-up failed that could have changed the answer."""


async def explain(
    settings: Settings, domain: str, sender: Address, resolver: Resolver, policies: StsPolicies, clock: Clock
) -> Explanation:
    """Explain mail from a sender to a domain (A-labels, lower case, or an address literal).

    Raises StorageError if the stored policies cannot be read.
    """
    resolver.configure(settings.outbound.dns_servers, settings.outbound.dns_trust_ad)
    policies.configure(settings.tls_outbound)
    seen: list[_Seen] = []
    finder = Finder(settings, LocalAddresses(clock), resolver, clock, policies, watch=lambda *host: seen.append(host))
    route = finder.route_of(domain, sender)
    result = await finder.find(finder.query(domain, route, NOTHING_ASKED), route, Random(0))  # noqa: S311
    lookups = seen[0][2] if seen else QueryLookups(resolver, clock, policies)
    by_mx = route is None and mx.literal(domain) is None
    answer = await lookups.mx(domain) if by_mx else None
    secure = isinstance(answer, Answer | NoData | NxDomain) and answer.secure
    sts = await lookups.sts(domain) if by_mx else None
    found = [one for host in seen for one in await _of_host(host, result, settings)]
    records = answer.records if isinstance(answer, Answer) else ()
    hosts = [*found, *_left_out({one.host.lower() for one in found}, records)]
    notes = [*_about_route(route, settings), *(_about_sts(sts, domain) if settings.tls_outbound.mta_sts else ())]
    if (
        sts is not None
        and sts.policy is None
        and isinstance(record := await lookups.texts(record_name(domain)), LookupFailure)
    ):
        notes.append(f"whether {domain} announces an MTA-STS policy is not known: {record.reason}")
    if settings.tls_outbound.dane if route is None else route.dane:
        notes += _about_dane(domain, await resolver.not_validated(), secure=secure or not by_mx)
    return Explanation(
        domain=domain,
        route="" if route is None else route.name,
        secure=secure,
        sts=sts,
        hosts=sorted(hosts, key=lambda one: (one.preference, one.host)),
        unroutable=result.plan if isinstance(result.plan, Unroutable) else None,
        notes=notes,
        failed=lookups.failed or (sts is not None and sts.pending),
    )


async def _of_host(seen: _Seen, result: RouteResult, settings: Settings) -> list[HostFinding]:
    """A host as deliveries see it: its addresses by what is demanded of them."""
    hop, candidate, lookups = seen
    name, host = hop.name or hop.name_of_host, candidate.host
    by_tls: dict[TlsRequirement, list[Target]] = {}
    for family in candidate.targets:
        for target in family:
            by_tls.setdefault(target.tls, []).append(target)
    if not by_tls:
        address = mx.address_of(hop.shaped.inet)
        why = host.failure or (f"{host.skipped} is this host" if host.skipped else f"it has no {address}")
        return [HostFinding(name, host.preference, unused=why)]
    spots = {spot for tier in result.site.tiers for spot in tier} if result.site is not None else set()
    found = []
    for tls, targets in by_tls.items():
        secure, tlsa = await _published(hop, lookups, tls, settings)
        unused = "" if any(target.spot in spots for target in targets) else "it is this host, or not preferred to it"
        addresses = tuple(target.path or target.ip for target in targets)
        found.append(HostFinding(name, host.preference, tls, addresses, secure, tlsa, unused))
    return found


async def _published(
    hop: Hop, lookups: QueryLookups, tls: TlsRequirement, settings: Settings
) -> tuple[bool, tuple[str, ...]]:
    """Whether the TLSA records of a host count, and which it has; deliveries have looked them up already."""
    name, versions = hop.name_of_host.lower(), hop.shaped.inet.versions
    wanted = settings.tls_outbound.dane if hop.by_mx else hop.route is not None and hop.route.dane
    wanted = wanted or tls.policy is PolicySource.DANE
    if not (hop.secure and wanted and is_hostname(name)) or tls.level is TlsLevel.DISABLED:
        return False, ()
    families = await lookups.families(name, versions)
    secure = any(isinstance(family, Answer) and family.secure for family in families)
    base = (await dane.find(lookups, name, hop.port, versions)).base
    answer = await lookups.tlsa(dane.owner(base, hop.port)) if base else None
    return secure, tuple(sorted(map(presentation, answer.records))) if isinstance(answer, Answer) else ()


def _left_out(seen: set[str], records: Sequence[MxRecord]) -> Iterator[HostFinding]:
    """Hosts of the MX records that a delivery does not look up."""
    for record in sorted(set(records)):
        if record.exchange and record.exchange not in seen:
            why = "no attempt gets so far" if is_hostname(record.exchange) else "this is no host name"
            yield HostFinding(record.exchange, record.preference, unused=why)


def _about_route(route: Route | None, settings: Settings) -> Iterator[str]:
    if route is None:
        if not settings.tls_outbound.mta_sts:
            yield "MTA-STS policies are not looked up: mta_sts=false"
        if not settings.tls_outbound.dane:
            yield "TLSA records are not looked up: dane=false"
        return
    yield f"route {route.name} takes this mail: neither the MX records nor the MTA-STS policy of the domain count"
    for key in ("sts", "dane"):
        if not getattr(route, key):
            yield f"route {route.name} has {key}=false"


def _about_sts(sts: StsAnswer | None, domain: str) -> Iterator[str]:
    if sts is None:
        return
    if sts.pending:
        yield f"the MTA-STS policy of {domain} is not fetched yet"
    elif sts.failure is not None:
        yield f"the MTA-STS policy that {domain} announces cannot be had, and none is stored: {sts.failure}"
    elif sts.policy is not None and sts.policy.mode is not StsMode.ENFORCE:
        yield f"the MTA-STS policy of {domain} demands nothing: its mode is {sts.policy.mode}"


def _about_dane(domain: str, not_validated: str, *, secure: bool) -> Iterator[str]:
    if not_validated:
        yield f"no TLSA records count, since DNS answers are not validated (dns_trust_ad): {not_validated}"
    elif not secure:
        # RFC 7672 2.2.1: whoever can forge an MX answer can name a host with records of his own.
        yield f"no TLSA records count, since the MX records of {domain} are not authenticated (DNSSEC)"

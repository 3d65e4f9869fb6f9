"""MX rules of RFC 5321 5.1 and RFC 7505: from DNS answers to the hosts that may be tried, or why there are none.

Pure. Knows nothing of sockets, ports or TLS. `router` calls these in order: `exchanges`, look-ups, `host`, `reachable`.
One rule about failures: without an answer of the DNS, mail is deferred; it bounces only because of an answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailboat.config.settings import InetPrefer, IPAddress
from mailboat.routing.answers import Unroutable
from mailboat.routing.records import Answer, Lookup, LookupFailure, MxRecord, NoData, NxDomain, is_hostname

MAX_ADDRESSES = 5
"""Maximum of addresses of one family for one host, which leaves room for the other family and other hosts."""


@dataclass(frozen=True, slots=True)
class MxHost:
    """One exchanger with its addresses looked up."""

    name: str
    preference: int
    addresses: tuple[tuple[IPAddress, ...], ...] = ()
    """By family, the preferred family first; none empty."""
    ours: bool = False
    """Whether it is this host."""
    skipped: str = ""
    """An address that was skipped because it is local to this host or link; empty if none was."""
    failure: str = ""
    """Why a look-up of its addresses failed; empty if none did."""


def exchanges(domain: str, found: Lookup[MxRecord]) -> tuple[MxRecord, ...] | Unroutable:
    """The exchangers of a domain, most preferred first, or why it has none."""
    match found:
        case LookupFailure(reason):
            return Unroutable(False, "4.4.3", reason)
        case NoData() | NxDomain():
            # RFC 5321 5.1: an empty list makes the host itself an implicit MX of preference 0. Some servers, such as
            # those of container networks, answer NXDOMAIN for MX of a name that has an address, so the address is
            # looked up anyway.
            return (MxRecord(0, domain),)
        case Answer(records):
            named = [record for record in records if record.exchange]
    if not named:
        # RFC 7505 3. A null MX among others is not one (same place: a domain MUST NOT publish both): it is ignored.
        return Unroutable(True, "5.1.10", f"the domain {domain} accepts no mail (null MX)")
    best: dict[str, MxRecord] = {}
    for record in sorted(named):
        if is_hostname(record.exchange):
            best.setdefault(record.exchange, record)
    if not best:
        return Unroutable(True, "5.4.4", f"no MX of {domain} is a host name: {named[0].exchange[:255]}")
    return tuple(best.values())


def preferred_to(name: str, records: Sequence[MxRecord]) -> tuple[MxRecord, ...]:
    """The records preferred to the host `name`; all if it is not among them (RFC 5321 5.1)."""
    own = [record.preference for record in records if record.exchange == name]
    return tuple(record for record in records if not own or record.preference < min(own))


def host(
    record: MxRecord,
    v6: Lookup[str],
    v4: Lookup[str],
    prefer: InetPrefer,
    is_ours: Callable[[IPAddress], bool] | None,
) -> MxHost:
    """One exchanger from its two look-ups. `is_ours` None: local addresses are allowed (`local_mx_ok`)."""
    order = [{4: v4, 6: v6}[version] for version in prefer.versions]
    failure = next((found.reason for found in order if isinstance(found, LookupFailure)), "")
    families, ours, skipped = [], False, ""
    for found in order:
        usable = []
        for ip in _addresses(found):
            if is_ours is None or not (never_leaves(ip) or is_ours(ip)):
                usable.append(ip)
            else:
                skipped = str(ip)
                ours = ours or not never_leaves(ip)
        if usable:
            families.append(tuple(usable[:MAX_ADDRESSES]))
    return MxHost(record.exchange, record.preference, tuple(families), ours, skipped, failure)


def reachable(
    domain: str, hosts: Sequence[MxHost], prefer: InetPrefer = InetPrefer.BOTH, *, exists: bool = True
) -> tuple[MxHost, ...] | Unroutable:
    """The hosts that may be tried, in the order given, or why there are none. `exists`: whether the domain exists,
    by the look-up of MX."""
    # RFC 5321 5.1: if this host is in the list, hosts of the same or a higher preference number are dropped.
    limit = min((h.preference for h in hosts if h.ours), default=None)
    better = [h for h in hosts if limit is None or h.preference < limit]
    usable = tuple(h for h in better if h.addresses)
    if usable:
        return usable
    failure = next((h.failure for h in better if h.failure), "")
    if failure:
        return Unroutable(False, "4.4.3", failure)
    skipped = next((h for h in hosts if h.skipped), None)
    if skipped is not None:
        return loops(domain, f"{skipped.name} is {skipped.skipped}")
    if not exists:
        return Unroutable(True, "5.1.2", f"the domain {domain} does not exist")
    address = address_of(prefer)
    if [h.name for h in hosts] == [domain]:
        return Unroutable(True, "5.1.2", f"the domain {domain} has neither MX nor {address}")
    return Unroutable(True, "5.4.4", f"no MX of {domain} has an {address}: {', '.join(h.name for h in hosts[:3])}")


def address_of(prefer: InetPrefer) -> str:
    """The required kind of address, in words."""
    if len(prefer.versions) > 1:
        return "address"
    return f"IPv{prefer.versions[0]} address (inet_prefer={prefer})"


def loops(domain: str, why: str) -> Unroutable:
    """Mail for `domain` would loop. Permanent: only a change of the DNS or of `local_mx_ok` ends the loop."""
    return Unroutable(True, "5.4.6", f"mail for {domain} loops back to this host: {why}")


def never_leaves(ip: IPAddress) -> bool:
    """Whether an address is loopback, link-local, unspecified or similar, and so never reaches another host by
    routing."""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if isinstance(ip, ipaddress.IPv4Address) and ip.packed[0] == 0:
        return True  # RFC 1122 3.2.1.3: 0.0.0.0/8 is "this network"; Linux connects 0.0.0.0 to itself
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast or _is_broadcast(ip)


def literal(domain: str) -> IPAddress | Unroutable | None:
    """The address of an address literal (RFC 5321 4.1.3); None if the domain is not a literal."""
    if not domain.startswith("["):
        return None
    text = domain[1:-1] if domain.endswith("]") else ""
    try:
        if text[:5].lower() == "ipv6:":
            # A zone (fe80::1%eth0) is not part of the grammar, and would name a local interface.
            return ipaddress.IPv6Address("" if "%" in text else text[5:])
        return ipaddress.IPv4Address(text)
    except ValueError:
        return Unroutable(True, "5.1.3", f"{domain[:255]} is not an IPv4 or IPv6 address literal")


def _is_broadcast(ip: IPAddress) -> bool:
    return str(ip) == "255.255.255.255"


def _addresses(found: Lookup[str]) -> list[IPAddress]:
    return [ipaddress.ip_address(text) for text in found.records] if isinstance(found, Answer) else []

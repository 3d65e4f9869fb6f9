"""`relay_acl_allow`: who may relay without AUTH, and which of its lines together would admit the Internet.

Used by `load`; `mailboat.haraka` uses `surplus` only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator

from mailboat.config.fault import Report
from mailboat.config.files import ConfigFiles
from mailboat.config.hosts import network
from mailboat.config.settings import DEFAULT_RELAY_ACL, Network

RELAY_ACL = "relay_acl_allow"

_WIDE = {4: 8, 6: 16}
"""Prefix lengths below which a relay permission covers a large part of the Internet."""
_OPEN = 0.75
"""Share of the public addresses of an IP version at which a list counts as admitting the Internet. Not 1: a list of
all but one network makes an open relay, too. Lists of a user's own networks are far below."""
_LINES_SHOWN = 8

_ALLOCATED = [
    ipaddress.ip_network(block)
    # IPv6: IANA's "Global Unicast Address Assignments" to the registries, and 6to4. The rest of 2000::/3 is unused.
    for block in (
        *("0.0.0.0/0", "2001::/16", "2002::/16", "2003::/18", "2400::/11", "2600::/12", "2610::/23", "2620::/23"),
        *("2630::/12", "2800::/12", "2a00::/11", "2c00::/12"),
    )
]
_SPECIAL = [
    ipaddress.ip_network(block)
    # Within those: what is not globally reachable by IANA's special-purpose registries (RFC 6890), multicast, class E.
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/3", "2001::/23", "2001:db8::/32"),
    )
]


def read_relay_acl(files: ConfigFiles, report: Report) -> tuple[Network, ...]:
    """The networks that may relay, without surplus lines, which the report records as tolerated."""
    lines = files.lines(RELAY_ACL)
    if lines is None:
        return DEFAULT_RELAY_ACL
    acl: dict[Network, int] = {}
    for number, line in lines:
        try:
            acl.setdefault(network(line), number)
        except ValueError as error:
            report.fault(RELAY_ACL, str(error), number)
    everybody = list(_everybody(acl))
    for version in everybody:
        report.fault(RELAY_ACL, f"allows every IPv{version} address: that is an open relay")
    left_out = frozenset[Network]() if everybody else surplus(acl)
    _tell(acl, left_out, report)
    return tuple(allowed for allowed in acl if allowed not in left_out)


def surplus(acl: Collection[Network]) -> frozenset[Network]:
    """The networks to ignore of a list that admits the Internet, by IP version; empty if it does not.

    Those wider than /8 (IPv6: /16) with public addresses, or all with public addresses if the others would admit it,
    too.
    """
    found: set[Network] = set()
    for version, wide in _WIDE.items():
        own = [n for n in acl if n.version == version]
        if _share(own, version) < _OPEN:
            continue
        public = [n for n in own if _public([n])]
        narrow = [n for n in public if n.prefixlen >= wide]
        found.update(n for n in public if n.prefixlen < wide)
        if _share(narrow, version) >= _OPEN:
            found.update(narrow)
    return frozenset(found)


def _tell(acl: dict[Network, int], left_out: Collection[Network], report: Report) -> None:
    for version in _WIDE:
        lines = [str(line) for n, line in acl.items() if n in left_out and n.version == version]
        if lines:
            more = ", …" if len(lines) > _LINES_SHOWN else ""
            share = _share([n for n in acl if n.version == version], version)
            report.tolerate(
                RELAY_ACL,
                f"admits {share:.0%} of the public IPv{version} addresses: that is an open relay; a start leaves out "
                f"line {', '.join(lines[:_LINES_SHOWN])}{more}, a reload is refused",
            )
    for allowed, line in acl.items():
        wide = 0 < allowed.prefixlen < _WIDE[allowed.version] and _public([allowed])
        if wide and allowed not in left_out:
            report.warn(RELAY_ACL, f"{allowed} lets a large part of the Internet relay", line)


def _everybody(acl: Collection[Network]) -> Iterator[int]:
    """The IP versions of which all addresses are allowed, also by several networks: 0.0.0.0/1 and 128.0.0.0/1."""
    for version, bits in ((4, 32), (6, 128)):
        own = [n for n in acl if n.version == version]
        if _size(own) >= 2**bits and any(n.prefixlen == 0 for n in _disjoint(own, version)):
            yield version


def _size(networks: Iterable[Network]) -> int:
    """Number of addresses, with duplicates: a quick test that is enough for long lists of small networks."""
    return sum(n.num_addresses for n in networks)


def _disjoint(networks: Iterable[Network], version: int) -> list[Network]:
    if version == 4:
        return list(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network)))
    return list(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network)))


def _share(networks: Collection[Network], version: int) -> float:
    """The share of a version's public addresses in these networks; 0 if it is certainly below `_OPEN`."""
    if _size(networks) < _OPEN * _TOTAL[version]:
        return 0.0
    return _public(_disjoint(networks, version)) / _TOTAL[version]


def _public(disjoint: Collection[Network]) -> int:
    """Number of public addresses in networks that do not overlap."""
    return _common(disjoint, _ALLOCATED) - _common(disjoint, _SPECIAL)


def _common(some: Iterable[Network], others: Collection[Network]) -> int:
    # Of two networks that overlap, the smaller one is within the other.
    return sum(min(a.num_addresses, b.num_addresses) for a in some for b in others if a.overlaps(b))


_TOTAL = {4: _public([ipaddress.ip_network("0.0.0.0/0")]), 6: _public([ipaddress.ip_network("::/0")])}

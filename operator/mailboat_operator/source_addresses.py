"""From which addresses, and by which names, the relays of OutboundConfigs deliver, as far as is known. Pure; for SPF.

An address is known if the resource has relays bind it, unless it is one that other hosts cannot see. Nothing is
guessed: behind NAT, the address that they see is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from mailboat.config.nouns import Bind, BindKind, IPAddress
from mailboat.config.values import bind
from mailboat_operator.observed import ObjectKey
from mailboat_operator.spec import RouteSpec, parse
from mailboat_operator.spf.check_host import SpfHost

_TRANSLATED: Final = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",  # RFC 1918, as the next two
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",  # RFC 6598
            "127.0.0.0/8",
            "169.254.0.0/16",  # RFC 3927
            "::1/128",
            "fc00::/7",  # RFC 4193
            "fe80::/10",  # RFC 4291 2.5.6
        ),
    )
)
"""Networks whose addresses no host on the Internet sees."""


@dataclass(frozen=True, slots=True)
class SourceAddresses:
    """What is known."""

    known: tuple[IPAddress, ...] = ()
    unknown: str = ""
    """Why these are not all; empty: they are."""
    hosts: tuple[SpfHost, ...] = ()
    """The EHLO names that the resources have given to these addresses; a pod without one says its own `me`."""


class SourceAddressCache:
    """Remembers what each OutboundConfig says until it changes: a thousand domains may ask for the same one."""

    def __init__(self) -> None:
        self._relays: dict[ObjectKey, _Relay] = {}

    def addresses(self, domain: str, relays: Mapping[ObjectKey, Mapping[str, Any] | None]) -> SourceAddresses:
        """Where mail of a domain comes from, which relays of these OutboundConfigs deliver; None: there is none."""
        known: dict[IPAddress, None] = {}
        hosts: dict[SpfHost, None] = {}
        unknown = ""
        for key, resource in relays.items():
            for found in _of_domain(domain, self._relay(key, resource)):
                if isinstance(found, str):
                    unknown = unknown or f"OutboundConfig {key.name}: {found}"
                else:
                    known[found.address] = None
                    hosts |= {found: None} if found.name else {}
        return SourceAddresses(tuple(known), unknown or ("" if known else "no pod has a source address"), tuple(hosts))

    def _relay(self, key: ObjectKey, resource: Mapping[str, Any] | None) -> _Relay:
        relay = self._relays.get(key)
        if relay is None or relay.resource is not resource:
            self._relays[key] = relay = _Relay(resource, *_read(resource))
        return relay


@dataclass(frozen=True, slots=True)
class _Relay:
    """One OutboundConfig."""

    resource: Mapping[str, Any] | None
    sources: tuple[SpfHost | str, ...]
    """Addresses with the EHLO name, if one is given, and texts that say why there may be others."""
    routes: tuple[RouteSpec, ...]


def _read(resource: Mapping[str, Any] | None) -> tuple[tuple[SpfHost | str, ...], tuple[RouteSpec, ...]]:
    if resource is None:
        return ("it does not exist",), ()
    spec, _ = parse(resource)
    if spec is None:
        return ("its spec is not valid",), ()
    entries = [bind(text) for _, text in spec.binds] or [Bind()]
    found = ((entry.ehlo, _seen(source)) for entry in entries for source in _bound(entry, resource))
    return tuple(seen if isinstance(seen, str) else SpfHost(ehlo, seen) for ehlo, seen in found), spec.routes


def _of_domain(domain: str, relay: _Relay) -> Iterable[SpfHost | str]:
    route = _route_of_all(domain, relay.routes)
    return [f"mail leaves through the smart host of its route {route}"] if route else relay.sources


def _route_of_all(domain: str, routes: Iterable[RouteSpec]) -> str:
    """The route that takes all mail of the domain; empty: none does."""
    for route in routes:
        domains, senders = route.listed("domains"), route.listed("senders")
        if (not domains or "*" in domains) and (not senders or domain in senders):
            return route.name
    return ""


def _bound(entry: Bind, resource: Mapping[str, Any]) -> Iterator[IPAddress | str]:
    """What one entry of `[bind]` has pods bind."""
    if entry.kind is BindKind.POD_IP:
        pods = ((resource.get("status") or {}).get("relays") or {}).get("pods") or ()
        addresses = [ip_address(pod["address"]) for pod in pods if pod.get("address")]
        yield from addresses
        if not addresses:
            yield "none of its pods has an address yet"
    elif entry.kind is BindKind.ADDRESSES:
        sources = [source for source in (entry.v4, entry.v6) if source is not None]
        yield from map(_single, sources)
        if not sources:
            yield "the kernel chooses the source address (egress.mode Auto)"


def _single(source: IPAddress | IPv4Network | IPv6Network) -> IPAddress | str:
    if not isinstance(source, IPv4Network | IPv6Network):
        return source
    return source[0] if source.num_addresses == 1 else f"its pods have addresses in {source}, which are not known"


def _seen(source: IPAddress | str) -> IPAddress | str:
    if isinstance(source, str) or not any(source in network for network in _TRANSLATED):
        return source
    return f"{source} is a private address, in place of which other hosts see another one"

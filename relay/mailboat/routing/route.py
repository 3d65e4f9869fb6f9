"""Smart hosts: which `[route:NAME]` takes a domain, and the hops that it hands mail to.

Pure. Names are looked up by `finder`, as addresses and never as MX. A plugin that answers `get_mx` gives hops too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mailboat.config.settings import Protocol, Route, TlsLevel
from mailboat.routing.answers import Credentials

_IMPLICIT_TLS_PORT = 465  # RFC 8314 7.3
_LMTP_PORT = 24  # RFC 2033 5 forbids 25 and names no other; 24 is the usual one


@dataclass(frozen=True, slots=True)
class Hop:
    """A host that mail is handed to without asking for MX."""

    host: str
    """A name, or an address without brackets; unused with `path`."""
    port: int
    path: str = ""
    """Unix socket."""
    protocol: Protocol = Protocol.SMTP
    priority: int = 0
    """Lower is tried first."""
    tls: TlsLevel = TlsLevel.OPPORTUNISTIC
    credentials: Credentials | None = None
    bind: str = ""
    """Source address; empty: the pod's."""
    ehlo: str = ""
    """EHLO name; empty: the pod's."""
    local_ok: bool = True
    """May lead to this host. Smart hosts may: the operator wrote them."""
    name: str = ""
    """The name behind an address in `host`: for people, SNI and certificate checks; empty: `host`."""


class RouteTable:
    """The `[route:NAME]` sections, ready to be asked."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """The first of two routes for one domain wins; the loader refuses such a configuration anyway."""
        self._exact: dict[str, Route] = {}
        self._below: dict[str, Route] = {}
        self._all: Route | None = None
        for route in routes:
            for pattern in route.domains:
                self._add(pattern.lower(), route)

    def find(self, domain: str) -> Route | None:
        """The route of a domain: its exact name, else the longest `.suffix` of it, else `*`; None: by MX."""
        route = self._exact.get(domain)
        if route is None and self._below:
            dot = domain.find(".")
            while route is None and dot >= 0:
                route = self._below.get(domain[dot:])
                dot = domain.find(".", dot + 1)
        return self._all if route is None else route

    def _add(self, pattern: str, route: Route) -> None:
        if pattern == "*":
            self._all = self._all or route
        elif pattern.startswith("."):
            self._below.setdefault(pattern, route)
        else:
            self._exact.setdefault(pattern, route)


def hops(route: Route, mx_port: int) -> tuple[Hop, ...]:
    """The hops of a route, in the order of the file."""
    credentials = None
    if route.user:
        credentials = Credentials(route.user, route.auth_pass, route.auth_type, route.require_auth)
    default_port = _default_port(route, mx_port)
    found = []
    for smart_host in route.hosts:
        is_socket = smart_host.host.startswith("/")
        hop = Hop(
            host=smart_host.host,
            port=0 if is_socket else smart_host.port or default_port,
            path=smart_host.host if is_socket else "",
            protocol=route.protocol,
            priority=smart_host.priority,
            tls=route.tls,
            credentials=credentials,
        )
        found.append(hop)
    return tuple(found)


def _default_port(route: Route, mx_port: int) -> int:
    if route.protocol is Protocol.LMTP:
        return _LMTP_PORT
    return _IMPLICIT_TLS_PORT if route.tls is TlsLevel.IMPLICIT else mx_port

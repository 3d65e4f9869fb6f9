"""Smart hosts: which `[route:NAME]` matches mail, and its next hops.

Pure. Names are looked up by `finder`, as addresses and never as MX. A plugin at `get_mx` also returns hops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mailboat.config.settings import Protocol, Route, TlsLevel
from mailboat.model.address import NULL_SENDER, Address, domain_patterns
from mailboat.routing.answers import Credentials
from mailboat.routing.shaped import NOTHING_SAID, Shaped

_IMPLICIT_TLS_PORT = 465  # RFC 8314 7.3
REMEMBERED = 4_096
"""Maximum of domains whose routes are cached; about 200 bytes each."""
_LMTP_PORT = 24  # RFC 2033 5 forbids 25 and names no other; 24 is the usual one


@dataclass(frozen=True, slots=True)
class Hop:
    """A next hop that is used without a look-up of MX."""

    host: str
    """A name (a final dot keeps it from the search list), or an address without brackets; unused with `path`."""
    port: int
    path: str = ""
    """Unix socket."""
    protocol: Protocol = Protocol.SMTP
    priority: int = 0
    """Lower is tried first."""
    tls: TlsLevel = TlsLevel.OPPORTUNISTIC
    credentials: Credentials | None = None
    auth_without_tls: bool = False
    """The credentials may be sent without verified TLS."""
    ca: str = ""
    """Root certificates that verify it, in PEM; empty: those of tls.ini."""
    bind: str = ""
    """Source address; empty: the pod's."""
    ehlo: str = ""
    """EHLO name; empty: the pod's."""
    local_ok: bool = True
    """May be this host. Smart hosts may, because they are configured."""
    by_system: bool = True
    """Its name is looked up as the system does, with /etc/hosts and the search list; False: in the DNS as it stands."""
    by_mx: bool = False
    """Found by the MX records of the recipients' domain, or that domain itself."""
    secure: bool = True
    """Found securely: configured, chosen by a plugin, or by an authenticated MX answer."""
    route: Route | None = None
    """The `[route]` that it comes from; None: by MX or a plugin."""
    shaped: Shaped = NOTHING_SAID
    """What shaping.ini and `[main]` say of its targets; set by `finder`."""
    name: str = ""
    """The name behind an address in `host`: for people, SNI and certificate checks; empty: `host`."""

    @property
    def name_of_host(self) -> str:
        """`host` without a final dot, as in certificates and for people."""
        return self.host.removesuffix(".")


class RouteTable:
    """The `[route:NAME]` sections, prepared for matching."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Of two routes for one domain the first counts; the loader refuses such a configuration."""
        routes = tuple(routes)
        self.named = {route.name: route for route in routes}
        self._by_domain: dict[str, dict[str, Route]] = {}
        """Domain pattern -> sender pattern -> route; routes without `senders` stand under "*"."""
        self._of_domain = lru_cache(maxsize=REMEMBERED)(self._look_up)
        for route in routes:
            for pattern in route.domains:
                by_sender = self._by_domain.setdefault(pattern.lower(), {})
                for sender in route.senders or ("*",):
                    by_sender.setdefault(sender, route)

    def find(self, domain: str, sender: Address = NULL_SENDER) -> Route | None:
        """The route of mail from a sender to a domain; None: by MX.

        The domain is matched first: its exact name, then its longest `.suffix`, then `*`. Among equal routes, the
        sender's address comes first, then its domain and `.suffix`, then routes for all senders.
        """
        if not self._by_domain:
            return None
        for by_sender in self._of_domain(domain):
            if (route := _of_sender(by_sender, sender)) is not None:
                return route
        return None

    def _look_up(self, domain: str) -> Sequence[Mapping[str, Route]]:
        """The routes by sender of each pattern that fits a domain, the most specific first."""
        return [self._by_domain[pattern] for pattern in _patterns(domain) if pattern in self._by_domain]


def _of_sender(by_sender: Mapping[str, Route], sender: Address) -> Route | None:
    if len(by_sender) == 1 and "*" in by_sender:
        return by_sender["*"]
    mailbox = f"{sender.local.lower()}@{sender.ascii_domain}" if sender.domain else "<>"
    route = by_sender.get(mailbox)
    patterns = _patterns(sender.ascii_domain) if sender.domain else ("*",)
    return route or next((found for pattern in patterns if (found := by_sender.get(pattern)) is not None), None)


def _patterns(domain: str) -> Iterator[str]:
    """The patterns of `domains=` that match a domain, the most specific first."""
    yield from domain_patterns(domain)
    yield "*"


def hops(route: Route, mx_port: int) -> tuple[Hop, ...]:
    """The hops of a route, in the order of the file."""
    credentials = None
    if route.user:
        grant = route.grant
        required = route.require_auth or grant is not None
        credentials = Credentials(route.user, route.auth_pass, route.auth_type, required, grant)
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
            route=route,
            auth_without_tls=route.auth_without_tls,
            ca=route.ca_pem,
        )
        found.append(hop)
    return tuple(found)


def _default_port(route: Route, mx_port: int) -> int:
    if route.protocol is Protocol.LMTP:
        return _LMTP_PORT
    return _IMPLICIT_TLS_PORT if route.tls is TlsLevel.IMPLICIT else mx_port

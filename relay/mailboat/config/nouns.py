"""The types of settings' values: endpoints, source addresses, next hops and enumerations.

They know nothing of files or keys: `values` makes them from text, and `settings` re-exports them for all other
packages.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

CPUS = -1
"""`nodes=cpus`: one worker a CPU that this process may use, counted where the workers are started."""


class BareNewline(StrEnum):
    """Handling of a CR or LF alone in DATA."""

    REFUSE = "refuse"
    NORMALIZE = "normalize"


class Signing(StrEnum):
    """Whether the keys of a domain sign its mail."""

    ON = "on"
    OFF = "off"
    """Its mail goes out as if it had no keys."""
    HOLD = "hold"
    """Its mail is refused until they may sign again."""


class Nul(StrEnum):
    """Handling of NUL octets in DATA."""

    PASS = "pass"  # noqa: S105 - no password
    STRIP = "strip"
    REFUSE = "refuse"


class InetPrefer(StrEnum):
    """Which address families a delivery uses, and which first."""

    V4 = "v4"
    V6 = "v6"
    BOTH = "both"
    V4_ONLY = "v4-only"
    V6_ONLY = "v6-only"

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions to use, the first to try first."""
        return _VERSIONS[self]


_VERSIONS = {
    InetPrefer.V4: (4, 6),
    InetPrefer.V6: (6, 4),
    InetPrefer.BOTH: (6, 4),
    InetPrefer.V4_ONLY: (4,),
    InetPrefer.V6_ONLY: (6,),
}


class TlsLevel(StrEnum):
    """TLS requirement of a delivery, weakest first."""

    DISABLED = "disabled"
    OPPORTUNISTIC = "opportunistic"
    ENCRYPT = "encrypt"
    """STARTTLS must succeed, with any certificate (RFC 7672 2.2). Only for `routing`: no setting asks for it."""
    REQUIRED = "required"
    IMPLICIT = "implicit"


ROUTE_TLS_LEVELS = tuple(level for level in TlsLevel if level is not TlsLevel.ENCRYPT)
"""Those that a route or a plugin may ask for."""


class RequireTls(StrEnum):
    """What REQUIRETLS at MAIL leads to (RFC 8689)."""

    ENFORCE = "enforce"
    STARTTLS = "starttls"
    """TLS is demanded, a certificate only as configured, and REQUIRETLS is passed on to hosts that offer it."""
    OFF = "off"
    """It is not offered to clients."""


class Protocol(StrEnum):
    """Protocol of a next hop."""

    SMTP = "smtp"
    LMTP = "lmtp"


class BindKind(StrEnum):
    """Kind of source of a `[bind]` entry."""

    ADDRESSES = "addresses"
    """The listed addresses; without any, the system's choice."""
    POD_IP = "pod-ip"
    """The addresses of the pod, which Kubernetes tells in `POD_IPS` or `POD_IP`."""
    NONE = "none"
    """None: deliveries wait. For pods that are missing in a list."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address to listen on or connect to, or a unix socket when `path` is set."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or _with_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Bind:
    """One `[bind]` entry: the source addresses and EHLO name of one pod."""

    v4: IPAddress | Network | None = None
    """An address, or a network: this host's own address within it."""
    v6: IPAddress | Network | None = None
    ehlo: str = ""
    """EHLO name; empty: `me`."""
    kind: BindKind = BindKind.ADDRESSES
    """For other kinds there are no addresses."""

    def __str__(self) -> str:
        addresses = ", ".join(str(source) for source in (self.v4, self.v6) if source is not None)
        source = addresses if self.kind is BindKind.ADDRESSES else self.kind.value
        return " ".join(part for part in (source, self.ehlo) if part)


@dataclass(frozen=True, slots=True)
class HopUrl:
    """A next hop as a URL, such as `lmtp://user:password@host:port`, in its parts."""

    scheme: str
    """`smtp`, `smtps` (TLS from the first octet) or `lmtp`."""
    where: str
    """`host[:port]`, not parsed yet."""
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OAuthGrant:
    """A grant for access tokens (RFC 6749): the client credentials, or a refresh token."""

    token_url: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    """Empty for a public client, which has a refresh token only."""
    refresh_token: str = field(default="", repr=False)
    """Empty: the grant is the client credentials (RFC 6749 4.4)."""
    scope: str = ""
    ca: str = field(default="", repr=False)
    """Root certificates that verify the server, in PEM; empty: those of the system."""


@dataclass(frozen=True, slots=True)
class RouteHost:
    """One smart host of a route."""

    host: str
    """A name (with a final dot: whole), an address without brackets, or a unix socket's path (starts with `/`)."""
    port: int = 0
    """0: the protocol's own (`mx_port` for SMTP, 24 for LMTP, 465 for implicit TLS)."""
    priority: int = 0
    """Lower is tried first, as with MX."""

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine: a unix socket, or a loopback address."""
        return self.host.startswith("/") or _is_loopback(self.host)

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return self.host
        host = _with_port(self.host, self.port) if self.port else self.host
        return f"{host}/{self.priority}" if self.priority else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""The results of routing: targets in the order to try them, or why there are none. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from mailboat.config.settings import OAuthGrant, OutboundSettings, Protocol, TlsLevel
from mailboat.model.tls import PolicySource, TlsDemand, VerifiedBy
from mailboat.routing.records import TlsaRecord
from mailboat.shaping.effective import NOTHING_KNOWN, Facts
from mailboat.shaping.limits import WindowRange
from mailboat.tlsrpt.results import ResultType, TlsReporting


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials for AUTH with a next hop."""

    user: str
    password: str = ""
    mechanism: str = ""
    """`PLAIN`, `LOGIN`, `CRAM-MD5`, `XOAUTH2` or `OAUTHBEARER`; empty: the strongest for a password that is offered."""
    required: bool = False
    """Defer rather than deliver without AUTH."""
    grant: OAuthGrant | None = None
    """The grant for an access token, which is sent instead of a password."""
    token: str = field(default="", compare=False)
    """The token, set by `delivery.attempt`; not compared, because a connection opened with an older one can be
    reused."""

    def __repr__(self) -> str:
        return f"Credentials({self.user!r})"


_VERIFIED_LEVELS = frozenset({TlsLevel.REQUIRED, TlsLevel.IMPLICIT})


@dataclass(frozen=True, slots=True)
class TlsRequirement:
    """How much TLS a target must have, and why: the policy for one (domain, host). Made by `security` only."""

    level: TlsLevel = TlsLevel.OPPORTUNISTIC
    verify: bool = False
    """The certificate must be valid for the host's name; with `tlsa`, it must match those instead."""
    reason: str = ""
    """What demands it, for people."""
    ca: str = ""
    """Root certificates that verify it, in PEM; empty: those of tls.ini."""
    refusal: str = ""
    """Why no mail may be sent to the target; empty: it may."""
    policy: PolicySource = PolicySource.NONE
    """Who decided it."""
    tlsa: tuple[TlsaRecord, ...] = ()
    """Usable TLSA records, one of which the certificate must match (RFC 7672 3); empty without DANE."""
    servername: str = ""
    """The name for SNI, with `tlsa` the TLSA base domain (RFC 7672 8.1); empty: the host's."""
    requiretls: bool = False
    """The host must offer REQUIRETLS (RFC 8689 4.2.1)."""
    names: tuple[str, ...] = ()
    """With `tlsa` of usage 2: the names that the certificate may be for (RFC 7672 3.2.2)."""

    dane_failure: ResultType | None = None
    """With `refusal`: why the DANE that the settings demand is not to be had, in the words of RFC 8460."""
    reporting: TlsReporting | None = field(default=None, compare=False)
    """What to report of connections to the target (RFC 8460); None: nothing."""

    @property
    def verifies(self) -> bool:
        """Whether the certificate must be valid for the host's name by PKIX, should TLS be used."""
        return not self.tlsa and (self.verify or self.level in _VERIFIED_LEVELS)

    @property
    def demand(self) -> TlsDemand:
        """What a connection must have."""
        if self.refusal:
            return TlsDemand.VERIFY
        if self.level in (TlsLevel.DISABLED, TlsLevel.OPPORTUNISTIC):
            return TlsDemand.CLEAR
        return TlsDemand.VERIFY if self.tlsa or self.verifies else TlsDemand.ENCRYPT

    def with_roots(self, ca: str) -> TlsRequirement:
        """The same, verified with these root certificates if there are any."""
        return replace(self, ca=ca) if ca else self


@dataclass(frozen=True, slots=True)
class SessionTls:
    """The TLS of one connection after the handshake, or no TLS."""

    version: str = ""
    """`TLSv1.3` and the like; empty without TLS."""
    cipher: str = ""
    verified_by: VerifiedBy = VerifiedBy.NONE
    """How the certificate was verified."""
    mismatch: str = ""
    """Why the certificate matches none of the TLSA records, for people."""


Spot: TypeAlias = tuple[str, int]
"""What a connection leads to: a numeric address or the path of a unix socket, and the port."""


@dataclass(frozen=True, slots=True)
class Site:
    """The destination of mail, which several domains may share: a set of MX hosts, or a route."""

    key: str
    """The host names in alphabetical order joined by `,`, or `route:NAME`."""
    tiers: tuple[tuple[Spot, ...], ...]
    """Addresses by preference, the most preferred first."""
    facts: Facts = NOTHING_KNOWN
    """What the limits of its mail are chosen by."""
    window: WindowRange | None = None
    """Concurrent attempts; None: as the relay learns."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address to try."""

    host: str
    """Name for people, SNI and certificate checks: the MX name, the smart host, or the literal."""
    ip: str
    """Numeric address; empty for a unix socket."""
    port: int
    path: str = ""
    """Unix socket."""
    protocol: Protocol = Protocol.SMTP
    priority: int = 0
    tls: TlsRequirement = TlsRequirement()
    credentials: Credentials | None = None
    bind: str = ""
    """Source address that a plugin chose; empty: the pod's `[bind]` entry."""
    ehlo: str = ""
    """EHLO name that a plugin chose; empty: the pod's."""
    max_messages: int | None = None
    """Messages of one connection; None: as in `[main]` of outbound.ini."""
    max_recipients: int | None = None
    """Recipients of one transaction; None: as many as the host takes."""
    idle_timeout: float | None = None
    """Seconds that an idle connection is kept; None: as in `[main]` of outbound.ini."""
    timeouts: tuple[tuple[str, float], ...] = ()
    """Keys of `[main]` of outbound.ini that have another value for it, in seconds."""

    def timed(self, outbound: OutboundSettings) -> OutboundSettings:
        """The settings with its own timeouts."""
        return replace(outbound, **dict(self.timeouts)) if self.timeouts else outbound  # type: ignore[arg-type]

    @property
    def spot(self) -> Spot:
        """The endpoint of a connection to it."""
        return self.path or self.ip, self.port


@dataclass(frozen=True, slots=True)
class Targets:
    """Addresses in the order to try them; never empty."""

    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Unroutable:
    """No targets for this domain now (`permanent` False: defer) or permanently (bounce)."""

    permanent: bool
    status: str
    """Enhanced status, such as 5.1.10 for a null MX (RFC 7505) or 4.4.3 for a DNS failure."""
    reason: str


@dataclass(frozen=True, slots=True)
class Located:
    """The site of mail, by which it shares limits with other mail, or why it has none."""

    where: Site | Unroutable
    expires: float
    """Monotonic time until which this is valid."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """A look-up failed recently and is not repeated yet."""

    until: float
    """Monotonic time."""
    why: Unroutable


RoutingAnswer = Targets | Unroutable

"""What a TLS requirement is found for (`Subject`), and by which settings (`TlsPolicy`).

Pure. Made by `finder`, judged by the checks of `security`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailboat.config.settings import IPAddress, Network, OutboundTlsSettings, RequireTls, TlsLevel
from mailboat.model.sts import StsAnswer
from mailboat.model.tls import NOTHING_ASKED, MessageTls
from mailboat.routing.records import Families, Lookup, MxRecord, TlsaRecord, is_hostname
from mailboat.routing.shaped import NOTHING_SAID, Shaped


class HostList:
    """A setting such as `force_tls_hosts`: domains and host names, compared without case, addresses and networks."""

    __slots__ = ("_names", "_networks")

    def __init__(self, entries: Iterable[str]) -> None:
        networks = [(entry, _network(entry)) for entry in entries]
        self._networks = tuple(network for _, network in networks if network is not None)
        self._names = frozenset(_name(entry) for entry, network in networks if network is None)

    def names(self, domain: str) -> bool:
        """Whether an entry is this domain or host name."""
        return bool(self._names) and _name(domain) in self._names

    def matches(self, subject: Subject) -> bool:
        """Whether an entry names the recipient domain, the host, or its address."""
        if self.names(subject.domain) or self.names(subject.host):
            return True
        ip = subject.ip
        if ip is None or not self._networks:
            return False
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return any(address in network for network in self._networks for address in (ip, mapped) if address)


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What the settings say of TLS for deliveries, ready to be matched."""

    enabled: bool = True
    verify: bool = False
    """`rejectUnauthorized`: a certificate that does not verify is refused."""
    dane: bool = False
    """TLSA records of MX hosts decide."""
    force: HostList = field(default_factory=lambda: HostList(()))
    never: HostList = field(default_factory=lambda: HostList(()))
    requiretls: RequireTls = RequireTls.ENFORCE
    tls_required_header: bool = True
    """`TLS-Required: No` in the header of a message is obeyed."""
    reports: bool = False
    """The results of connections are reported to the recipients' domains."""
    force_dane: HostList = field(default_factory=lambda: HostList(()))
    """Hosts that must have TLSA records, and match one."""

    @classmethod
    def of(cls, enable_tls: bool, tls: OutboundTlsSettings) -> TlsPolicy:
        """The policy of `enable_tls` and of the `[outbound]` side of `tls.ini`."""
        force, never = HostList(tls.force_tls_hosts), HostList(tls.no_tls_hosts)
        return cls(
            enable_tls,
            tls.reject_unauthorized,
            tls.dane,
            force,
            never,
            tls.requiretls,
            tls.tls_required_header,
            force_dane=HostList(tls.force_dane_hosts),
        )

    def names(self, domain: str) -> bool:
        """Whether the settings name the domain of recipients: its mail may need another level at the same host."""
        return self.force.names(domain) or self.never.names(domain) or self.force_dane.names(domain)


class Lookups(Protocol):
    """The look-ups that a check may wait for. Names are lower case, A-labels, without the final dot.

    A look-up raises nothing, and ends within `resolver.Patience.total`: with a `LookupFailure` where nobody could say.
    A check that has to know then refuses the target. What the resolver remembers costs no wait.
    """

    async def mx(self, name: str) -> Lookup[MxRecord]:
        """The MX records of a name."""

    async def families(self, name: str, versions: Sequence[int]) -> Families:
        """The addresses of a name, of these IP versions."""

    async def texts(self, name: str) -> Lookup[str]:
        """The TXT records of a name, the strings of each joined."""

    async def sts(self, domain: str) -> StsAnswer | None:
        """What MTA-STS says of a recipients' domain; None if it is off."""

    async def tlsa(self, name: str) -> Lookup[TlsaRecord]:
        """The TLSA records of a name."""

    async def cname(self, name: str) -> Lookup[str]:
        """The name that a name is itself an alias of."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One target that a requirement is wanted for."""

    domain: str
    """The recipients' domain; empty where a route takes them and the settings do not name it."""
    host: str
    """MX or smart host name."""
    ip: IPAddress | None = None
    """None for a unix socket."""
    route: str = ""
    """The `[route]` that chose the host; empty for MX."""
    wanted: TlsLevel = TlsLevel.OPPORTUNISTIC
    """What that route asks for."""
    asked: MessageTls = NOTHING_ASKED
    """What the message asks for."""
    has_secret: bool = False
    """The host is given credentials that nobody else may read."""
    port: int = 25
    """The port that is connected to."""
    versions: Sequence[int] = (6, 4)
    """IP versions whose addresses are in use."""
    dane: bool = False
    """The settings allow TLSA records to decide."""
    sts: bool = False
    """The route of the host has MTA-STS policies obeyed."""
    by_mx: bool = False
    """The host was found by the domain's MX records, or is the domain itself because it has none (RFC 5321 5.1)."""
    mx_secure: bool = False
    """The host was found securely: the MX answer is authenticated, or the host is configured or chosen by a plugin."""
    shaped: Shaped = NOTHING_SAID
    """What shaping.ini says of it."""
    lookups: Lookups = field(kw_only=True, repr=False)
    """For what a check has to know besides."""

    @property
    def sts_domain(self) -> str:
        """The domain whose MTA-STS policy counts: that of the recipients, or the name of a smart host (RFC 8461 3.4);
        empty: none."""
        if self.by_mx:
            return self.domain
        host = self.host.lower()
        return host if self.sts and is_hostname(host) else ""


def _name(text: str) -> str:
    return text.lower().removesuffix(".")


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None

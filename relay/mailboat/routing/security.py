"""TLS policy for next hops: an ordered list of checks, each of which may raise the requirement, or refuse.

Pure. `finder` calls `requirement` once for each target, before connecting; `delivery.client` calls `check_session` once
for each connection, before any command but EHLO. What comes later (MTA-STS, DANE, REQUIRETLS) is one more check in
`CHECKS`, in `SESSION_CHECKS`, or in both. What a refusal leads to, `delivery.verdict` says.

A check of `CHECKS` may wait: it is then a coroutine function, and looks up in `Subject.lookups` what it has to know.
Only its own destination waits (`routing.ahead`). Where none waits, `requirement` does not suspend.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from mailboat.config.settings import IPAddress, Network, TlsLevel, TlsSettings
from mailboat.routing.answers import SessionTls, TlsRequirement
from mailboat.routing.records import Families, Lookup, MxRecord, TlsaRecord

_STRENGTH = {level: strength for strength, level in enumerate(TlsLevel)}


class HostList:
    """`force_tls_hosts` or `no_tls_hosts`: domains and host names, compared without case, addresses and networks."""

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
    force: HostList = field(default_factory=lambda: HostList(()))
    never: HostList = field(default_factory=lambda: HostList(()))

    @classmethod
    def of(cls, enable_tls: bool, tls: TlsSettings) -> TlsPolicy:
        """The policy of `enable_tls` and of the `[outbound]` side of `tls.ini`."""
        force, never = HostList(tls.force_tls_hosts), HostList(tls.no_tls_hosts)
        return cls(enable_tls, tls.reject_unauthorized, force, never)

    def names(self, domain: str) -> bool:
        """Whether the settings name the domain of recipients: its mail may need another level at the same host."""
        return self.force.names(domain) or self.never.names(domain)


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
    force_tls: bool = False
    """The message asks for TLS or nothing."""
    has_secret: bool = False
    """The host is given credentials that nobody else may read."""
    lookups: Lookups = field(kw_only=True, repr=False)
    """For what a check has to know besides."""


async def requirement(policy: TlsPolicy, subject: Subject) -> TlsRequirement:
    """The requirement for one target: the base level, raised by each check in turn, or refused by one."""
    standing = _base(policy, subject)
    for check in CHECKS:
        proposed = check(policy, subject, standing)
        if not isinstance(proposed, TlsRequirement):
            proposed = await proposed
        if proposed is not standing:
            standing = _higher(standing, proposed)
    return standing


def _base(policy: TlsPolicy, subject: Subject) -> TlsRequirement:
    """Where the checks start. TLS that nobody asked for can be switched off; TLS that a route asks for cannot."""
    if subject.wanted is not TlsLevel.OPPORTUNISTIC:
        strict = _STRENGTH[subject.wanted] >= _STRENGTH[TlsLevel.REQUIRED]
        return TlsRequirement(subject.wanted, strict, f"route {subject.route}" if subject.route else "a plugin")
    if not policy.enabled:
        return TlsRequirement(TlsLevel.DISABLED, reason="enable_tls is off")
    if policy.never.matches(subject):
        return TlsRequirement(TlsLevel.DISABLED, reason="no_tls_hosts")
    return TlsRequirement()


def _forced_host(policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    if not policy.force.matches(subject):
        return standing
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="force_tls_hosts")


def _forced_message(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    if not subject.force_tls:
        return standing
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="the message's force_tls")


def _reject_unauthorized(policy: TlsPolicy, _subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    if not policy.verify or standing.level is TlsLevel.DISABLED:
        return standing
    return TlsRequirement(standing.level, verify=True, reason="rejectUnauthorized")


def _credentials(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    """A password goes to nobody but the host that it is for. `tls=disabled` is the way to say otherwise on purpose."""
    if not subject.has_secret or subject.wanted is TlsLevel.DISABLED or _stays_here(subject.ip):
        return standing
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="auth_user without auth_without_tls")


def _nameless(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    """Whatever certificate a unix socket shows, there is no name that it has to be for."""
    if subject.ip is not None or _STRENGTH[standing.level] < _STRENGTH[TlsLevel.REQUIRED]:
        return standing
    return replace(standing, refusal=f"TLS is required ({standing.reason}), but a unix socket has no name to verify")


def _stays_here(ip: IPAddress | None) -> bool:
    """Whether what is sent there leaves no machine: a unix socket, or loopback."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip is None or (mapped or ip).is_loopback


Check: TypeAlias = Callable[[TlsPolicy, Subject, TlsRequirement], TlsRequirement | Awaitable[TlsRequirement]]

CHECKS: tuple[Check, ...] = (_forced_host, _forced_message, _credentials, _reject_unauthorized, _nameless)
"""Run in this order, each on what the ones before left standing. Whatever a check answers, nothing is lowered.

One that refuses the target answers with `refusal`. `_nameless` is the last: it judges what the others leave standing.
"""


def _higher(standing: TlsRequirement, proposed: TlsRequirement) -> TlsRequirement:
    """The stronger of both in each respect; the reason is that of the last which raised anything.

    The first refusal stands.
    """
    if standing.refusal or proposed.refusal:
        return replace(standing, refusal=standing.refusal or proposed.refusal)
    level = max(standing.level, proposed.level, key=_STRENGTH.__getitem__)
    verify = standing.verify or proposed.verify
    if (level, verify) == (standing.level, standing.verify):
        return standing
    return TlsRequirement(level, verify, proposed.reason)


def check_session(tls: TlsRequirement, session: SessionTls) -> str:
    """Why nothing more may be said on a connection to a target that has this requirement; empty when all may."""
    for check in SESSION_CHECKS:
        if refusal := check(tls, session):
            return refusal
    return ""


def _encrypted(tls: TlsRequirement, session: SessionTls) -> str:
    if session.version or _STRENGTH[tls.level] < _STRENGTH[TlsLevel.REQUIRED]:
        return ""
    why = f" ({tls.reason})" if tls.reason else ""
    return f"TLS is required{why}, but the host does not offer STARTTLS"


def _verified(tls: TlsRequirement, session: SessionTls) -> str:
    if session.verified or not session.version or not tls.verifies:
        return ""
    return "the certificate was not verified"


SessionCheck: TypeAlias = Callable[[TlsRequirement, SessionTls], str]

SESSION_CHECKS: tuple[SessionCheck, ...] = (_encrypted, _verified)
"""Each says why the connection is refused, or nothing. The first refusal counts."""


def _name(text: str) -> str:
    return text.lower().removesuffix(".")


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None

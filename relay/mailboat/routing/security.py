"""TLS policy for next hops: an ordered list of checks, each of which may raise the requirement, or refuse.

Pure. `finder` calls `requirement` once for each target, before connecting; `delivery.client` calls `check_session` once
for each connection, before any command but EHLO. What a refusal leads to, `delivery.verdict` says.

A check of `CHECKS` or `PUBLISHED` may wait: it is then a coroutine function, and looks up in `Subject.lookups` what it
has to know. Only its own destination waits (`routing.ahead`). Where none waits, `requirement` does not suspend.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

from mailboat.config.settings import IPAddress, RequireTls, TlsLevel
from mailboat.model.sts import StsMode
from mailboat.model.tls import PolicySource, VerifiedBy
from mailboat.routing import dane, sts
from mailboat.routing.answers import SessionTls, TlsRequirement
from mailboat.routing.subject import Subject, TlsPolicy
from mailboat.routing.tls_reporting import reporting
from mailboat.tlsrpt.results import ResultType

_STRENGTH = {level: strength for strength, level in enumerate(TlsLevel)}
_REQUIRETLS = "REQUIRETLS"
_BY_TLSA = frozenset({VerifiedBy.DANE_TA, VerifiedBy.DANE_EE})


async def requirement(policy: TlsPolicy, subject: Subject) -> TlsRequirement:
    """The requirement for one target: the base level, raised by each check in turn, or refused by one."""
    standing = _base(policy, subject)
    for check in CHECKS:
        proposed = check(policy, subject, standing)
        if not isinstance(proposed, TlsRequirement):
            proposed = await proposed
        standing = _stricter(standing, proposed)
    # RFC 8460: about what the recipients' domain publishes, so not about hosts that the settings name.
    if policy.reports and subject.by_mx and not _is_lax(policy, subject) and standing.level is not TlsLevel.DISABLED:
        return replace(standing, reporting=await reporting(subject, standing))
    return standing


def _base(policy: TlsPolicy, subject: Subject) -> TlsRequirement:
    """Where the checks start. TLS that nobody asked for can be switched off; TLS that a route asks for cannot."""
    if subject.wanted is not TlsLevel.OPPORTUNISTIC:
        strict = _STRENGTH[subject.wanted] >= _STRENGTH[TlsLevel.REQUIRED]
        reason = f"route {subject.route}" if subject.route else "a plugin"
        return TlsRequirement(subject.wanted, strict, reason, policy=PolicySource.ROUTE)
    if not policy.enabled:
        return TlsRequirement(TlsLevel.DISABLED, reason="enable_tls is off", policy=PolicySource.CONFIG)
    if policy.never.matches(subject):
        return TlsRequirement(TlsLevel.DISABLED, reason="no_tls_hosts", policy=PolicySource.CONFIG)
    if _is_lax(policy, subject):
        return TlsRequirement(reason="TLS-Required: No", policy=PolicySource.MESSAGE)
    return TlsRequirement()


def _is_lax(policy: TlsPolicy, subject: Subject) -> bool:
    """RFC 8689 4.1: where a message says both, `TLS-Required: No` is ignored."""
    asked = subject.asked
    return asked.lax and not asked.requiretls and (policy.tls_required_header or asked.reports)


def _published(
    policy: TlsPolicy, subject: Subject, standing: TlsRequirement
) -> TlsRequirement | Awaitable[TlsRequirement]:
    """The policy that the recipients' domain publishes, unless TLS is switched off and not forced to be by DANE."""
    off = standing.level is TlsLevel.DISABLED or _is_lax(policy, subject)
    if not PUBLISHED or (off and not policy.force_dane.matches(subject)):
        return standing
    return _first_published(policy, subject, standing)


async def _first_published(policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    for check in PUBLISHED:
        proposed = check(policy, subject, standing)
        if not isinstance(proposed, TlsRequirement):
            proposed = await proposed
        if proposed is not standing:
            return proposed
    return standing


async def _mta_sts(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    """RFC 8461 5: a policy in mode enforce demands a host that it lists, and a certificate for the host's name."""
    domain = subject.sts_domain
    answer = await subject.lookups.sts(domain) if domain else None
    if answer is None:
        return standing
    if refusal := sts.refusal(answer, domain, subject.host.lower()):
        return TlsRequirement(refusal=refusal, policy=PolicySource.STS)
    if answer.policy is None or answer.policy.mode is not StsMode.ENFORCE:
        return standing
    reason = f"MTA-STS policy {answer.id} of {domain}"
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason=reason, policy=PolicySource.STS)


def _forced_host(policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    if not policy.force.matches(subject):
        return standing
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="force_tls_hosts", policy=PolicySource.CONFIG)


def _forced_dane(policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    """The records count already, where there are any that do."""
    if standing.tlsa or standing.refusal or not policy.force_dane.matches(subject):
        return standing
    # RFC 8460 4.3: other words for a host that has records, of which none can be used.
    unusable = standing.policy is PolicySource.DANE
    failure = ResultType.TLSA_INVALID if unusable else ResultType.DANE_REQUIRED
    lack = "no TLSA record that can be used" if unusable else "no TLSA records that count"
    refusal = f"DANE is demanded (force_dane_hosts), but {subject.host} has {lack}"
    return TlsRequirement(refusal=refusal, policy=PolicySource.CONFIG, dane_failure=failure)


def _shaped(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    if subject.shaped.tls is not TlsLevel.REQUIRED:
        return standing
    reason = subject.shaped.tls_reason
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason=reason, policy=PolicySource.CONFIG)


def _forced_message(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    if not subject.asked.forced:
        return standing
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="the message's force_tls", policy=PolicySource.MESSAGE)


def _reject_unauthorized(policy: TlsPolicy, _subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    if not policy.verify or standing.level is TlsLevel.DISABLED:
        return standing
    return TlsRequirement(standing.level, verify=True, reason="rejectUnauthorized", policy=PolicySource.CONFIG)


def _credentials(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    """A password goes to nobody but the host that it is for. `tls=disabled` is the way to say otherwise on purpose."""
    if not subject.has_secret or subject.wanted is TlsLevel.DISABLED or _stays_here(subject.ip):
        return standing
    reason = "auth_user without auth_without_tls"
    return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason=reason, policy=PolicySource.ROUTE)


def _requiretls(policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    """RFC 8689 4.2.1: a host that was found securely, or that MTA-STS names, and a certificate for its name."""
    if not subject.asked.requiretls:
        return standing
    if policy.requiretls is RequireTls.STARTTLS:
        return TlsRequirement(TlsLevel.ENCRYPT, reason=_REQUIRETLS, policy=PolicySource.MESSAGE)
    required = TlsRequirement(TlsLevel.REQUIRED, True, _REQUIRETLS, policy=PolicySource.MESSAGE, requiretls=True)
    if subject.mx_secure or standing.policy is PolicySource.STS:
        return required
    why = f"the message has REQUIRETLS, but {subject.host} was found neither by DNSSEC nor by MTA-STS"
    return replace(required, refusal=why)


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

CHECKS: tuple[Check, ...] = (
    _published,
    _forced_dane,
    _forced_host,
    _shaped,
    _forced_message,
    _credentials,
    _reject_unauthorized,
    _requiretls,
    _nameless,
)
"""Run in this order, each on what the ones before left standing. Whatever a check answers, nothing is lowered.

One that refuses the target answers with `refusal`. `_nameless` is the last: it judges what the others leave standing.
"""

PUBLISHED: tuple[Check, ...] = (dane.by_records, _mta_sts)
"""Policies that the recipients' domain may publish. The first that answers anything but `standing` is the one that
counts: where DANE applies, MTA-STS does not (RFC 8461 2)."""


def _stricter(standing: TlsRequirement, proposed: TlsRequirement) -> TlsRequirement:
    """The stricter of both in each respect: a level, PKIX, and TLSA records, which replace PKIX.

    The reason is that of the last which raised anything; the first refusal stands.
    """
    if proposed is standing or standing.refusal:
        return standing
    if proposed.refusal:
        return replace(
            standing,
            refusal=proposed.refusal,
            policy=proposed.policy,
            requiretls=proposed.requiretls,
            dane_failure=proposed.dane_failure,
        )
    level = max(standing.level, proposed.level, key=_STRENGTH.__getitem__)
    by_records = standing if standing.tlsa else proposed
    both = replace(
        proposed,
        level=level,
        verify=standing.verify or proposed.verify,
        tlsa=by_records.tlsa,
        servername=by_records.servername,
        names=by_records.names,
    )
    if (both.level, both.verifies, both.tlsa) != (standing.level, standing.verifies, standing.tlsa):
        return both
    return replace(standing, requiretls=True) if proposed.requiretls else standing


def check_session(tls: TlsRequirement, session: SessionTls) -> str:
    """Why nothing more may be said on a connection to a target that has this requirement; empty when all may."""
    for check in SESSION_CHECKS:
        if refusal := check(tls, session):
            return refusal
    return ""


def _encrypted(tls: TlsRequirement, session: SessionTls) -> str:
    if session.version or _STRENGTH[tls.level] < _STRENGTH[TlsLevel.ENCRYPT]:
        return ""
    why = f" ({tls.reason})" if tls.reason else ""
    return f"TLS is required{why}, but the host does not offer STARTTLS"


def _verified(tls: TlsRequirement, session: SessionTls) -> str:
    if not session.version:
        return ""
    if tls.tlsa:
        matches = session.verified_by in _BY_TLSA
        return "" if matches else session.mismatch or "the certificate matches no TLSA record"
    return "the certificate was not verified" if tls.verifies and session.verified_by is not VerifiedBy.PKIX else ""


SessionCheck: TypeAlias = Callable[[TlsRequirement, SessionTls], str]

SESSION_CHECKS: tuple[SessionCheck, ...] = (_encrypted, _verified)
"""Each says why the connection is refused, or nothing. The first refusal counts."""

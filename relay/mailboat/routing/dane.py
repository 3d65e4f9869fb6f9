"""Finds the TLSA records that the certificate of a host must match (RFC 7672 2, RFC 7671 7).

Pure: look-ups are an argument. `by_records` is a check of `security`. Whether a certificate matches, `delivery.dane`
decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from mailboat.config.settings import TlsLevel
from mailboat.model.tls import PolicySource
from mailboat.routing.answers import TlsRequirement
from mailboat.routing.records import Answer, Lookup, LookupFailure, TlsaRecord, is_hostname
from mailboat.routing.subject import Lookups, Subject, TlsPolicy

# RFC 6698 7.2 to 7.4, RFC 7218. Usages 0 and 1 are not used for SMTP (RFC 7672 3.1.3).
DANE_TA, DANE_EE = 2, 3
CERTIFICATE, PUBLIC_KEY = 0, 1
FULL, SHA2_256, SHA2_512 = 0, 1, 2

_DIGEST_SIZES = {SHA2_256: 32, SHA2_512: 64}


@dataclass(frozen=True, slots=True)
class DaneFinding:
    """What the DNS demands of one host and port."""

    base: str = ""
    """TLSA base domain: the name that the records are for (RFC 7672 2.2.3); empty without authenticated records."""
    usable: tuple[TlsaRecord, ...] = ()
    """The records that a certificate can match. Without any, TLS is demanded, with any certificate (RFC 7672 2.2)."""
    failure: str = ""
    """Why it is not known whether there are records: the host must not be used (RFC 7672 2.1.1)."""


def by_records(
    policy: TlsPolicy, subject: Subject, standing: TlsRequirement
) -> TlsRequirement | Awaitable[TlsRequirement]:
    """The requirement of the host's TLSA records, if the host was found securely and has any."""
    # RFC 7672 2.2.1: whoever can forge an MX answer can name a host with records of his own.
    wanted = subject.dane or policy.force_dane.matches(subject)
    if not (wanted and subject.mx_secure and is_hostname(subject.host.lower())):
        return standing
    return _by_records(subject, standing)


async def _by_records(subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    found = await find(subject.lookups, subject.host.lower(), subject.port, subject.versions)
    if found.failure:
        return TlsRequirement(refusal=f"DANE: {found.failure}", policy=PolicySource.DANE)
    if not found.base:
        return standing
    if not found.usable:
        reason = f"DANE: no TLSA record of {found.base} can be used"
        return TlsRequirement(TlsLevel.ENCRYPT, reason=reason, policy=PolicySource.DANE)
    return TlsRequirement(
        TlsLevel.REQUIRED,
        verify=True,
        reason=f"DANE: TLSA records of {found.base}",
        policy=PolicySource.DANE,
        tlsa=found.usable,
        servername=found.base,
        names=await _names(subject, found),
    )


async def _names(subject: Subject, found: DaneFinding) -> tuple[str, ...]:
    """The names that a certificate may be for (RFC 7672 3.2.2); only usage 2 compares names."""
    if all(record.usage == DANE_EE for record in found.usable):
        return ()
    names = [found.base]
    if subject.by_mx:
        answer = await subject.lookups.mx(subject.domain)
        names += [subject.domain, *(answer.aliases[-1:] if isinstance(answer, Answer) else ())]
    return tuple(dict.fromkeys(names))


async def find(lookups: Lookups, host: str, port: int, versions: Sequence[int]) -> DaneFinding:
    """The TLSA records for a host that was found securely; `versions`: IP versions that are in use."""
    families = [found for found in await lookups.families(host, versions) if isinstance(found, Answer)]
    secure = next((found for found in families if found.secure), None)
    if secure is not None:
        # RFC 7672 2.1.2: the name at the end of the aliases, if there are records for it; else the original one.
        bases = (secure.aliases[-1], host) if secure.aliases else (host,)
    elif any(found.aliases for found in families) and await _is_secure_alias(lookups, host):
        bases = (host,)  # RFC 7671 7: the alias is authenticated, what it leads to is not
    else:
        # Not asked: servers of unsigned zones are known to fail for TLSA, which would make the host unusable.
        return DaneFinding()
    for base in bases:
        answer = await lookups.tlsa(owner(base, port))
        if isinstance(answer, LookupFailure):
            return DaneFinding(failure=answer.reason)
        if (records := usable(answer)) is not None:
            return DaneFinding(base, records)
    return DaneFinding()


async def _is_secure_alias(lookups: Lookups, host: str) -> bool:
    answer = await lookups.cname(host)
    return isinstance(answer, Answer) and answer.secure


def owner(base: str, port: int) -> str:
    """The name at which the records are published (RFC 6698 3)."""
    return f"_{port}._tcp.{base}"


def usable(answer: Lookup[TlsaRecord]) -> tuple[TlsaRecord, ...] | None:
    """The records that a certificate can match (RFC 7672 3.1); None if there are no authenticated records.

    In one order, so that equal sets are equal.
    """
    if not (isinstance(answer, Answer) and answer.secure):
        return None
    found = filter(_is_usable, set(answer.records))
    return tuple(sorted(found, key=lambda r: (-r.usage, r.selector, r.matching, r.data)))


def _is_usable(record: TlsaRecord) -> bool:
    if record.usage not in (DANE_TA, DANE_EE) or record.selector not in (CERTIFICATE, PUBLIC_KEY):
        return False
    if record.matching == FULL:
        return _is_readable(record)
    return len(record.data) == _DIGEST_SIZES.get(record.matching)


def _is_readable(record: TlsaRecord) -> bool:
    """Whether the data of a record is a certificate or public key."""
    try:
        if record.selector == CERTIFICATE:
            x509.load_der_x509_certificate(record.data)
        else:
            serialization.load_der_public_key(record.data)
    except Exception:  # noqa: BLE001 - more kinds than are documented, and all mean that it is neither
        return False
    return True

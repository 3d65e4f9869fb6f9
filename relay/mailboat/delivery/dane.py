"""Judges the certificates of a host by its TLSA records (RFC 6698, RFC 7671, RFC 7672 3).

Pure. Knows no DNS and no connections: `routing.dane` finds the records, `delivery.client` asks before it sends
anything on the new connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from cryptography import x509
from cryptography.x509 import verification

from mailboat.routing.dane import CERTIFICATE, DANE_EE, DANE_TA, FULL, SHA2_256, SHA2_512
from mailboat.routing.records import TlsaRecord

_DIGESTS = {SHA2_256: hashlib.sha256, SHA2_512: hashlib.sha512}

# The default policies are those of web browsers; they refuse private CAs that have no authority key identifier or key
# usage. These demand what makes a path (RFC 5280 6.1): that an issuer is a CA, and that the leaf has names.
_ANY = verification.ExtensionPolicy.permit_all()
_ISSUERS = _ANY.require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, None)
_LEAF = _ANY.require_present(x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None)


class Mismatch(StrEnum):
    """Why no record matches, for people."""

    CERTIFICATE = "the certificate matches no TLSA record"
    NAME = "the certificate is for another name"
    EXPIRED = "the certificate is not valid at this time"
    CHAIN = "the certificate is not issued by the CA of a TLSA record"


def match(
    chain: Sequence[bytes], records: Sequence[TlsaRecord], names: Sequence[str], now: float
) -> TlsaRecord | Mismatch:
    """The record that the host's certificates match, or why there is none. Raises nothing.

    `chain`: the certificates as sent, in DER, the host's own first. `names`: those that it may be for, which usage 2
    compares (RFC 7672 3.2.2). `now`: seconds since the epoch.
    """
    if not chain:
        return Mismatch.CERTIFICATE
    counting = _strongest(records)
    for record in counting:
        # RFC 7672 3.1.1: neither the name nor the validity period of such a certificate is checked.
        if record.usage == DANE_EE and _matches(chain[0], record):
            return record
    return _by_anchor(chain, counting, names, now)


def _strongest(records: Sequence[TlsaRecord]) -> list[TlsaRecord]:
    """Without the digests that a stronger one of the same usage and selector replaces (RFC 7671 9)."""
    strong = {(record.usage, record.selector) for record in records if record.matching == SHA2_512}
    return [r for r in records if r.matching != SHA2_256 or (r.usage, r.selector) not in strong]


def _matches(certificate: bytes, record: TlsaRecord) -> bool:
    """Whether a record selects this certificate (RFC 6698 2.1.2, 2.1.3)."""
    selected = certificate if record.selector == CERTIFICATE else public_key_info(certificate)
    if record.matching != FULL:
        digest = _DIGESTS.get(record.matching)
        selected = digest(selected).digest() if digest is not None and selected else b""
    return bool(selected) and selected == record.data


def public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, as the octets in it (RFC 5280 4.1); empty if it has none."""
    try:
        at, _ = _contents(certificate, _contents(certificate, 0)[0])  # Certificate, TBSCertificate
        if certificate[at] == 0xA0:  # version, if it is not 1
            _, at = _contents(certificate, at)
        for _ in range(5):  # serialNumber, signature, issuer, validity, subject
            _, at = _contents(certificate, at)
        return certificate[at : _contents(certificate, at)[1]]
    except (IndexError, ValueError):
        return b""


def _contents(der: bytes, at: int) -> tuple[int, int]:
    """Where the contents of the element at an offset begin and end (X.690 8.1). Raises IndexError or ValueError."""
    begin, length = at + 2, der[at + 1]
    if length & 0x80:
        begin, length = begin + (length & 0x7F), int.from_bytes(der[begin : begin + (length & 0x7F)], "big")
    if begin + length > len(der):
        raise ValueError("an element is longer than the certificate")
    return begin, begin + length


def _by_anchor(
    chain: Sequence[bytes], records: Sequence[TlsaRecord], names: Sequence[str], now: float
) -> TlsaRecord | Mismatch:
    """Usage 2 (RFC 7672 3.1.2): a certificate above the leaf matches, and the leaf's path ends there."""
    why = Mismatch.CERTIFICATE
    leaf = _parsed(chain[0])
    if leaf is None:
        return why
    others = [parsed for der in chain[1:] if (parsed := _parsed(der)) is not None]
    for record, anchor in _anchors(chain, records):
        path = _Path(leaf, others, anchor, now)
        if any(path.leads_to(name) for name in names):
            return record
        if why is Mismatch.CERTIFICATE:
            why = path.why_not()
    return why


def _anchors(chain: Sequence[bytes], records: Sequence[TlsaRecord]) -> Iterator[tuple[TlsaRecord, x509.Certificate]]:
    for record in records:
        if record.usage != DANE_TA:
            continue
        candidates = [der for der in chain[1:] if _matches(der, record)]
        if (record.selector, record.matching) == (CERTIFICATE, FULL):
            candidates.append(record.data)  # RFC 7671 5.2.2: need not be sent
        yield from ((record, parsed) for der in candidates if (parsed := _parsed(der)) is not None)


class _Path:
    """The path from a leaf to one trust anchor, at one time."""

    def __init__(
        self, leaf: x509.Certificate, others: list[x509.Certificate], anchor: x509.Certificate, now: float
    ) -> None:
        self._leaf = leaf
        self._others = others
        self._time = datetime.fromtimestamp(now, UTC)
        self._policy = (
            verification.PolicyBuilder()
            .store(verification.Store([anchor]))
            .time(self._time)
            .extension_policies(ca_policy=_ISSUERS, ee_policy=_LEAF)
        )

    def leads_to(self, name: str) -> bool:
        """Whether it is valid, and the leaf is for this name."""
        try:
            verifier = self._policy.build_server_verifier(x509.DNSName(name))
            verifier.verify(self._leaf, self._others)
        except Exception:  # noqa: BLE001 - whatever a certificate makes the verifier raise, it is not verified
            return False
        return True

    def why_not(self) -> Mismatch:
        """Why it leads to none of the names."""
        try:
            self._policy.build_client_verifier().verify(self._leaf, self._others)
        except Exception:  # noqa: BLE001 - as above
            in_time = all(map(self._is_in_time, [self._leaf, *self._others]))
            return Mismatch.CHAIN if in_time else Mismatch.EXPIRED
        return Mismatch.NAME

    def _is_in_time(self, certificate: x509.Certificate) -> bool:
        try:
            return certificate.not_valid_before_utc <= self._time <= certificate.not_valid_after_utc
        except ValueError:  # no such date
            return False


def _parsed(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except Exception:  # noqa: BLE001 - more kinds than are documented, and all mean that it is none
        return None

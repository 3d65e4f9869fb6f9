"""Certificates of every kind, right and wrong, with their TLSA records; made on the spot, as those of `pem`."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from mailboat.routing.records import TlsaRecord

Validity: TypeAlias = tuple[datetime.timedelta, datetime.timedelta]
"""From when, and until when, from now."""

_DAY = datetime.timedelta(days=1)
VALID = (-_DAY, _DAY)
EXPIRED = (-2 * _DAY, -_DAY)
NOT_YET_VALID = (_DAY, 2 * _DAY)


def elliptic() -> ec.EllipticCurvePrivateKey:
    """A new key, quickly made."""
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        """The certificate as it is sent."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def public_key(self) -> bytes:
        """Its SubjectPublicKeyInfo."""
        return self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def tlsa(self, usage: int, selector: int, matching: int) -> TlsaRecord:
        """The record that this certificate matches."""
        selected = self.public_key if selector else self.der
        digest = (bytes, lambda data: hashlib.sha256(data).digest(), lambda data: hashlib.sha512(data).digest())
        return TlsaRecord(usage, selector, matching, digest[matching](selected))

    def server(self, directory: Path, *above: Issued) -> ssl.SSLContext:
        """A context for a server that shows it, and the certificates above it."""
        path = directory / f"{self.certificate.serial_number:x}.pem"
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key + b"".join(one.certificate.public_bytes(Encoding.PEM) for one in (self, *above)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # takes every certificate that a test makes
        context.load_cert_chain(path)
        return context


@dataclass(frozen=True)
class Wanted:
    """What a certificate is to be like."""

    subject: str
    names: Sequence[str] | None = None
    """Its DNS names; None: the subject. Without any it has a common name only."""
    by: Issued | None = None
    """The issuer; None: it is self-signed."""
    ca: bool = False
    path_length: int | None = None
    valid: Validity = VALID
    permitted: str = ""
    """The domain to which name constraints restrict what it may issue."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(default_factory=elliptic)

    def issue(self) -> Issued:
        """The certificate."""
        name = _name(self.subject)
        now = datetime.datetime.now(datetime.UTC)
        names = [self.subject] if self.names is None else self.names
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.by.certificate.subject if self.by else name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.valid[0])
            .not_valid_after(now + self.valid[1])
        )
        if self.ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=self.path_length), critical=True)
        elif names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False
            )
        if self.permitted:
            constraints = x509.NameConstraints([x509.DNSName(self.permitted)], None)
            builder = builder.add_extension(constraints, critical=True)
        return Issued(builder.sign(self.by.key if self.by else self.key, hashes.SHA256()), self.key)


def authority(subject: str = "Test CA", by: Issued | None = None) -> Issued:
    """A root, or an intermediate that `by` has issued."""
    return Wanted(subject, by=by, ca=True).issue()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

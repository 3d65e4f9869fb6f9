"""A certificate authority of a test's own, and the server contexts that it certifies."""

from __future__ import annotations

import datetime
import secrets
import ssl
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


class Authority:
    """A root that clients may trust: `root` is its certificate in PEM."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"root {secrets.token_hex(4)}")])
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), _NOW + _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.root = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, *names: str, common_name: str = "", expired: bool = False) -> tuple[bytes, bytes]:
        """A private key and a certificate for DNS names, both PEM; without names it has no subjectAltName."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        until = _NOW - datetime.timedelta(minutes=1) if expired else _NOW + _DAY
        builder = _builder(subject, self._name, key.public_key(), until)
        if names:
            san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(san, critical=not common_name)
        certificate = builder.sign(self._key, hashes.SHA256())
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
        return pem, certificate.public_bytes(encoding)

    def context(self, *names: str, common_name: str = "", expired: bool = False) -> ssl.SSLContext:
        """What a server shows that has such a certificate."""
        return server_context(*self.issue(*names, common_name=common_name, expired=expired))


def server_context(key: bytes, certificate: bytes) -> ssl.SSLContext:
    """The context of a server with this key and certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key + certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - _DAY)
        .not_valid_after(until)
    )

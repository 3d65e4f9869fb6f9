"""Who is who in a test cluster: an authority, the API server's certificate, and users known by a token.

All of it is created for each cluster, in its run directory. Tokens rather than client certificates: one
line a user, and a kubeconfig that can be read.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": ("system:node:node1", "system:nodes"),
    "coredns": ("coredns", "system:masters"),
}
"""User and group by the name of the kubeconfig."""


def make(directory: Path, server: str, names: Iterable[str], addresses: Iterable[str]) -> None:
    """Write `ca.crt`, `api.crt`, `api.key`, `sa.key`, `tokens.csv`, and a `NAME.kubeconfig` for each of USERS."""
    directory.mkdir(parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("test-ca", authority_key.public_key(), (authority_key, None), [])
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = _certificate("kube-apiserver", key.public_key(), (authority_key, authority), alternatives)
    write_secret(directory / "ca.crt", authority.public_bytes(serialization.Encoding.PEM))
    write_secret(directory / "api.crt", certificate.public_bytes(serialization.Encoding.PEM))
    write_secret(directory / "api.key", _pem(key))
    write_secret(directory / "sa.key", _pem(rsa.generate_private_key(65537, 2048)))
    lines = []
    for file, (user, group) in USERS.items():
        token = secrets.token_hex(16)
        lines.append(f'{token},{user},{file},"{group}"\n')
        write_secret(directory / f"{file}.kubeconfig", kubeconfig(server, directory / "ca.crt", token))
    write_secret(directory / "tokens.csv", "".join(lines).encode())


def kubeconfig(server: str, ca: Path, token: str) -> bytes:
    """A kubeconfig for one user; JSON is YAML, too."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    return json.dumps(document, indent=2).encode()


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _certificate(
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate | None],
    alternatives: list[x509.GeneralName],
) -> x509.Certificate:
    """A certificate; without an issuer's one it is the authority itself."""
    issuer_key, issuer_certificate = issuer
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_certificate.subject if issuer_certificate else subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer_certificate is None, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())

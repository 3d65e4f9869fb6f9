"""Certificates in Secrets, and which one a relay shows."""

from __future__ import annotations

import base64
import smtplib
import ssl

from tests.support.pem import self_signed
from tools.cluster.kubectl import Kubectl
from tools.cluster.use import Cluster

SUBMISSION = 2587


def certificate(kubectl: Kubectl, secret: str, name: str) -> bytes:
    """Put a new certificate and its key into a Secret of type kubernetes.io/tls; the certificate in DER."""
    key, chain = self_signed(name)
    put(kubectl, secret, key, chain)
    return ssl.PEM_cert_to_DER_cert(chain.decode())


def put(kubectl: Kubectl, secret: str, key: bytes, chain: bytes) -> None:
    """Create or change a Secret of type kubernetes.io/tls."""
    data = {"tls.key": base64.b64encode(key).decode(), "tls.crt": base64.b64encode(chain).decode()}
    metadata = {"name": secret}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    )


def starttls(
    cluster: Cluster, kubectl: Kubectl, target: str, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[bytes, str]:
    """The certificate, in DER, that a pod shows to a client that submits, and the version. Raises smtplib's errors."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = most
    with cluster.reach(kubectl, target, SUBMISSION) as (host, port), smtplib.SMTP(host, port, timeout=30) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) or b"", client.sock.version() or ""

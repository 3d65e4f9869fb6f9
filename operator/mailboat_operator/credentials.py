"""Checks certificates, bundles, passwords and parameters. Pure; called by `checks`.

Applies the relay's own criteria: the relay accepts what passes here. A function `…_fault` returns the fault, without
secrets, or an empty text.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import warnings

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

MAX_SIZE = 2**20
"""Octets of one file; the relay reads no more."""
_PARAMETERS = re.compile(
    rb"-----BEGIN (?:X9\.42 )?DH PARAMETERS-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END (?:X9\.42 )?DH PARAMETERS-----"
)


def certificates_of(bundle: bytes) -> bytes:
    """The certificates of a CA bundle, PEM, without other content; empty: there are none."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in _certificates(bundle))


def parameters_of(content: bytes) -> bytes:
    """Diffie-Hellman parameters, PEM, without other content; empty: there are none.

    Only their form is checked; OpenSSL checks the rest.
    """
    found = _PARAMETERS.search(content)
    with contextlib.suppress(binascii.Error):
        if found and base64.b64decode(b"".join(found[1].split()), validate=True):
            return found[0] + b"\n"
    return b""


def certificate_fault(chain: bytes) -> str:
    """Of a certificate chain, PEM, leaf first."""
    return "" if _certificates(chain) else "holds no PEM certificate"


def key_fault(key: bytes, chain: bytes) -> str:
    """Of a private key, PEM; also when it does not belong to the first certificate of the chain."""
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        return "is encrypted; store it without a pass phrase"
    except (ValueError, UnsupportedAlgorithm):
        return "holds no PEM private key"
    certificates = _certificates(chain)
    if certificates and _spki(private.public_key()) != _spki(certificates[0].public_key()):
        return "does not belong to the certificate"
    return ""


def line_fault(content: bytes) -> str:
    """Of a user name or password: one line of text."""
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    if not text:
        return "is empty"
    if not text.isprintable():
        return "has more than one line, or a control character"
    return ""


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():
            # OpenSSL decides about unusual certificates.
            warnings.simplefilter("ignore")
            return x509.load_pem_x509_certificates(pem)
    except (ValueError, UnsupportedAlgorithm):
        return []


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded

"""Checks key, certificate, CA, parameters and cipher list with OpenSSL, from their octets.

What `tls.ini` names is tried here in the order in which contexts are built, so that weak keys (RSA of 1024 bits, DH of
512) and lists that match no cipher are found before anything takes effect. Used by `tls` for the relay, and by the
operator before it writes. The octets stay in memory, no file is written, and the contexts are discarded.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from mailboat.config.sections import one_line

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""The values of `minVersion`, for building a context."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The input of OpenSSL from one side of `tls.ini`; None or empty: not given. Files as their PEM octets."""

    key: bytes | None = field(default=None, repr=False)
    cert: bytes | None = None
    ca: bytes | None = None
    dhparam: bytes | None = None
    ciphers: str = ""


@dataclass(frozen=True, slots=True)
class TlsRefusal:
    """One fault found by OpenSSL."""

    keys: tuple[str, ...]
    """The keys of `tls.ini` that it is about, the most likely cause first."""
    message: str
    """One line, for people. Never holds a secret."""


def refusals(material: TlsMaterial) -> Iterator[TlsRefusal]:
    """All faults found by OpenSSL. A key without a certificate, or vice versa, is not tried."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with ExitStack() as stack:

        def path(content: bytes) -> str:
            return stack.enter_context(_as_path(content))

        if material.cert is not None and material.key is not None:
            cert, key = path(material.cert), path(material.key)
            # Never a prompt on a terminal: an encrypted key fails with the empty pass phrase.
            yield from _tried(lambda: context.load_cert_chain(cert, key, password=lambda: ""), "cert", "key")
        if material.ca is not None:
            ca = path(material.ca)
            yield from _tried(lambda: context.load_verify_locations(ca), "ca")
        if material.ciphers:
            yield from _tried(lambda: context.set_ciphers(material.ciphers), "ciphers")
        if material.dhparam is not None:
            dhparam = path(material.dhparam)
            yield from _tried(lambda: context.load_dh_params(dhparam), "dhparam")


def roots(content: bytes) -> str:
    """The certificates of a PEM file, as text. ValueError if there are none that OpenSSL accepts."""
    for refusal in refusals(TlsMaterial(ca=content)):
        raise ValueError(refusal.message)
    return content.decode("ascii", "replace")


@contextmanager
def _as_path(content: bytes) -> Iterator[str]:
    """A path by which OpenSSL, which accepts no octets, can open them."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _tried(step: Callable[[], None], *keys: str) -> Iterator[TlsRefusal]:
    try:
        step()
    except ssl.SSLError as error:
        yield TlsRefusal(keys, f"OpenSSL refuses it: {_reason(error)}")
    except (OSError, ValueError) as error:
        yield TlsRefusal(keys, f"cannot be used: {one_line(str(error))}")


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's error, with common causes in plain words."""
    plain = {
        "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
        "BAD_DECRYPT": "the key is encrypted; store it without a pass phrase",
        "NO_CERTIFICATE_OR_CRL_FOUND": "the file holds no PEM certificate",
        "NO_START_LINE": "the file is not PEM",
        "NO_CIPHER_MATCH": "no cipher matches the list",
        "EE_KEY_TOO_SMALL": "the key of the certificate is too short",
        "CA_KEY_TOO_SMALL": "the key of a CA is too short",
        "CA_MD_TOO_WEAK": "the certificate is signed with too weak a digest",
        "DH_KEY_TOO_SMALL": "the parameters are too short",
    }
    # Python raises some of these itself, without a reason.
    reason = getattr(error, "reason", None) or ""
    return plain.get(reason, one_line(str(error.args[-1] if error.args else error)))

"""Reads a certificate's expiry from its PEM. Pure; used by `app`, because the `ssl` module has it for peers only."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_UTC_TIME = 0x17


def first_expiry(pem: str) -> float | None:
    """The expiry of the first of these certificates, seconds since the epoch; None: there is none, or it is not PEM."""
    try:
        return min((_not_after(ssl.PEM_cert_to_DER_cert(one)) for one in _PEM.findall(pem)), default=None)
    except (ValueError, IndexError):
        return None


def _not_after(der: bytes) -> float:
    """`notAfter` of a certificate (RFC 5280 4.1): after version (optional), serial, algorithm and issuer."""
    certificate, _ = _inside(der, 0)
    at, _ = _inside(der, certificate)
    skipped = 4 if der[at] == 0xA0 else 3  # [0] version
    for _ in range(skipped):
        at = _inside(der, at)[1]
    not_before, _ = _inside(der, at)
    not_after = _inside(der, not_before)[1]
    start, end = _inside(der, not_after)
    text = der[start:end].decode("ascii")
    if der[not_after] == _UTC_TIME:  # years from 50 on are of the last century (4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Begin and end of the contents of the DER element at `at`."""
    length, start = der[at + 1], at + 2
    if length & 0x80:  # so many octets of length follow
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start], "big")
    return start, start + length

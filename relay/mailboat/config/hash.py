"""The hash that identifies a configuration: the operator computes it, the relay reports it. Pure.

Of `outbound.ini`, `tls.ini`, `dkim.ini`, `tlsrpt.ini`, `shaping.ini` and `tenants.ini`, in this order, each that exists
adds its name, a space, its length in octets in decimal, a line feed, and its content; the hash is `sha256:` and the
SHA-256 of all that in lower-case hexadecimal. The lengths make moves of text between the files detectable. The same in
a shell, if all files exist:

    for f in outbound.ini tls.ini dkim.ini tlsrpt.ini shaping.ini tenants.ini; do
        printf '%s %d\\n' $f $(wc -c <$f); cat $f
    done | sha256sum
"""

from __future__ import annotations

import hashlib


def config_hash(
    outbound: bytes | None,
    tls: bytes | None,
    tenants: bytes | None = None,
    *,
    dkim: bytes | None = None,
    tlsrpt: bytes | None = None,
    shaping: bytes | None = None,
) -> str:
    """The hash of these files' contents; None where a file does not exist."""
    named = (
        ("outbound.ini", outbound),
        ("tls.ini", tls),
        ("dkim.ini", dkim),
        ("tlsrpt.ini", tlsrpt),
        ("shaping.ini", shaping),
        ("tenants.ini", tenants),
    )
    return "sha256:" + framed_digest(named)


def framed_digest(parts: tuple[tuple[str, bytes | None], ...]) -> str:
    """SHA-256 over named contents, in hexadecimal; a content that is None is left out."""
    digest = hashlib.sha256()
    for name, content in parts:
        if content is not None:
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()

"""A body tap that hashes the text of a message for its DKIM signature (RFC 6376 3.7), while the message is written."""

from __future__ import annotations

from mailboat.dkim.canonical import Canonicalization, body_hash
from mailboat.message import headers


class TextHashTap:
    """The SHA-256 of what stands behind the header. See `taps.BodyTap`."""

    def __init__(self, canonicalization: Canonicalization) -> None:
        self._hash = body_hash(canonicalization)
        self._begun = False
        self._is_found = True

    def feed(self, octets: bytes) -> None:
        """See `BodyTap`. The first piece holds the header whole: it is the message, or longer than what is scanned."""
        if not self._begun:
            self._begun = True
            end = headers.scan(octets).header_end
            self._is_found = end >= 0
            octets = octets[end:].removeprefix(b"\r\n")
        if self._is_found:
            self._hash.update(octets)

    def digest(self) -> bytes | None:
        """The hash, once the message is whole; None when its header is longer than `headers.SCAN_LIMIT`."""
        return self._hash.digest() if self._is_found else None

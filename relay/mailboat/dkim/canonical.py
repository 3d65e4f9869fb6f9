"""Canonical forms of a message (RFC 6376 3.4), hashed as the octets stream by. Pure.

A body may come in pieces of any size; its lines end with CRLF. Memory is constant for any body.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Final, Protocol

_BLANKS: Final = b" \t\r\n"
_LINE_ENDS: Final = b"\r\n" * 4096
_RUN_OF_BLANKS: Final = re.compile(rb"[ \t]+")


class Canonicalization(StrEnum):
    """How much a message may be changed on its way before its signature breaks."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


class BodyHash(Protocol):
    """The SHA-256 of a body's canonical form."""

    def update(self, piece: bytes) -> None:
        """Take the next octets of the body."""

    def digest(self) -> bytes:
        """The hash; the body is complete."""


def body_hash(canonicalization: Canonicalization) -> BodyHash:
    """A hash for a new body."""
    return _RelaxedBody() if canonicalization is Canonicalization.RELAXED else _SimpleBody()


class _SimpleBody:
    """RFC 6376 3.4.3: empty lines at the end do not count, and one line end is always there."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._line_ends = 0
        """CRLFs that count only if something follows."""
        self._held = b""
        """A CR at the end of a piece."""

    def update(self, piece: bytes) -> None:
        """Take the next octets of the body."""
        piece = self._held + piece
        self._held = b"\r" if piece.endswith(b"\r") else b""
        text = piece.rstrip(b"\r\n")
        if text:
            _feed_line_ends(self._hash, self._line_ends)
            self._hash.update(text)
            self._line_ends = 0
        self._line_ends += piece.count(b"\n", len(text))

    def digest(self) -> bytes:
        """The hash; the body is complete."""
        whole = self._hash.copy()
        whole.update(b"\r\n")
        return whole.digest()


class _RelaxedBody:
    """RFC 6376 3.4.4: besides, a run of blanks is one blank, and none at the end of a line."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._line_ends = 0
        self._blank = False
        """Blanks behind the last line end, which count only if something follows on that line."""
        self._held = b""
        self._empty = True

    def update(self, piece: bytes) -> None:
        """Take the next octets of the body."""
        piece = self._held + piece
        self._held = b"\r" if piece.endswith(b"\r") else b""
        text = piece.rstrip(_BLANKS)
        if text:
            _feed_line_ends(self._hash, self._line_ends)
            self._hash.update(_collapsed(b" " + text if self._blank else text))
            self._line_ends, self._blank, self._empty = 0, False, False
        end = piece[len(text) : len(piece) - len(self._held)]
        last_line = end.rfind(b"\n") + 1
        self._line_ends += end.count(b"\n")
        self._blank = len(end) > last_line or (self._blank and not last_line)

    def digest(self) -> bytes:
        """The hash; the body is complete."""
        whole = self._hash.copy()
        if not self._empty:
            whole.update(b"\r\n")
        return whole.digest()


def relaxed_field(field: bytes) -> bytes:
    """A header field with its line end in relaxed form (RFC 6376 3.4.2)."""
    name, _, value = field.partition(b":")
    value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return name.strip(_BLANKS).lower() + b":" + _RUN_OF_BLANKS.sub(b" ", value).strip(b" ") + b"\r\n"


def canonical_field(field: bytes, canonicalization: Canonicalization) -> bytes:
    """A header field with its line end in either form."""
    return relaxed_field(field) if canonicalization is Canonicalization.RELAXED else field


def _collapsed(text: bytes) -> bytes:
    """Runs of blanks as one blank, none before a line end. `replace` is several times as fast as a regex here."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text.replace(b" \r\n", b"\r\n")


def _feed_line_ends(digest: hashlib._Hash, count: int) -> None:
    """Ten million empty lines need no memory."""
    whole, rest = divmod(2 * count, len(_LINE_ENDS))
    for _ in range(whole):
        digest.update(_LINE_ENDS)
    digest.update(_LINE_ENDS[:rest])

"""A message body as the octets of DATA: dot-stuffed, in pieces, ended by the final dot (RFC 5321 4.5.2).

Knows bytes and files, no connection. Used by `delivery.session`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import BinaryIO

from mailboat.smtp.data import stuff

PIECE = 65_536
"""Octets read from a file, or written, at once."""
END = b".\r\n"


class ShortBodyError(OSError):
    """The file of a body ended early."""


def stuffed(body: bytes) -> bytes:
    """A whole body with its final dot."""
    # RFC 5321 4.1.1.4: the end is CRLF.CRLF, and a message without CRLF at its end needs one.
    return stuff(body) + END if body.endswith(b"\r\n") or not body else stuff(body) + b"\r\n" + END


class Stuffer:
    """Dot-stuffs a body that comes in pieces."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"
        """The last two octets before the next piece; a body begins like a line."""

    def feed(self, piece: bytes) -> bytes:
        """The piece with dots at the beginning of lines doubled."""
        joined = self._tail + piece
        self._tail = joined[-2:]
        # The tail of two octets has no "CR LF dot", so all dots are added after it.
        return joined.replace(b"\r\n.", b"\r\n..")[2:]

    def end(self) -> bytes:
        """The end of the message: the final dot, on its own line."""
        return END if self._tail == b"\r\n" else b"\r\n" + END


async def pieces(file: BinaryIO, size: int, begin: bytes = b"") -> AsyncGenerator[bytes, None]:
    """A file's body stuffed, piece by piece, with its end; read in a thread, because a disk may be slow.

    `begin` is sent before the file, and is included in `size`.

    Raises:
        OSError: the file cannot be read; ShortBodyError: it has fewer octets than it should.
    """
    stuffer = Stuffer()
    left = size - len(begin)
    if begin:
        yield stuffer.feed(begin)
    while left > 0:
        piece = await asyncio.to_thread(file.read, min(PIECE, left))
        if not piece:
            raise ShortBodyError(f"the stored body is {left} octets short")
        left -= len(piece)
        yield stuffer.feed(piece) if left else stuffer.feed(piece) + stuffer.end()
    if not size:
        yield END

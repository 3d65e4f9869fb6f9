"""Splits the client's octets into command lines of limited length. Commands end in CRLF only (RFC 5321 2.3.8)."""

from __future__ import annotations

from enum import Enum, auto

MAX_COMMAND_LINE = 4096
"""Octets. RFC 5321 4.5.3.1.4 requires 512, extensions add to it."""
MAX_AUTH_LINE = 12_288
"""Octets of an AUTH command with its initial response, and of a line that answers a challenge (RFC 4954 4)."""


class LineFault(Enum):
    """Why a line is not a command."""

    TOO_LONG = auto()
    BARE_NEWLINE = auto()


class LineBuffer:
    """Octets that wait to become lines. `read_all` removes those after a DATA command."""

    __slots__ = ("_buffer", "_position", "_skipping")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0  # a cursor, so that a thousand pipelined commands are not copied a thousand times
        self._skipping = False

    def __len__(self) -> int:
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        """Append octets from the client."""
        self._buffer = data if self._position == len(self._buffer) else self.read_all() + data
        self._position = 0

    def next_line(self, limit: int = MAX_COMMAND_LINE) -> bytes | LineFault | None:
        """The next line without its CRLF; a fault if it is invalid; None if it is incomplete.

        A line over the limit is one fault, however long it goes on, and costs no more memory than the limit.
        """
        start, buffer = self._position, self._buffer
        if start == len(buffer):
            return None
        end = buffer.find(b"\n", start)
        if end < 0:
            return self._no_line_yet(limit)
        self._position = end + 1
        if self._skipping:
            self._skipping = False
            return self.next_line(limit)
        if end - start > limit:
            return LineFault.TOO_LONG
        if end == start or buffer.find(b"\r", start, end) != end - 1:
            return LineFault.BARE_NEWLINE
        return buffer[start : end - 1]

    def _no_line_yet(self, limit: int) -> LineFault | None:
        if self._skipping:
            self.read_all()
        elif len(self._buffer) - self._position > limit:
            self.read_all()
            self._skipping = True
            return LineFault.TOO_LONG
        return None

    def begins_with(self, word: bytes) -> bool:
        """Whether what waits begins with a word in upper case, however it is written."""
        return self._buffer[self._position : self._position + len(word)].upper() == word

    def read_all(self) -> bytes:
        """Remove and return all waiting octets."""
        data = self._buffer[self._position :] if self._position else self._buffer
        self._buffer = b""
        self._position = 0
        return data

    def clear(self) -> None:
        """Discard everything, as STARTTLS requires (RFC 3207 4.2)."""
        self.read_all()
        self._skipping = False

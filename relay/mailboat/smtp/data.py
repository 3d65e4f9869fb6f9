"""The DATA stage as octets: the end of a message, dot-stuffing, and bare newlines (RFC 5321 4.1.1.4, 4.5.2).

`ingress.transaction` feeds the client's octets; `delivery` uses `stuff`.
"""

from __future__ import annotations

import re
from enum import Enum, auto

_END = b"\r\n.\r\n"
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# Sequences that some servers accepted as the end of data (CVE-2023-51764 and similar); here they never are.
_FALSE_END = re.compile(rb"(?<!\r)\n\.\r?\n|\r\n\.(?:\n|\r(?!\n))|\r(?!\n)\.[\r\n]")
_FALSE_END_REACH = 4


class DataFault(Enum):
    """Why a message cannot be accepted, found while it was received."""

    BARE_NEWLINE = auto()
    """A CR or LF alone. The message continues to the real end of data."""
    FALSE_END = auto()
    """A bare newline at or in the end of data: the client may see the end at another place, so the following octets
    are not commands."""
    LINE_TOO_LONG = auto()


def stuff(body: bytes) -> bytes:
    """Double the dot of each line that begins with one (RFC 5321 4.5.2). The final dot is not added."""
    stuffed = body.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


class DataReceiver:
    """Finds the end of one message in the client's octets and removes the dot-stuffing.

    The most severe fault is kept in `fault`; octets are still consumed, so that commands are only read after the real
    end of data.
    """

    __slots__ = ("_first", "_held", "_line", "_line_limit", "_normalize", "_seen", "fault")

    def __init__(self, line_limit: int, *, normalize: bool = False) -> None:
        self.fault: DataFault | None = None
        self._normalize = normalize
        self._line_limit = line_limit
        self._held = b"\r\n"
        """Octets not yet passed on, because they may be the beginning of the end. At first the CRLF of DATA itself."""
        self._first = True
        self._line = 0
        """Length of the last line so far."""
        self._seen = b""
        """The last octets, to find a false end across two pieces."""

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Process a piece; returns its message octets, and the octets after the end of data (None: no end yet)."""
        data = self._held + data
        end = data.find(_END)
        if end >= 0:
            before = data[end - 1 : end] if end else self._seen[-1:]
            octets = self._pass_on(data[: end + 2])
            if before == b"\r" and self.fault is DataFault.BARE_NEWLINE:
                self.fault = DataFault.FALSE_END  # CR CR LF: some servers read it as a line end, others do not
            return octets, data[end + 5 :]
        keep = _overlap(data)
        self._held = data[len(data) - keep :]
        return self._pass_on(data[: len(data) - keep]), None

    def _pass_on(self, piece: bytes) -> bytes:
        # As many lines as CRLFs means no other CR or LF; counting those one by one takes twice as long.
        if len(piece.splitlines()) != piece.count(b"\r\n") + (piece[-1:] not in b"\r\n"):
            piece = self._bare(piece)
        elif self.fault is DataFault.BARE_NEWLINE:
            self._look_for_false_end(piece)
        if len(piece) + self._line > self._line_limit:
            self._look_for_long_line(piece)
        last = piece.rfind(b"\n")
        length = len(piece) - last - 1 if last >= 0 else self._line + len(piece)
        # Above the limit the length is irrelevant, and must not grow with a hostile line.
        self._line = min(length, self._line_limit)
        # A chunk never ends in "CR LF", the overlap held that back: no pair is cut, and each leading dot is seen.
        piece = piece.replace(b"\r\n.", b"\r\n")
        if self._first and piece:
            self._first = False
            piece = piece[2:]
        return piece

    def _bare(self, piece: bytes) -> bytes:
        if self._normalize:
            # Lines are unstuffed before: only CRLF begins a line that the client can have stuffed.
            return _BARE.sub(b"\r\n", piece.replace(b"\r\n.", b"\r\n")).replace(b"\r\n.", b"\r\n..")
        if self.fault is not DataFault.FALSE_END:
            self.fault = DataFault.BARE_NEWLINE
        self._look_for_false_end(piece)
        return piece

    def _look_for_false_end(self, piece: bytes) -> None:
        window = self._seen + piece
        if self.fault is DataFault.BARE_NEWLINE and _FALSE_END.search(window):
            self.fault = DataFault.FALSE_END
        self._seen = window[-_FALSE_END_REACH:]

    def _look_for_long_line(self, piece: bytes) -> None:
        start = -self._line
        while len(piece) - start > self._line_limit:
            newline = piece.rfind(b"\n", max(start, 0), start + self._line_limit)
            if newline < 0:
                self.fault = self.fault or DataFault.LINE_TOO_LONG
                break
            start = newline + 1


def _overlap(data: bytes) -> int:
    """How many of the last octets may begin the end of data."""
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0

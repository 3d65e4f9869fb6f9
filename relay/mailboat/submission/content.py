"""Contents as programs submit them, made into what a relay stores: CRLF line ends, whole lines, no dot-stuffing.

Works on a stream: piece in, piece out, and no more than one line is kept. No I/O. Called by `submitter`.
"""

from __future__ import annotations

import re

from mailboat.submission.request import RefusedError

_LINE_END = re.compile(rb"\r\n|\r|\n")


class Normalizer:
    """The line ends of one message: any of CRLF, CR and LF becomes CRLF, and the last line gets one if it has none."""

    def __init__(self, line_limit: int, *, dot_stuffed: bool = False) -> None:
        """`line_limit` in octets, without the line end. `dot_stuffed`: as in DATA (RFC 5321 4.5.2), to be undone."""
        self._line_limit = line_limit
        self._dot_stuffed = dot_stuffed
        self._pending = b""
        """The last line, as long as it has no end."""
        self._ended = False
        """The line of a single dot has come: nothing may follow."""

    def feed(self, octets: bytes) -> bytes:
        """Take a piece; what is ready comes back. Raises RefusedError."""
        data = self._pending + octets
        # A CR at the end may be half of a line end.
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, max(0, len(data) - 1))) + 1
        self._pending = data[end:]
        if len(self._pending) > self._line_limit + 1:
            raise self._too_long()
        return self._lines(data[:end])

    def finish(self) -> bytes:
        """What is left, its last line made whole. Raises RefusedError."""
        rest, self._pending = self._pending, b""
        return self._lines(rest if rest.endswith(b"\r") else rest + b"\r\n") if rest else b""

    def _lines(self, data: bytes) -> bytes:
        """Whole lines, normalised."""
        if not data:
            return b""
        text = _crlf(data)
        if len(text) > self._line_limit and max(map(len, text.split(b"\r\n"))) > self._line_limit:
            raise self._too_long()
        return self._unstuffed(text) if self._dot_stuffed else text

    def _unstuffed(self, text: bytes) -> bytes:
        if self._ended:
            raise RefusedError("a line of a single dot ends dot-stuffed contents, and more follows it")
        text = b"\r\n" + text
        end = text.find(b"\r\n.\r\n")
        if end >= 0:
            self._ended = True
            if end + 5 < len(text):
                raise RefusedError("a line of a single dot ends dot-stuffed contents, and more follows it")
            text = text[: end + 2]
        return text.replace(b"\r\n.", b"\r\n")[2:]

    def _too_long(self) -> RefusedError:
        return RefusedError(f"a line is longer than {self._line_limit} octets")


def _crlf(data: bytes) -> bytes:
    """Every line end as CRLF; mostly all are of one kind, and that takes no work a line."""
    returns = data.count(b"\r")
    if not returns:
        return data.replace(b"\n", b"\r\n")
    if returns == data.count(b"\n") == data.count(b"\r\n"):
        return data
    return _LINE_END.sub(b"\r\n", data)

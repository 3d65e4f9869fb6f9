"""Encodes text for header lines and MIME parts (RFC 2045, 2047, 5322).

The result never contains a control character, a bare CR or LF, or a line over 998 octets, whatever the input.
Knows no mail structure. Called by `templates` and `dsn`.
"""

from __future__ import annotations

import base64
import binascii
import re

LINE_LIMIT = 998
"""Octets of a line without its CRLF (RFC 5322 2.1.1)."""

_FOLD_AT = 76
"""Header lines are folded at this length where a blank allows it (RFC 5322 2.1.1 asks for 78)."""
_FOLD_HARD = 900
"""A word longer than this is broken: no receiver must accept more, and no real word is as long."""
_VALUE_LIMIT = 8192
"""Octets of one header value; the rest is cut. Values may carry a hostile server's reply."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9-]{1,20})(?:\*[A-Za-z0-9-]*)?\?([BbQq])\?([!->@-~]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t]+(?==\?)")
_CHARSETS = re.compile(
    r"utf-?8|us-ascii|iso-8859-\d{1,2}|windows-125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr)|iso-2022-jp",
    re.IGNORECASE,
)
"""Charsets that mail uses; any other name is not looked up, for codecs include much that is no text."""


_LINE_PIECE = re.compile(rb"(?s:.{994,997}(?=[^\x80-\xbf])|.{997}(?=.))")
"""What fits in a line behind one blank; where it can, not ending within a UTF-8 character."""


def one_line(text: str) -> str:
    """`text` without control characters and line ends: each run of them is one blank."""
    return _CONTROLS.sub(" ", text.encode("utf-8", "replace").decode()).strip()


def header_field(name: str, value: str, *, utf8: bool = False) -> bytes:
    """One header field, folded, with its line end. Without `utf8`, words that are not ASCII become encoded-words."""
    text = one_line(value)[:_VALUE_LIMIT]
    if len(name) + 2 + len(text) <= _FOLD_AT and (utf8 or text.isascii()):
        return f"{name}: {text}\r\n".encode()
    words = text.split(" ")
    if not utf8:
        words = _encode_words(words)
    lines: list[bytes] = []
    line, started = f"{name}:".encode(), False
    for piece in (piece for word in words if word for piece in _pieces(word.encode())):
        if started and len(line) + 1 + len(piece) > _FOLD_AT:
            lines.append(line)
            line = b""
        line += b" " + piece
        started = True
    return b"\r\n".join([*lines, line]) + b"\r\n"


def decode_words(value: bytes) -> str:
    """A header value for people: its encoded-words decoded (RFC 2047), what cannot be decoded as it is."""
    text = value[:_VALUE_LIMIT].decode("utf-8", "replace")
    return one_line(_ENCODED_WORD.sub(_decoded, _BETWEEN_WORDS.sub(r"\1", text)))


def crlf(data: bytes) -> bytes:
    """`data` with every line ended by CRLF, bare CRs and LFs included; nothing is added to the last line."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", data)


def wrapped(data: bytes) -> bytes:
    """`data` with CRLF lines that any server accepts: none over 998 octets, no NUL, a line end at the end.

    A longer line goes on in the next behind one blank: in a header that is folding, in a text the least surprise.
    """
    data = crlf(data).replace(b"\0", b" ")
    if _has_long_line(data):
        data = b"\r\n".join(_broken(line) if len(line) > LINE_LIMIT else line for line in data.split(b"\r\n"))
    return data if not data or data.endswith(b"\r\n") else data + b"\r\n"


def encode_text(text: str) -> tuple[str, bytes]:
    """The content of a text part: its transfer encoding (`7bit` or `quoted-printable`) and its lines."""
    data = crlf(text.encode("utf-8", "replace"))
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    if data.isascii() and b"\0" not in data and not _has_long_line(data):
        return "7bit", data
    lines = data.removesuffix(b"\r\n").split(b"\r\n")
    return "quoted-printable", b"".join(_quoted_printable(line) for line in lines)


def encode_binary(data: bytes) -> bytes:
    """`data` in base64, in lines of 76 characters."""
    text = base64.b64encode(data)
    return b"".join(text[at : at + 76] + b"\r\n" for at in range(0, len(text), 76))


def _has_long_line(data: bytes) -> bool:
    return max(map(len, data.split(b"\r\n"))) > LINE_LIMIT


def _broken(line: bytes) -> bytes:
    return _LINE_PIECE.sub(rb"\g<0>\r\n ", line)


def _quoted_printable(line: bytes) -> bytes:
    """One line without its end, encoded, with it (RFC 2045 6.7)."""
    encoded = binascii.b2a_qp(line, quotetabs=False, istext=True, header=False)
    return encoded.replace(b"=\n", b"=\r\n") + b"\r\n"


def _pieces(word: bytes) -> list[bytes]:
    return [word[at : at + _FOLD_HARD] for at in range(0, len(word), _FOLD_HARD)]


def _encode_words(words: list[str]) -> list[str]:
    """The words with each run that is not ASCII as encoded-words; blanks within a run are part of it."""
    encoded: list[str] = []
    run: list[str] = []
    for word in words:
        if word.isascii():
            encoded += [*_encoded(" ".join(run)), word]
            run = []
        else:
            run.append(word)
    return encoded + _encoded(" ".join(run))


def _encoded(text: str) -> list[str]:
    """`text` as encoded-words; 39 octets make one of 64, so that it fits behind a name (RFC 2047 2: 76 a line)."""
    chunks: list[str] = []
    for character in text:
        if chunks and len((chunks[-1] + character).encode()) <= 39:
            chunks[-1] += character
        else:
            chunks.append(character)
    return [f"=?utf-8?B?{base64.b64encode(chunk.encode()).decode()}?=" for chunk in chunks]


def _decoded(word: re.Match[str]) -> str:
    charset, encoding, text = word.groups()
    if not _CHARSETS.fullmatch(charset):
        return word[0]
    try:
        raw = (
            base64.b64decode(text + "=" * (-len(text) % 4))
            if encoding in "Bb"
            else binascii.a2b_qp(text.encode(), header=True)
        )
        return raw.decode(charset, "replace")
    except (ValueError, LookupError):
        return word[0]

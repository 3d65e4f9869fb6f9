"""Mails for tests that compare octets, and the comparison: a relay adds trace fields on top and changes nothing."""

from __future__ import annotations

import random
import re

_FIELD = re.compile(rb"([!-9;-~]+):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def mail(text: bytes = b"Good day.\r\n", *, subject: str = "interop", size: int = 0) -> bytes:
    """A complete mail with CRLF line ends; `size` octets of lines of any length up to 998 are added to the text."""
    header = (
        "From: Alice <alice@here.test>\r\n"
        "To: Bob <bob@there.test>\r\n"
        "Date: Sun, 01 Mar 2026 09:30:00 +0000\r\n"
        "Message-ID: <interop@here.test>\r\n"
        f"Subject: {subject}\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
    )
    return header.encode() + b"\r\n" + text + lines(size)


def lines(size: int) -> bytes:
    """Lines of dots and letters, as awkward as SMTP allows: short, empty, 998 octets (RFC 5322 2.1.1), dots first."""
    choice = random.Random(size)
    made = bytearray()
    while len(made) < size:
        made += b"." * choice.randrange(4)
        made += bytes(choice.choices(b"abc.XYZ 0123", k=choice.choice((0, 1, 2, 70, 200, 995))))
        made += b"\r\n"
    return bytes(made)


AWKWARD = b".\r\n..\r\n.a dot\r\n\r\n\r\n \r\ntrailing \t\r\n\xc3\xbcmlaut\r\n" + lines(4000) + b".\r\n"
"""Text that shows whether dots are stuffed, blanks kept and octets left alone."""


def added(arrived: bytes, sent: bytes) -> list[str]:
    """Names of the header fields that were put on top of `sent`, which must be there to the last octet."""
    assert arrived.endswith(sent), _difference(arrived, sent)
    top = arrived[: len(arrived) - len(sent)]
    names = [match[1].decode() for match in _FIELD.finditer(top)]
    assert _FIELD.sub(b"", top) == b"", f"more than header fields on top: {top!r}"
    return names


def _difference(arrived: bytes, sent: bytes) -> str:
    """Where two mails part, seen from the end."""
    same = next((n for n, (a, b) in enumerate(zip(reversed(arrived), reversed(sent), strict=False)) if a != b), 0)
    return f"{same} octets from the end: {arrived[-same - 60 :][:80]!r} is not {sent[-same - 60 :][:80]!r}"

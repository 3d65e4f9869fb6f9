"""Converts a plugin's refusal to a reply: the code depends on the point; the text is made safe.

Pure; called by `policy_gate`. The table is that of docs/hooks.md.
"""

from __future__ import annotations

import re

from mailboat.hooks import Code, Decision, Point

_LINES = 20
_LINE_LENGTH = 480
"""Octets of text in a line: with codes and CRLF it stays within 512 (RFC 5321 4.5.3.1.5)."""
_UNPRINTABLE = re.compile(r"[^ -~]+")
_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?= )")

PERMANENT = frozenset({Code.DENY, Code.DENYDISCONNECT})
TEMPORARY = frozenset({Code.DENYSOFT, Code.DENYSOFTDISCONNECT})
REFUSALS = PERMANENT | TEMPORARY
DISCONNECTS = frozenset({Code.DENYDISCONNECT, Code.DENYSOFTDISCONNECT})

_DEFAULTS = {True: (b"550", "5.7.1", "Refused by policy"), False: (b"450", "4.7.1", "Refused by policy for now")}
_OF_POINT = {
    (Point.CONNECT, True): (b"554", "5.7.1", "No service for you here"),  # RFC 5321 3.1
    (Point.CONNECT, False): (b"421", "4.7.1", "No service for you now"),
    (Point.AUTH, True): (b"535", "5.7.8", "Authentication credentials invalid"),
    (Point.AUTH, False): (b"454", "4.7.0", "Temporary authentication failure"),
}


def denial(point: Point, decision: Decision) -> bytes:
    """The whole reply for a refusal."""
    permanent = decision.code in PERMANENT
    code, enhanced, text = _OF_POINT.get((point, permanent), _DEFAULTS[permanent])
    return _reply(code, enhanced, decision.text or text)


def accepted(code: bytes, enhanced: str, text: str) -> bytes:
    """A reply of success with a plugin's text."""
    return _reply(code, enhanced, text)


def _reply(code: bytes, enhanced: str, text: str) -> bytes:
    """One or more lines; an enhanced code in the text counts for all of them, if it is of the right class."""
    lines = [_UNPRINTABLE.sub("?", line.strip()) for line in re.split(r"[\r\n]+", text)]
    lines = [line for line in lines if line][:_LINES] or ["Refused"]
    match = _ENHANCED.match(lines[0])
    if match and match[1] == enhanced[0]:
        enhanced = match[0]
        lines[0] = lines[0][match.end() + 1 :].strip() or "Refused"
    last = len(lines) - 1
    return b"".join(
        b"%b%b%b %b\r\n" % (code, b" " if at == last else b"-", enhanced.encode(), line[:_LINE_LENGTH].encode())
        for at, line in enumerate(lines)
    )

"""What a message's header says that a relay must know, and the two fields that it may add (RFC 6409 8.1, 8.2).

On the path of every message: a few passes of compiled patterns, no work a line in Python, and the text is never
looked at. Knows octets only: no envelope, no settings, no I/O. Called by ingress at the end of DATA, by whatever
injects mail here, and by `dsn` for the message that is returned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SCAN_LIMIT = 262_144
"""Octets that `scan` looks at, so that a message that is all header costs milliseconds of the event loop, not more."""

_NAME = rb"[!-9;-~]++[ \t]*+:"
"""A field name up to its colon (RFC 5322 2.2), with the blanks before it that RFC 5322 4.5.8 still allows to read."""
_NAMED = re.compile(_NAME)
_END = re.compile(rb"\n(?![ \t]|" + _NAME + rb")")
"""The end of the line before the first one that is neither a field nor a continuation: mostly the blank line."""
_FIELD = re.compile(
    rb"\n(date|message-id|received|subject)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE,
)
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the header of one message holds."""

    has_date: bool
    has_message_id: bool
    """False also for an empty one or `<>`, which identifies nothing."""
    received_count: int
    """`Received` fields: hops so far (RFC 5321 6.3)."""
    header_end: int
    """Where the text or the blank line before it begins; -1 when the octets given end before the header does."""
    subject: bytes
    """Value of the first `Subject`, unfolded, encoded-words as they are; empty when there is none."""
    message_id: bytes
    """Value of the first `Message-ID` that is not empty, such as `<a@b>`."""


def scan(data: bytes, *, whole: bool = True) -> HeaderFacts:
    """Read the header at the front of `data`, a message with CRLF line ends.

    `whole` says that no more octets follow; otherwise a header that does not end in `data` is known to be cut
    (`header_end` is -1) and the facts are those of its visible part.
    """
    if len(data) > SCAN_LIMIT:
        data, whole = data[:SCAN_LIMIT], False
    end = _find_end(data, whole=whole)
    header = b"\n" + (data if end < 0 else data[:end])  # every field then begins behind a line feed
    has_date, received, subject, message_id = False, 0, b"", b""
    for name, value in _FIELD.findall(header):
        kind = name.lower()
        if kind == b"received":
            received += 1
        elif kind == b"date":
            has_date = has_date or bool(value.strip(_BLANKS))
        elif kind == b"message-id":
            message_id = message_id or _message_id(value)
        else:
            subject = subject or _unfold(value)
    return HeaderFacts(has_date, bool(message_id), received, end, subject, message_id)


def complete(data: bytes, facts: HeaderFacts, *, id: str, me: str, date: bytes) -> Sequence[bytes | memoryview]:  # noqa: A002
    """The first octets of a message with `Message-ID: <id@me>` and `Date` where they are missing, in parts to join.

    `data` is what `facts` were read from, whole or the first piece; large pieces are passed on as views, not
    copied. An empty field is replaced. A header that is cut is left alone: what is missing may be yet to come, and
    two of either break RFC 5322 3.6 while none of them breaks nobody.
    """
    added = b""
    if not facts.has_message_id:
        added = b"Message-ID: <%b@%b>\r\n" % (_token(id), _token(me))
    if not facts.has_date:
        added += b"Date: %b\r\n" % date
    end = facts.header_end
    if not added or end < 0:
        return (data,)
    head = _without(data[:end], _missing(facts))
    if head and not head.endswith(b"\n"):
        head += b"\r\n"
    if end < len(data) and data[end : end + 2] != b"\r\n" and data[end : end + 1] != b"\n":
        added += b"\r\n"  # the text begins at once: without a blank line it would become part of our field
    return (head, added, memoryview(data)[end:])


def without(data: bytes, facts: HeaderFacts, names: Sequence[bytes]) -> bytes:
    """`data` without its fields of these names, in lower case; `facts` are those of `data`, whose header is whole."""
    return _without(data[: facts.header_end], names) + data[facts.header_end :]


def _find_end(data: bytes, *, whole: bool) -> int:
    """Offset of the first line that is no header, -1 when undecided."""
    if not _NAMED.match(data):
        start = 0
    elif match := _END.search(data):
        start = match.start() + 1
    else:
        return len(data) if whole else -1
    return start if whole or data.find(b"\n", start) >= 0 else -1


def _message_id(value: bytes) -> bytes:
    identifier = value.translate(None, _BLANKS)
    return b"" if identifier == b"<>" else identifier


def _unfold(value: bytes) -> bytes:
    """Remove the line ends of folding (RFC 5322 2.2.3)."""
    return value.replace(b"\r", b"").replace(b"\n", b"").strip(b" \t")


def _missing(facts: HeaderFacts) -> Sequence[bytes]:
    """Names of the fields that are about to be added: empty ones of them give way."""
    return [name for name, has in ((b"message-id", facts.has_message_id), (b"date", facts.has_date)) if not has]


def _without(header: bytes, names: Sequence[bytes]) -> bytes:
    field = rb"^(?:" + b"|".join(names) + rb")[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+(?:\n|\Z)"
    return re.sub(field, b"", header, flags=re.IGNORECASE | re.MULTILINE)


def _token(text: str) -> bytes:
    """Text of our own that stands in a message identifier: never a blank, a bracket or a line end."""
    return re.sub(rb"[^!-;=?A-~]", b"", text.encode("ascii", "replace")) or b"unknown"

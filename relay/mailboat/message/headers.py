"""Reads the facts of a message's header that a relay needs, and adds two missing fields (RFC 6409 8.1, 8.2).

It runs for every message: a few passes of compiled patterns, no Python code for each line, and the body is never
read. Knows octets only: no envelope, no settings, no I/O. Called by ingress at the end of DATA, by whatever
injects mail here, and by `dsn` for the message that is returned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

SCAN_LIMIT = 262_144
"""Most octets that `scan` reads, so that a message that is all header costs only milliseconds of the event loop."""

_NAME = rb"[!-9;-~]++[ \t]*+:"
"""A field name up to its colon (RFC 5322 2.2), with the blanks before it that RFC 5322 4.5.8 still allows to read."""
_NAMED = re.compile(_NAME)
_MBOX_LINE = re.compile(rb">*From [^\n]*+\n(?=" + _NAME + rb")")
"""The separator of an mbox file (RFC 4155), as it is or quoted, in front of a field."""
_END = re.compile(rb"\n(?![ \t]|" + _NAME + rb")")
"""The end of the line before the first one that is neither a field nor a continuation."""
_FIELD = re.compile(
    rb"\n(date|message-id|received|subject|tls-required)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE,
)
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """Facts of one message's header."""

    has_date: bool
    has_message_id: bool
    """Also False for an empty one or `<>`, which identifies no message."""
    received_count: int
    """`Received` fields: hops so far (RFC 5321 6.3)."""
    header_end: int
    """Where the blank line behind the header begins, or the text where there is no such line; -1 when the octets given
    end before the header does."""
    subject: bytes = field(repr=False)
    """Value of the first `Subject`, unfolded, encoded-words as they are; empty when there is none."""
    message_id: bytes = field(repr=False)
    """Value of the first `Message-ID` that is not empty, such as `<a@b>`."""
    tls_required_no: bool = False
    """There is one `TLS-Required` field, and its value is `No`."""


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
    tls_required: list[str] = []
    for name, value in _FIELD.findall(header):
        kind = name.lower()
        if kind == b"received":
            received += 1
        elif kind == b"date":
            has_date = has_date or bool(value.strip(_BLANKS))
        elif kind == b"message-id":
            message_id = message_id or _message_id(value)
        elif kind == b"tls-required":
            tls_required.append(_unfold(value).decode("latin-1"))
        else:
            subject = subject or _unfold(value)
    is_no = bool(tls_required) and says_no(tls_required)
    return HeaderFacts(has_date, bool(message_id), received, end, subject, message_id, is_no)


def says_no(tls_required: Sequence[str]) -> bool:
    """Whether the values of all `TLS-Required` fields say that TLS is not required: exactly one `No` (RFC 8689 5)."""
    return [value.strip().lower() for value in tls_required] == ["no"]


def complete(data: bytes, facts: HeaderFacts, *, id: str, me: str, date: bytes) -> Sequence[bytes | memoryview]:  # noqa: A002
    """The first octets of a message with `Message-ID: <id@me>` and `Date` where they are missing, in parts to join.

    `data` is what `facts` were read from, whole or the first piece; large pieces are passed on as views, not
    copied. What is added goes to the top, so that a line in the header that is no field (`X-Mailer PHP`) is judged by
    each reader as it would be without us. An empty field is replaced. A header that is cut is left alone: what is
    missing may be yet to come, and two of either break RFC 5322 3.6 while none of them breaks nobody.
    """
    added = b""
    if not facts.has_message_id:
        added = b"Message-ID: <%b@%b>\r\n" % (_token(id), _token(me))
    if not facts.has_date:
        added += b"Date: %b\r\n" % date
    end = facts.header_end
    if not added or end < 0:
        return (data,)
    if end == 0 and data and not data.startswith((b"\r\n", b"\n")):
        added += b"\r\n"  # there is no header: without a blank line the text would be taken for one
    return (added, _without(data[:end], _missing(facts)), memoryview(data)[end:])


def separator_as_field(data: bytes) -> bytes:
    """`data` with an mbox separator in front of its header made a field: `X-Mailbox-Line`, as in Postfix."""
    return b"X-Mailbox-Line: " + data if _MBOX_LINE.match(data) else data


def without(data: bytes, facts: HeaderFacts, names: Sequence[bytes]) -> bytes:
    """`data` without its fields of these names, in lower case; `facts` are those of `data`, whose header is whole."""
    return _without(data[: facts.header_end], names) + data[facts.header_end :]


def value_of(header: bytes, name: bytes) -> bytes | None:
    """The value of the first field of this name, unfolded; None when there is none."""
    found = re.search(_field(name), header, re.IGNORECASE | re.MULTILINE)
    return None if found is None else _unfold(found[0].partition(b":")[2])


def _find_end(data: bytes, *, whole: bool) -> int:
    """The end of the header, -1 if undecided.

    Mostly a reader skips a line that is no field, so the header goes on to the blank line. Where the first line is
    none there is no header, and where no blank line follows, the text begins at the first line that is none.
    """
    if not _NAMED.match(data):
        return 0 if whole or b"\n" in data else -1
    blank = data.find(b"\n\r\n")
    bare = data.find(b"\n\n", 0, blank) if blank >= 0 else data.find(b"\n\n")
    if bare >= 0 or blank >= 0:
        return (bare if bare >= 0 else blank) + 1
    if not whole:
        return -1
    match = _END.search(data)
    return match.start() + 1 if match else len(data)


def _message_id(value: bytes) -> bytes:
    identifier = value.translate(None, _BLANKS)
    return b"" if identifier == b"<>" else identifier


def _unfold(value: bytes) -> bytes:
    """Remove the line ends of folding (RFC 5322 2.2.3)."""
    return value.replace(b"\r", b"").replace(b"\n", b"").strip(b" \t")


def _missing(facts: HeaderFacts) -> Sequence[bytes]:
    """Names of the fields to add: they replace empty ones."""
    return [name for name, has in ((b"message-id", facts.has_message_id), (b"date", facts.has_date)) if not has]


def _without(header: bytes, names: Sequence[bytes]) -> bytes:
    return re.sub(_field(*names), b"", header, flags=re.IGNORECASE | re.MULTILINE)


def _field(*names: bytes) -> bytes:
    """A pattern of whole fields of these names, line ends included."""
    return rb"^(?:" + b"|".join(map(re.escape, names)) + rb")[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+(?:\n|\Z)"


def _token(text: str) -> bytes:
    """Text for a message identifier: without blanks, brackets and line ends."""
    return re.sub(rb"[^!-;=?A-~]", b"", text.encode("ascii", "replace")) or b"unknown"

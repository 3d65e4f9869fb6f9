"""Trace fields: where a message came from, and when (RFC 5321 4.4).

Text from a client or a resolver is sanitized here: it can neither end the line, nor open a comment, nor grow
without bound. Knows no session and no clock; time is an argument. Called by ingress at the end of DATA and
by whatever injects mail here.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import idna

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_UNSAFE = re.compile(r"[^A-Za-z0-9._:\[\]+=/-]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TEXT_LIMIT = 255
"""Octets of the longest domain (RFC 5321 4.5.3.1.2), and enough for anything else that stands in one line here."""
_PATH_LIMIT = 640
"""Octets of the longest address that is worth a `for` clause: twice what RFC 5321 4.5.3.1.3 asks for."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The submitting connection, the same for all its messages."""

    ehlo: str
    """The name that the client gave in EHLO, HELO or LHLO; not trusted."""
    ip: str
    """Its numeric address; empty for a unix socket or mail made here."""
    rdns: str = ""
    """The name of that address, if it was looked up; not trusted either."""
    extended: bool = True
    """The client said EHLO, not HELO."""
    authenticated: bool = False
    tls_version: str = ""
    """`TLSv1.3` and the like; empty without TLS."""
    tls_cipher: str = ""


@lru_cache(maxsize=256)
def protocol(*, extended: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """The word after `with`: `ESMTP`, `ESMTPSA`, … (RFC 3848), `UTF8SMTP`, … (RFC 6531 4.3), or `SMTP`."""
    if not extended:
        return "SMTP"
    word = "UTF8SMTP" if smtputf8 else "ESMTP"
    return f"{word}{'S' if tls else ''}{'A' if authenticated else ''}"


def client_trace(
    origin: Origin,
    *,
    me: str,
    id: str,  # noqa: A002 - the field's word
    date: bytes,
    recipient: str = "",
    smtputf8: bool = False,
) -> bytes:
    """The `Received` field for a message from a client, line end included.

    `recipient` is the only recipient's address, or empty: with several, a `for` clause would disclose one to the
    others (RFC 5321 7.2). `date` comes from `rfc5322_date`. The field is ASCII, names as A-labels, so that it makes no
    message need SMTPUTF8 by itself; but for a `recipient` whose local part is not: that one needs it anyway.
    """
    for_clause = b""
    if recipient and (smtputf8 or recipient.isascii()) and not _CONTROLS.search(recipient):
        path = recipient.encode()
        for_clause = b"\r\n\tfor <%b>" % path if len(path) <= _PATH_LIMIT else b""
    return b"%b\r\n\tid %b%b; %b\r\n" % (
        _opening(origin, me, smtputf8),
        id.encode("ascii", "replace"),
        for_clause,
        date,
    )


def outbound_trace(text: str, date: bytes) -> bytes:
    """The `Received` field of `outbound.ini` `received_header`, line end included; empty for `disabled` or no text."""
    comment = _comment(text)
    return b"Received: (%b); %b\r\n" % (comment, date) if comment else b""


def rfc5322_date(now: float) -> bytes:
    """`now`, seconds since the epoch, as the date-time of a header field (RFC 5322 3.3), in UTC."""
    return _date(int(now))


@lru_cache(maxsize=8)
def _date(second: int) -> bytes:
    when = datetime.fromtimestamp(second, UTC)
    text = f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year:04} {when:%H:%M:%S} +0000"
    return text.encode("ascii")


@lru_cache(maxsize=8)
def _comment(text: str) -> bytes:
    text = _CONTROLS.sub(" ", text).strip()[:_TEXT_LIMIT]
    if text == "disabled":
        return b""
    return re.sub(r"[()\\]", r"\\\g<0>", text).encode("ascii", "replace")  # RFC 5322 3.2.1: quoted-pair


@lru_cache(maxsize=1024)
def _opening(origin: Origin, me: str, smtputf8: bool) -> bytes:
    """The field up to its `id`, which all messages of a connection share."""
    with_protocol = protocol(
        extended=origin.extended,
        tls=bool(origin.tls_version),
        authenticated=origin.authenticated,
        smtputf8=smtputf8,
    )
    lines = [f"Received: from {_name(origin.ehlo) or 'unknown'}{_tcp_info(origin)}"]
    lines.append(f"by {_name(me) or 'unknown'} (Mailboat) with {with_protocol}")
    if origin.tls_version:
        lines.append(f"({_word(origin.tls_version)} {_word(origin.tls_cipher) or 'unknown'})")
    return "\r\n\t".join(lines).encode()


def _tcp_info(origin: Origin) -> str:
    """The comment with what we know ourselves of the client: RFC 5321 4.4 `TCP-info`."""
    if not origin.ip:
        return ""
    address = _word(origin.ip)
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"  # RFC 5321 4.1.3
    name = _name(origin.rdns)
    return f" ({name} {literal})" if name else f" ({literal})"


def _name(text: str) -> str:
    """A host's name as A-labels (RFC 5891), where it is one."""
    if not text.isascii():
        with contextlib.suppress(idna.IDNAError):
            text = idna.encode(text[:_TEXT_LIMIT], uts46=True).decode("ascii")
    return _word(text)


def _word(text: str) -> str:
    """Foreign text as one word that needs no quoting: no blank, bracket of a comment, control or line end."""
    return _UNSAFE.sub("?", text[:_TEXT_LIMIT])

"""The states of a server's session, and the table that says what leads from one to the next (RFC 5321 4.1.4).

`smtp.session` moves by this table and in no other way; docs/smtp-session.md is written from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum, auto


class SessionState(IntEnum):
    """Where the session stands; the table below says which commands it allows."""

    NEW = auto()
    """No EHLO yet (or none since STARTTLS)."""
    READY = auto()
    MAIL = auto()
    """A sender, no recipient yet."""
    RCPT = auto()
    DATA = auto()
    """Octets of a message."""
    AUTH = auto()
    """A challenge was given: the next line is no command."""
    CLOSING = auto()
    """Nothing that comes is read: QUIT, or a refused end of data."""


class Trigger(StrEnum):
    """What may change the state; the value is what the picture calls it."""

    HELLO = "EHLO or HELO accepted"
    MAIL = "MAIL accepted"
    RCPT = "RCPT accepted"
    DATA = "DATA accepted"
    AUTH = "AUTH decided"
    STARTTLS = "STARTTLS accepted"
    RESET = "RSET, EHLO or HELO"
    """An EHLO in mid-transaction is a RSET, before it is known whether it is accepted."""
    REMARK = "NOOP, HELP, VRFY or EXPN"
    QUIT = "QUIT"
    END_OF_DATA = "end of data"
    FALSE_END = "bare newline in the end of data"
    """What follows it may be a smuggled message: it is not read."""
    CHALLENGE = "334"
    RESPONSE = "answer to 334"
    TLS = "inside TLS"
    CLOSE = "421"


_READY = dict.fromkeys((SessionState.READY, SessionState.MAIL, SessionState.RCPT), SessionState.READY)
_SAME = {state: state for state in (SessionState.NEW, *_READY)}

NEXT: Mapping[Trigger, Mapping[SessionState, SessionState]] = {
    Trigger.HELLO: {SessionState.NEW: SessionState.READY, **_READY},
    Trigger.MAIL: {SessionState.READY: SessionState.MAIL},
    Trigger.RCPT: {SessionState.MAIL: SessionState.RCPT, SessionState.RCPT: SessionState.RCPT},
    Trigger.DATA: {SessionState.RCPT: SessionState.DATA},
    Trigger.AUTH: {SessionState.READY: SessionState.READY},
    Trigger.STARTTLS: {SessionState.READY: SessionState.READY},
    Trigger.RESET: {SessionState.NEW: SessionState.NEW, **_READY},
    Trigger.REMARK: _SAME,
    Trigger.QUIT: dict.fromkeys(_SAME, SessionState.CLOSING),
    Trigger.END_OF_DATA: {SessionState.DATA: SessionState.READY},
    Trigger.FALSE_END: {SessionState.READY: SessionState.CLOSING},
    Trigger.CHALLENGE: {SessionState.READY: SessionState.AUTH},
    Trigger.RESPONSE: {SessionState.AUTH: SessionState.READY},
    # From NEW where TLS begins with the first octet; a session that was closed in the handshake stays so.
    Trigger.TLS: {
        SessionState.NEW: SessionState.NEW,
        SessionState.READY: SessionState.NEW,
        SessionState.CLOSING: SessionState.CLOSING,
    },
    Trigger.CLOSE: dict.fromkeys(SessionState, SessionState.CLOSING),
}
"""By trigger, the states in which it may be taken, each with the state after it."""

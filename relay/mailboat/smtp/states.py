"""The states of a server's session, and the table of transitions (RFC 5321 4.1.4).

`smtp.session` changes its state by this table only; docs/smtp-session.md is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum, auto


class SessionState(IntEnum):
    """The state of a session; the table below has the commands that it allows."""

    NEW = auto()
    """No EHLO yet (or none since STARTTLS)."""
    READY = auto()
    MAIL = auto()
    """A sender, no recipient yet."""
    RCPT = auto()
    DATA = auto()
    """Octets of a message."""
    AUTH = auto()
    """A challenge was sent: the next line is not a command."""
    CLOSING = auto()
    """No input is read: after QUIT, or a refused end of data."""


class Trigger(StrEnum):
    """Causes of state changes; the value is the label in the picture."""

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
    """Octets after it may be a smuggled message: they are not read."""
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

"""The states of a server's session, and the table that says what leads from one to the next (RFC 5321 4.1.4).

`smtp.session` moves by this table and in no other way; docs/smtp-session.md is written from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum, auto


class State(IntEnum):
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
    DEAF = auto()
    """Nothing that comes is read: QUIT, or a refused end of data."""


class Step(StrEnum):
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


_READY = dict.fromkeys((State.READY, State.MAIL, State.RCPT), State.READY)
_SAME = {state: state for state in (State.NEW, *_READY)}

NEXT: Mapping[Step, Mapping[State, State]] = {
    Step.HELLO: {State.NEW: State.READY, **_READY},
    Step.MAIL: {State.READY: State.MAIL},
    Step.RCPT: {State.MAIL: State.RCPT, State.RCPT: State.RCPT},
    Step.DATA: {State.RCPT: State.DATA},
    Step.AUTH: {State.READY: State.READY},
    Step.STARTTLS: {State.READY: State.READY},
    Step.RESET: {State.NEW: State.NEW, **_READY},
    Step.REMARK: _SAME,
    Step.QUIT: dict.fromkeys(_SAME, State.DEAF),
    Step.END_OF_DATA: {State.DATA: State.READY},
    Step.FALSE_END: {State.READY: State.DEAF},
    Step.CHALLENGE: {State.READY: State.AUTH},
    Step.RESPONSE: {State.AUTH: State.READY},
    # From NEW where TLS begins with the first octet; a session that was closed in the handshake stays so.
    Step.TLS: {State.NEW: State.NEW, State.READY: State.NEW, State.DEAF: State.DEAF},
    Step.CLOSE: dict.fromkeys(State, State.DEAF),
}
"""By step, the states in which it may be taken, each with the state after it."""

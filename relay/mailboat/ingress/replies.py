"""The replies of ingress with their enhanced status codes (RFC 3463, RFC 5321 4.2)."""

from __future__ import annotations

import errno

from mailboat.ingress.admission import Refusal
from mailboat.message.prepare import HeaderTooLongError, NulError, TooManyHopsError, UnfitError
from mailboat.model.observer import RejectReason
from mailboat.queue.store import StorageFull
from mailboat.smtp.data import DataFault

SENDER_OK = b"250 2.1.0 Sender OK\r\n"
RECIPIENT_OK = b"250 2.1.5 Recipient OK\r\n"
GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
START_TLS = b"220 2.0.0 Ready to start TLS\r\n"
NO_TLS = b"454 4.7.0 TLS is not available now\r\n"

AUTHENTICATED = b"235 2.7.0 Authentication successful\r\n"
AUTH_FAILED = b"535 5.7.8 Authentication credentials invalid\r\n"
AUTH_UNDECIDED = b"454 4.7.0 Temporary authentication failure\r\n"
AUTH_HELD_BACK = b"454 4.7.0 Too many failed authentications, try again later\r\n"
TOO_MANY_AUTH_FAILURES = b"421 4.7.0 Too many failed authentications\r\n"
AUTH_REQUIRED = b"530 5.7.0 Authentication required\r\n"

SENDER_DENIED = b"553 5.7.1 Your network may not send as this address\r\n"
RELAY_DENIED = b"550 5.7.1 Relaying denied\r\n"
TOO_MANY_RECIPIENTS = b"452 4.5.3 Too many recipients\r\n"
TOO_BIG = b"552 5.3.4 Message is larger than this server takes\r\n"
TOO_MANY_ERRORS = b"421 4.7.0 Too many errors\r\n"
IDLE_TOO_LONG = b"421 4.4.2 Timeout: too slow, closing connection\r\n"
DECIDED_TOO_LONG = b"421 4.3.2 Policy takes too long, closing connection\r\n"
TLS_REPLACED = b"421 4.3.2 TLS settings have changed, connect again\r\n"
MADE_ROOM = b"421 4.3.2 Too many connections: this one did nothing\r\n"
SHUTTING_DOWN = b"421 4.3.2 Shutting down, try again\r\n"

STORAGE_FULL = b"452 4.3.1 Out of storage, try again later\r\n"
STORAGE_FAULT = b"451 4.3.0 Storage fault, try again later\r\n"

DATA_FAULTS: dict[DataFault, tuple[bytes, RejectReason]] = {
    DataFault.BARE_NEWLINE: (
        b"550 5.6.0 Message holds a CR or LF alone; the server takes it with bare_newline=normalize\r\n",
        RejectReason.BARE_NEWLINE,
    ),
    DataFault.FALSE_END: (
        b"550 5.6.0 Bare newline in the end of data, closing; the server takes it with bare_newline=normalize\r\n",
        RejectReason.BARE_NEWLINE,
    ),
    DataFault.LINE_TOO_LONG: (b"550 5.6.0 Message holds a line that is too long\r\n", RejectReason.LINE_TOO_LONG),
}

UNFIT: dict[type[UnfitError], tuple[bytes, RejectReason]] = {
    TooManyHopsError: (b"554 5.4.6 Too many Received headers: possible mail loop\r\n", RejectReason.LOOP),
    HeaderTooLongError: (b"552 5.3.4 Header is longer than this server takes\r\n", RejectReason.TOO_BIG),
    NulError: (b"550 5.6.0 Message holds a NUL octet\r\n", RejectReason.NUL),
}

REFUSALS: dict[Refusal, tuple[bytes, RejectReason]] = {
    Refusal.TOO_MANY_CONNECTIONS: (b"421 4.3.2 Too many connections\r\n", RejectReason.TOO_MANY_CONNECTIONS),
    Refusal.TOO_MANY_FROM_CLIENT: (
        b"421 4.7.0 Too many connections from your address\r\n",
        RejectReason.TOO_MANY_CONNECTIONS,
    ),
    Refusal.DRAINING: (SHUTTING_DOWN, RejectReason.SHUTDOWN),
    Refusal.OVERLOAD: (b"451 4.3.2 Overloaded, try again later\r\n", RejectReason.OVERLOAD),
    Refusal.MEMORY_FULL: (b"421 4.3.2 Short of memory, try again later\r\n", RejectReason.OVERLOAD),
    Refusal.STORAGE_FULL: (STORAGE_FULL, RejectReason.STORAGE),
    Refusal.STORAGE_FAULT: (STORAGE_FAULT, RejectReason.STORAGE),
}


def queued(id: str) -> bytes:  # noqa: A002 - the field's word
    """The reply that accepts the message: only after its commit."""
    return b"250 2.0.0 Message Queued (%b)\r\n" % id.encode()


def storage_reply(error: BaseException) -> bytes:
    """A storage fault is temporary and not the client's: 452 when full, else 451."""
    full = isinstance(error, StorageFull) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    )
    return STORAGE_FULL if full else STORAGE_FAULT

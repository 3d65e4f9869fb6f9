"""What came of an attempt, recipient by recipient. Only `delivery.verdict` makes these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailboat.model.reply import Reply


class Stage(StrEnum):
    """How far an attempt had come; each has its RFC 5321 4.5.3.2 timeout where it talks to a peer."""

    HOOK = "hook"
    ROUTE = "route"
    BIND = "bind"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"


class Result(StrEnum):
    """The end of one recipient's attempt; also the label values of `mailboat_deliveries_total`."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    DROPPED = "dropped"
    """Failed, and no bounce is sent: a null sender, or a plugin said so."""


class ReportAction(StrEnum):
    """What a report to the sender says of a recipient (RFC 3464 2.3.3)."""

    FAILED = "failed"
    RELAYED = "relayed"
    """Handed to a host that does not report to senders (RFC 3461 5.2.2)."""
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one recipient of an entry."""

    recipient: int
    """`Recipient.id`."""
    result: Result
    status: str
    """Enhanced status code (RFC 3463), always present, such as `2.0.0` or `5.1.1`."""
    stage: Stage
    reason: str
    """For people: the remote's reply, or what went wrong here. One line."""
    reply: Reply | None = None
    """The remote's reply, when there was one: becomes `Diagnostic-Code` (RFC 3464 2.3.6)."""
    mx: str = ""
    """Name of the host that replied or was tried last."""
    ambiguous: bool = False
    """The final dot was sent and no reply came: the peer may have the message (RFC 5321 4.5.3.2.6)."""
    expired: bool = False
    """Bounced because a deferral was one too many."""


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """The connection that an attempt ended on, for logs, hooks and metrics."""

    host: str = ""
    ip: str = ""
    port: int = 0
    source: str = ""
    """Our address on that connection."""
    protocol: str = "SMTP"
    """`SMTP` or `LMTP`."""
    tls_version: str = ""
    """`TLSv1.3` and the like; empty without TLS."""
    tls_cipher: str = ""
    tls_verified: bool = False
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt on one entry, complete, for transition, hooks and observers."""

    outcomes: tuple[Outcome, ...]
    """One a recipient of the entry, in the entry's order."""
    peer: PeerFacts | None
    """None when no connection was made."""
    started_at: float
    duration: float
    """Seconds."""
    retry_after: float | None = None
    """Seconds to wait before the next attempt where a plugin or the remote's silence decides it, else by schedule."""
    counted: bool = True
    """False when this was no attempt (a plugin delayed it, or it is `excused`): `attempts` stays."""
    passed_on: frozenset[int] = frozenset()
    """Who has it from a host that reports to the sender itself, as the sender asked (RFC 3461 5.2.1)."""
    excused: bool = False
    """Not counted because it says nothing of what the mail can expect; but mail older than its retry plan fails."""

"""The outcomes of an attempt, recipient by recipient. Only `delivery.verdict` makes these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailboat.model.reply import Reply
from mailboat.model.tls import PolicySource, TlsDemand, VerifiedBy


class Stage(StrEnum):
    """The stage that an attempt reached; each stage of a dialogue has its timeout of RFC 5321 4.5.3.2."""

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
    """Failed, and no bounce is sent: because of a null sender, a plugin or NOTIFY."""


class ReportAction(StrEnum):
    """The action for a recipient in a report to the sender (RFC 3464 2.3.3)."""

    FAILED = "failed"
    RELAYED = "relayed"
    """Handed to a host that does not report to senders (RFC 3461 5.2.2)."""
    DELIVERED = "delivered"
    DELAYED = "delayed"
    """Not delivered so far; attempts go on (RFC 3461 4.1)."""


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
    """For people: the reply of the peer, or the local fault. One line."""
    reply: Reply | None = None
    """The reply of the peer, if there was one: becomes `Diagnostic-Code` (RFC 3464 2.3.6)."""
    mx: str = ""
    """Name of the host that replied or was tried last."""
    ambiguous: bool = False
    """The final dot was sent and no reply came: the peer may have the message (RFC 5321 4.5.3.2.6)."""
    expired: bool = False
    """Bounced because the retries are exhausted."""


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
    tls_verified_by: VerifiedBy = VerifiedBy.NONE
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """A complete attempt on one entry, for transition, hooks and observers."""

    outcomes: tuple[Outcome, ...]
    """One a recipient of the entry, in the entry's order."""
    peer: PeerFacts | None
    """None when no connection was made."""
    started_at: float
    duration: float
    """Seconds."""
    retry_after: float | None = None
    """Seconds until the next attempt, if a plugin or the back-off of a host decides it; None: by the retry plan."""
    counted: bool = True
    """False if this was no attempt (a plugin delayed it, or it is `excused`): `attempts` does not change."""
    passed_on: frozenset[int] = frozenset()
    """Recipients accepted by a host that sends the reports that the sender asked for (RFC 3461 5.2.1)."""
    tls_policy: PolicySource = PolicySource.NONE
    """Who decided how much TLS the last target must have."""
    tls_demand: TlsDemand = TlsDemand.CLEAR
    """How much that was."""
    tls_failures: tuple[PolicySource, ...] = ()
    """The same for each target that lacks the TLS demanded of it."""
    excused: bool = False
    """Not counted because it says nothing about the mail; but mail older than its retry plan fails."""
    held_by: str = ""
    """What did not let it be attempted, such as `rule NAME`; empty: nothing."""

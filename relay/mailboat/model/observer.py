"""Facts of the relay, and the one interface that they are reported to. Metrics and the event log are two observers.

Each fact is reported once, on the event loop, after it has become true. An observer never raises, never blocks and
never awaits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from mailboat.model.envelope import Entry, Message, SignedBy
from mailboat.model.outcome import AttemptReport, ReportAction


class RejectReason(StrEnum):
    """Why ingress refused: the closed set of the label `reason` of `mailboat_rejected_total`."""

    SYNTAX = "syntax"
    SEQUENCE = "sequence"
    RELAY_DENIED = "relay_denied"
    SENDER_DENIED = "sender_denied"
    BAD_ADDRESS = "bad_address"
    TOO_MANY_RECIPIENTS = "too_many_recipients"
    TOO_MANY_ERRORS = "too_many_errors"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_BIG = "too_big"
    BARE_NEWLINE = "bare_newline"
    NUL = "nul"
    LINE_TOO_LONG = "line_too_long"
    LOOP = "loop"
    STORAGE = "storage"
    OVERLOAD = "overload"
    AUTH = "auth"
    AUTH_BACKOFF = "auth_backoff"
    TLS = "tls"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    HOOK = "hook"


class DnsResult(StrEnum):
    """How a DNS query ended: the label of `mailboat_dns_queries_total`."""

    ANSWER = "answer"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    TIMEOUT = "timeout"
    INVALID = "invalid"
    CACHED = "cached"


class TokenResult(StrEnum):
    """The result of a request for an access token: the label of `mailboat_oauth_token_requests_total`."""

    OK = "ok"
    REFUSED = "refused"
    """The token server refused."""
    FAILED = "failed"
    """No answer, or an unusable one."""


class StsResult(StrEnum):
    """How a fetch of an MTA-STS policy ended: the label of `mailboat_sts_fetches_total`.

    The failures are the policy failures of RFC 8460 4.3.2.2.
    """

    OK = "ok"
    FETCH_ERROR = "fetch_error"
    """No connection, no answer in time, or one that is no policy."""
    POLICY_INVALID = "policy_invalid"
    WEBPKI_INVALID = "webpki_invalid"
    """The certificate of the policy host."""


class TlsReportResult(StrEnum):
    """What became of a report on TLS to one address: the label of `mailboat_tlsrpt_reports_total`."""

    QUEUED = "queued"
    """As mail."""
    POSTED = "posted"
    """By HTTPS."""
    FAILED = "failed"
    """It is refused, or was offered in vain for a day."""


class BounceResult(StrEnum):
    """The result for a bounce: the label of `mailboat_bounce_messages_total`."""

    QUEUED = "queued"
    SUPPRESSED = "suppressed"


class HookFailure(StrEnum):
    """How a plugin failed: the label `reason` of `mailboat_hook_failures_total`."""

    RAISED = "raised"
    TIMEOUT = "timeout"
    INVALID_ANSWER = "nonsense"


class DkimResult(StrEnum):
    """The result of signing a message. The values are those of the metric."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    """There is no key for it."""
    ERROR = "error"
    """There is a key, which could not be used."""


@dataclass(frozen=True, slots=True)
class OverrideFact:
    """A rule from replies has put something into force, or that is over."""

    id: str
    scope: str
    """The section whose mail it is about, and which part of it."""
    source: str
    """Mail from which source; `*`: from any."""
    action: str
    why: str
    """What began it: `rule NAME`."""
    matches: int
    """How many replies it took."""
    reply: str
    """The last of them."""
    until: float
    """Seconds since the epoch."""
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A message was answered 250."""

    message: Message
    recipients: Sequence[str]
    client: str
    """Address of the client; empty for mail that the relay or a plugin made."""
    protocol: str
    """`ESMTP`, `ESMTPS`, `ESMTPSA`, `SMTP`, … (RFC 3848)."""
    user: str = ""
    """The authenticated user; empty without AUTH."""
    signed_by: Sequence[SignedBy] = ()
    """The DKIM signatures that the relay added."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command or message was refused."""

    reason: RejectReason
    client: str
    reply: str
    """The reply as sent, one line."""
    sender: str = ""
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """A configuration was applied (`error` empty) or refused."""

    hash: str
    error: str = ""


class Observer:
    """Receives every fact. The methods here do nothing; an observer overrides those that it needs."""

    def received(self, fact: Received) -> None:
        """A message was answered 250."""

    def rejected(self, fact: Rejected) -> None:
        """Ingress refused something."""

    def nul_found(self, action: str) -> None:
        """A message contained NUL octets; `action` is the value of `nul` in `smtp.ini`."""

    def dkim_judged(self, result: DkimResult, algorithm: str = "none") -> None:
        """A message was signed with a key of this algorithm, or not signed."""

    def attempt_started(self, entry: Entry) -> None:
        """Delivery of an entry begins."""

    def held_by_limit(self, entry: Entry, cause: str, until: float | None) -> None:
        """A due entry waits because of a limit; once for an entry and cause.

        `until` is when the limit may allow it, in seconds since the epoch; None: when a connection is closed.
        """

    def overridden(self, fact: OverrideFact) -> None:
        """A rule from replies acts, or does so no longer; once for all workers."""

    def attempted(self, entry: Entry, report: AttemptReport, remaining: Entry | None, delay: float | None) -> None:
        """An attempt is over and recorded.

        `entry` is the state before, `remaining` the state after, `delay` the seconds until the next attempt.
        """

    def bounce_message(self, entry: Entry, result: BounceResult) -> None:
        """A bounce was queued, or suppressed (null sender, or by a plugin)."""

    def dsn_queued(self, action: ReportAction) -> None:
        """A report to a sender was queued, with this action for a recipient."""

    def committed(self, duration: float, messages: int) -> None:
        """A group commit took `duration` seconds and held `messages` accepted messages."""

    def sts_fetched(self, result: StsResult) -> None:
        """A fetch of an MTA-STS policy is over."""

    def tls_reported(self, result: TlsReportResult) -> None:
        """A report on TLS was sent, or will not be."""

    def dns_query(self, result: DnsResult) -> None:
        """A look-up ended."""

    def bind_failed(self, source: str) -> None:
        """The source address of this pod is not on this machine."""

    def inbound_connections(self, change: int) -> None:
        """A client connected (+1) or disconnected (-1)."""

    def outbound_connections(self, change: int) -> None:
        """A connection to a next hop was opened (+1) or closed (-1)."""

    def authentication_failed(self, host: str, reply: str) -> None:
        """A next hop refused our credentials."""

    def token_requested(self, result: TokenResult) -> None:
        """A token server was asked for an access token."""

    def config_reloaded(self, fact: ConfigReloaded) -> None:
        """The configuration changed, or a change was refused."""

    def hook_failed(self, point: str, plugin: str, reason: HookFailure) -> None:
        """A plugin raised, took too long or gave an invalid answer at a hook point."""


class Observers(Observer):
    """Tells each fact, in order, to those of several observers that override its method."""

    def __init__(self, *observers: Observer) -> None:
        for fact, ignored in vars(Observer).items():
            if not fact.startswith("_"):
                told = [getattr(observer, fact) for observer in observers]
                told = [tell for tell in told if getattr(tell, "__func__", None) is not ignored]
                setattr(self, fact, told[0] if len(told) == 1 else partial(_tell, told))


def _tell(told: Sequence[Callable[..., None]], *fact: object, **named: object) -> None:
    for tell in told:
        tell(*fact, **named)

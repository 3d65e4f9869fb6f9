"""Decides what the TLS of a host leads to, under the requirement of its target. Pure; `verdict` has all the rest.

The table has a row for what a host does and a column for what is demanded. `delivery.client` looks up what to do with
the connection; the status of a failure is that of its `FaultKind`, or with REQUIRETLS that of `_PERMANENT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, StrEnum, auto

from mailboat.config.settings import TlsLevel
from mailboat.delivery import verdict
from mailboat.delivery.verdict import FaultKind, Trouble
from mailboat.model.envelope import Recipient
from mailboat.model.outcome import Outcome, Result, Stage
from mailboat.model.tls import PolicySource, TlsDemand
from mailboat.routing.answers import TlsRequirement


class HostTls(StrEnum):
    """What a host does about TLS."""

    NOT_OFFERED = "no STARTTLS"
    REFUSED = "STARTTLS is refused"
    BROKEN = "the handshake fails"
    UNVERIFIED = "the certificate is not valid for the name"
    VERIFIED = "the certificate is valid for the name"
    MATCHED = "the certificate matches a TLSA record"
    MISMATCHED = "the certificate matches no TLSA record"
    INJECTED = "octets behind the reply to STARTTLS"


class TlsStep(Enum):
    """What to do with the connection."""

    GO_ON = auto()
    CLEAR = auto()
    """Go on in plaintext on the same connection."""
    RECONNECT = auto()
    """Connect again without STARTTLS, and remember that."""
    NEXT = auto()
    """Send nothing more; try the next host."""


_GO_ON, _CLEAR, _RECONNECT, _NEXT = TlsStep
_TABLE: dict[HostTls, tuple[TlsStep, ...]] = {
    #                     disabled, opportunistic, encrypt, PKIX, DANE
    HostTls.NOT_OFFERED: (_GO_ON, _GO_ON, _NEXT, _NEXT, _NEXT),
    HostTls.REFUSED: (_GO_ON, _CLEAR, _NEXT, _NEXT, _NEXT),
    HostTls.BROKEN: (_GO_ON, _RECONNECT, _NEXT, _NEXT, _NEXT),
    HostTls.UNVERIFIED: (_GO_ON, _GO_ON, _GO_ON, _NEXT, _NEXT),
    HostTls.VERIFIED: (_GO_ON, _GO_ON, _GO_ON, _GO_ON, _NEXT),
    HostTls.MATCHED: (_GO_ON, _GO_ON, _GO_ON, _NEXT, _GO_ON),
    HostTls.MISMATCHED: (_GO_ON, _GO_ON, _GO_ON, _NEXT, _NEXT),
    HostTls.INJECTED: (_NEXT, _NEXT, _NEXT, _NEXT, _NEXT),
}


def tls_step(tls: TlsRequirement, host: HostTls, *, has_secret: bool = False) -> TlsStep:
    """What to do with a connection to a host that does this.

    RFC 7435 3: opportunistic TLS prefers plaintext to no delivery, but an attacker who breaks it must not obtain a
    password (`has_secret`), or mail for a peer whose certificate must be valid, in plaintext.
    """
    step = _TABLE[host][_column(tls)]
    guarded = has_secret and step in (TlsStep.CLEAR, TlsStep.RECONNECT)
    unverified = tls.verify and not tls.tlsa and host in (HostTls.UNVERIFIED, HostTls.MISMATCHED)
    return TlsStep.NEXT if guarded or (unverified and tls.level is not TlsLevel.DISABLED) else step


def _column(tls: TlsRequirement) -> int:
    if tls.level in (TlsLevel.DISABLED, TlsLevel.OPPORTUNISTIC):
        return int(tls.level is TlsLevel.OPPORTUNISTIC)
    if tls.tlsa:
        return 4
    return 3 if tls.verifies else 2


_TLS_STAGES = frozenset({Stage.STARTTLS, Stage.TLS})
_WORDS = {TlsDemand.ENCRYPT: "TLS", TlsDemand.VERIFY: "verified TLS"}


def refusal(tls: TlsRequirement) -> Trouble:
    """Why a target is not connected to."""
    by_policy = tls.policy in (PolicySource.DANE, PolicySource.STS) or tls.dane_failure is not None
    return Trouble(Stage.TLS, FaultKind.POLICY if by_policy else FaultKind.NO_TLS, tls.refusal)


def is_about_tls(trouble: Trouble, tls: TlsRequirement) -> bool:
    """Whether the TLS that is demanded of a target was not to be had."""
    return trouble.stage in _TLS_STAGES and tls.demand is not TlsDemand.CLEAR


def with_demand(trouble: Trouble, tls: TlsRequirement) -> Trouble:
    """A trouble about TLS, with what was demanded and by whom."""
    if tls.refusal or tls.reason in str(trouble):
        return trouble
    return replace(trouble, demanded=f" ({demanded(tls)})")


def demanded(tls: TlsRequirement) -> str:
    """What is demanded of a target, and by whom. Not of one that need not have TLS."""
    return f"{_WORDS[tls.demand]} is demanded: {tls.reason}"


# RFC 8689 4.2.1 and 6: with REQUIRETLS, a host without what it needs is a permanent failure, if there is no other.
_PERMANENT = {FaultKind.NO_TLS: "5.7.10", FaultKind.TLS: "5.7.10", FaultKind.TLSA: "5.7.10"}


def is_conclusive(trouble: Trouble) -> bool:
    """Whether a host will not be able to take mail with REQUIRETLS, or any mail from us."""
    return _permanent_status(trouble) != "" or verdict.is_conclusive(trouble)


def exhausted(recipients: Sequence[Recipient], troubles: Sequence[tuple[str, str, Trouble]]) -> list[Outcome]:
    """As `verdict.exhausted`, for mail with REQUIRETLS all of whose hosts were tried."""
    outcomes = verdict.exhausted(recipients, troubles)
    if not troubles or not all(is_conclusive(trouble) for _, _, trouble in troubles):
        return outcomes
    status = _permanent_status(troubles[-1][2])
    if not status:
        return outcomes
    return [replace(outcome, result=Result.BOUNCED, status=status) for outcome in outcomes]


def _permanent_status(trouble: Trouble) -> str:
    if trouble.kind is not None:
        return _PERMANENT.get(trouble.kind, "")
    if trouble.stage is not Stage.STARTTLS or trouble.reply is None:
        return ""
    # With 421 the host closes the connection, for whatever reason.
    closing = verdict.class_of(trouble.reply) is verdict.ReplyClass.CLOSING
    return "" if closing else _PERMANENT[FaultKind.NO_TLS]

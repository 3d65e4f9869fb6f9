"""Decides what a failure means; the only file that does. Pure.

The input is a `Transcript` of the replies of a peer, or a `Trouble` before the dialogue; the result is an outcome for
each recipient, or that the next target should be tried. The tables below are the policy; the functions only look it up.
`delivery.session` and `delivery.client` report facts, `delivery.attempt` tries the targets and calls this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from mailboat.model.envelope import Recipient
from mailboat.model.outcome import Outcome, Result, Stage
from mailboat.model.reply import Reply
from mailboat.smtp.extensions import Misfit


class FaultKind(StrEnum):
    """Failures without a reply."""

    CONNECT = "connect"
    """No connection: refused, or unreachable."""
    TIMEOUT = "timeout"
    """The peer did not answer within the timeout of the stage; at `connect`, no connection was made."""
    CLOSED = "closed"
    """The connection ended in the middle of the dialogue."""
    PROTOCOL = "protocol"
    """Not SMTP: garbage, an endless reply, an unexpected reply."""
    TLS = "tls"
    """The handshake failed, or the certificate did not verify."""
    TLSA = "tlsa"
    """The certificate matches none of the TLSA records (RFC 7672 3)."""
    POLICY = "policy"
    """The TLS policy of the recipients' domain refuses the host, or cannot be looked up: it was not connected to."""
    NO_TLS = "no_tls"
    """TLS is required and the peer does not offer it."""
    NO_AUTH = "no_auth"
    """AUTH is required and the peer offers no usable mechanism."""
    NO_TOKEN = "no_token"  # noqa: S105 - no token
    """No access token for AUTH is available."""
    LOOK_UP = "look_up"
    """The targets could not be looked up in the DNS."""
    BIND = "bind"
    """The source address for this target is not on this machine."""
    LOCAL = "local"
    """An internal fault: an unreadable body, certificates that do not load, a bug."""


class Action(Enum):
    """The consequence of a reply or a fault."""

    PASS = auto()
    """The dialogue continues."""
    DELIVERED = auto()
    DEFER = auto()
    """Defer; no other target is tried."""
    BOUNCE = auto()
    """A permanent failure."""
    NEXT = auto()
    """Says nothing about the message: try the next target."""
    AGAIN = auto()
    """Offer the recipient again on the same connection: the transaction had too many."""


class ReplyClass(StrEnum):
    """The classes of replies in the table."""

    SUCCESS = "2yz"
    INTERMEDIATE = "3yz"
    TRANSIENT = "4yz"
    CLOSING = "421"
    PERMANENT = "5yz"


_BY_DIGIT = {
    2: ReplyClass.SUCCESS,
    3: ReplyClass.INTERMEDIATE,
    4: ReplyClass.TRANSIENT,
    5: ReplyClass.PERMANENT,
}


class Signal(Enum):
    """The information of a reply or fault about the host, from which `gate` learns."""

    WELL = auto()
    """It answered a message, even with a refusal."""
    TURNED_AWAY = auto()
    """It refused a further connection for now with a reply."""
    REFUSED = auto()
    """The same without a reply: it may be down, or have too many connections."""
    SILENT = auto()
    """It did not answer in time."""
    FAILED = auto()
    """It cannot serve us correctly."""
    NOTHING = auto()
    """Nothing: the fault is internal, or concerns requirements of this mail."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a target, or a dialogue with it, failed: a reply, or a fault without a reply."""

    stage: Stage
    kind: FaultKind | None = None
    """The fault; None when `reply` is the trouble."""
    text: str = ""
    """The fault in words for people, one line."""
    reply: Reply | None = None
    demanded: str = ""
    """What TLS was demanded and by whom, if TLS is the trouble."""

    def __str__(self) -> str:
        return (str(self.reply) if self.reply is not None else self.text) + self.demanded


class PeerTrouble(Exception):  # noqa: N818 - the noun says what it is
    """Raised if a connection cannot be made; carries the `Trouble`."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


# RFC 5321 5.1: the addresses are tried in turn until an attempt succeeds. Replies before a message is offered are about
# the host, and a 4yz to an envelope (greylisting, a locked mailbox) is about the present state of this host: the next
# one is tried. With 421 a server closes the connection (RFC 5321 3.8), at any stage. After the dot a host had the whole
# message: its 4yz is the result of this attempt. A 2yz is not a valid reply to DATA.
_NEXT, _DEFER, _BOUNCE, _PASS = Action.NEXT, Action.DEFER, Action.BOUNCE, Action.PASS
REPLIES: dict[Stage, dict[ReplyClass, Action]] = {
    stage: dict(zip(ReplyClass, row, strict=True))
    for stage, row in {
        #                2yz               3yz     4yz     421     5yz
        Stage.GREETING: (_PASS, _NEXT, _NEXT, _NEXT, _NEXT),
        Stage.EHLO: (_PASS, _NEXT, _NEXT, _NEXT, _NEXT),
        Stage.STARTTLS: (_PASS, _NEXT, _NEXT, _NEXT, _NEXT),
        # Wrong credentials are wrong at every host, and repeated failures may lock accounts: defer, and alert.
        Stage.AUTH: (_PASS, _NEXT, _NEXT, _NEXT, _DEFER),
        Stage.MAIL: (_PASS, _DEFER, _NEXT, _NEXT, _BOUNCE),
        Stage.RCPT: (_PASS, _DEFER, _NEXT, _NEXT, _BOUNCE),
        Stage.DATA: (_NEXT, _PASS, _NEXT, _NEXT, _BOUNCE),
        Stage.DOT: (Action.DELIVERED, _DEFER, _DEFER, _DEFER, _BOUNCE),
    }.items()
}

# A fault and its enhanced status (RFC 3463), if no other target gives a better result. Never permanent.
FAULTS: dict[FaultKind, tuple[Action, str]] = {
    FaultKind.CONNECT: (_NEXT, "4.4.1"),
    FaultKind.TIMEOUT: (_NEXT, "4.4.1"),
    FaultKind.CLOSED: (_NEXT, "4.4.1"),
    FaultKind.PROTOCOL: (_NEXT, "4.5.0"),
    FaultKind.TLS: (_NEXT, "4.7.5"),
    FaultKind.TLSA: (_NEXT, "4.7.5"),
    FaultKind.POLICY: (_NEXT, "4.7.5"),
    FaultKind.NO_TLS: (_NEXT, "4.7.4"),
    FaultKind.NO_AUTH: (_NEXT, "4.7.0"),
    FaultKind.NO_TOKEN: (_NEXT, "4.7.0"),
    FaultKind.LOOK_UP: (_NEXT, "4.4.3"),
    FaultKind.BIND: (_NEXT, "4.3.5"),
    FaultKind.LOCAL: (_DEFER, "4.3.0"),
}

# The signal of each kind of fault.
_SIGNALS: dict[FaultKind, Signal] = {
    FaultKind.CONNECT: Signal.REFUSED,
    FaultKind.TIMEOUT: Signal.SILENT,
    FaultKind.CLOSED: Signal.FAILED,
    FaultKind.PROTOCOL: Signal.FAILED,
    FaultKind.TLS: Signal.FAILED,
    FaultKind.TLSA: Signal.NOTHING,
    FaultKind.POLICY: Signal.NOTHING,
    FaultKind.NO_TLS: Signal.NOTHING,
    FaultKind.NO_AUTH: Signal.NOTHING,
    FaultKind.NO_TOKEN: Signal.NOTHING,
    FaultKind.LOOK_UP: Signal.NOTHING,
    FaultKind.BIND: Signal.NOTHING,
    FaultKind.LOCAL: Signal.NOTHING,
}
_FIRST_STAGES = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO})
"""Stages at which a host refuses excess connections, or closes them."""
_MESSAGE_STAGES = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.DOT})
_CROWDED = re.compile(r"\b(?:too many|concurrent)\b.{0,40}\b(?:connections?|sessions?)\b", re.IGNORECASE | re.DOTALL)

REPLY_LOST = "4.4.2"
"""Status of a message whose final dot was never answered."""

_RESULTS = {Action.DELIVERED: Result.DELIVERED, _DEFER: Result.DEFERRED, _BOUNCE: Result.BOUNCED}
_CLASSES = {Result.DELIVERED: "2", Result.DEFERRED: "4", Result.BOUNCED: "5"}

# Refusals before a message was offered that are permanent: if all hosts refuse so, the mail bounces.
_CONCLUSIVE_STAGES = frozenset({Stage.GREETING, Stage.EHLO})


@dataclass(slots=True)
class Transcript:
    """The replies of a peer to one transaction, filled in during the dialogue."""

    mail: Reply | None = None
    rcpts: list[Reply] = field(default_factory=list)
    """One for each recipient, in order; fewer if the dialogue ended early."""
    data: Reply | None = None
    dots: list[Reply] = field(default_factory=list)
    """One for all (SMTP), or one for each accepted recipient (LMTP, RFC 2033 4.2)."""
    per_recipient: bool = False
    """LMTP: `dots` are per accepted recipient."""
    dot_sent: bool = False
    """The final dot may have reached the peer."""
    fault: Trouble | None = None
    """Why the dialogue ended early."""


@dataclass(slots=True)
class Judgement:
    """The result of a transcript."""

    outcomes: list[Outcome] = field(default_factory=list)
    again: list[Recipient] = field(default_factory=list)
    """To be offered again on this connection: the transaction was full (RFC 5321 4.5.3.1.10)."""
    answered: list[Outcome] = field(default_factory=list)
    """To be offered to the next target as well: these count if no other host gives a final answer."""
    unanswered: list[Recipient] = field(default_factory=list)
    """To be offered to the next target, because of `trouble`."""
    trouble: Trouble | None = None


def class_of(reply: Reply) -> ReplyClass:
    """The class of a reply. Codes outside 200 to 599 never become a `Reply`."""
    if reply.code == 421:
        return ReplyClass.CLOSING
    return _BY_DIGIT[reply.code // 100]


def action_for(stage: Stage, reply: Reply) -> Action:
    """The action for a reply at a stage."""
    action = REPLIES[stage][class_of(reply)]
    if stage is Stage.RCPT:
        if reply.code == 552:
            return Action.AGAIN if _is_full(reply) else Action.NEXT  # RFC 5321 4.5.3.1.10: 552 at RCPT means 452
        if reply.code == 452 and _is_full(reply):
            return Action.AGAIN
    return action


def signal_of(trouble: Trouble) -> Signal:
    """The signal of a trouble."""
    stage, reply = trouble.stage, trouble.reply
    if reply is None:
        if trouble.kind is FaultKind.CLOSED and stage in _FIRST_STAGES:
            return Signal.REFUSED
        return _SIGNALS[trouble.kind] if trouble.kind is not None else Signal.NOTHING
    kind = class_of(reply)
    if kind in (ReplyClass.CLOSING, ReplyClass.TRANSIENT) and (stage in _FIRST_STAGES or _CROWDED.search(reply.text)):
        return Signal.TURNED_AWAY
    if kind is ReplyClass.CLOSING:
        return Signal.FAILED
    if stage in _MESSAGE_STAGES:
        return Signal.WELL
    return Signal.NOTHING if stage is Stage.AUTH else Signal.FAILED


_CLOSING = 421


def signal_in(transcript: Transcript) -> tuple[Signal, Trouble | None]:
    """The signal of a transaction, and the trouble if it is a bad one."""
    trouble = _closing_in(transcript) or transcript.fault
    return (Signal.WELL, None) if trouble is None else (signal_of(trouble), trouble)


def _closing_in(transcript: Transcript) -> Trouble | None:
    """The first 421: the host closes the connection (RFC 5321 3.8)."""
    if transcript.mail is not None and transcript.mail.code == _CLOSING:
        return Trouble(Stage.MAIL, reply=transcript.mail)
    for reply in transcript.rcpts:
        if reply.code == _CLOSING:
            return Trouble(Stage.RCPT, reply=reply)
    if transcript.data is not None and transcript.data.code == _CLOSING:
        return Trouble(Stage.DATA, reply=transcript.data)
    for reply in transcript.dots:
        if reply.code == _CLOSING:
            return Trouble(Stage.DOT, reply=reply)
    return None


def _is_full(reply: Reply) -> bool:
    enhanced = reply.enhanced
    return enhanced is None or enhanced.endswith(".5.3")  # RFC 3463 3.6: X.5.3 too many recipients


def status_of(reply: Reply, result: Result) -> str:
    """The enhanced status of a reply in the class of the result; X.0.0 if the peer gave none of that class."""
    enhanced = reply.enhanced
    digit = _CLASSES[result]
    if enhanced is None:
        return f"{digit}.0.0"
    return enhanced if enhanced[0] == digit else digit + enhanced[1:]


def answered(recipient: Recipient, stage: Stage, reply: Reply, action: Action, mx: str) -> Outcome:
    """The outcome of a final reply for a recipient."""
    result = _RESULTS.get(action, Result.DEFERRED)
    return Outcome(recipient.id, result, status_of(reply, result), stage, str(reply), reply, mx)


def deferred(recipients: Iterable[Recipient], trouble: Trouble, mx: str = "", status: str = "") -> list[Outcome]:
    """Outcomes of trouble that ends the attempt: a reply at AUTH, or an internal fault."""
    if trouble.reply is not None:
        status = status or status_of(trouble.reply, Result.DEFERRED)
    elif trouble.kind is not None:
        status = status or FAULTS[trouble.kind][1]
    return [Outcome(r.id, Result.DEFERRED, status, trouble.stage, str(trouble), trouble.reply, mx) for r in recipients]


def ends_attempt(trouble: Trouble) -> bool:
    """Whether trouble defers the mail without trying another target."""
    if trouble.reply is not None:
        return action_for(trouble.stage, trouble.reply) is Action.DEFER
    return trouble.kind is not None and FAULTS[trouble.kind][0] is Action.DEFER


def refuses_token(trouble: Trouble) -> bool:
    """Whether a host refused an access token: it may have expired, and a new one should be tried."""
    return trouble.stage is Stage.AUTH and trouble.reply is not None and trouble.reply.code == 535


def is_conclusive(trouble: Trouble) -> bool:
    """Whether a host permanently refused all mail from us (RFC 5321 3.1: 554; RFC 7504: 521)."""
    return trouble.reply is not None and trouble.reply.is_permanent and trouble.stage in _CONCLUSIVE_STAGES


def standing(
    recipients: Iterable[Recipient],
    answers: Mapping[int, Outcome],
    troubles: Sequence[tuple[str, str, Trouble]],
    *,
    all_asked: bool = True,
    conclusive: Callable[[Trouble], bool] = is_conclusive,
) -> list[Outcome]:
    """The answers of hosts that count at the end of an attempt; `troubles` is as for `exhausted`.

    A temporary answer is more useful than that a later host was unreachable. Mail that does not fit a host bounces only
    if it fits no other: if each host was tried and gave the same answer, or permanently refused all mail.
    """
    refused = all_asked and all(conclusive(trouble) for _, _, trouble in troubles)
    found = (answers[recipient.id] for recipient in recipients if recipient.id in answers)
    return [outcome for outcome in found if refused or outcome.result is Result.DEFERRED]


def exhausted(recipients: Sequence[Recipient], troubles: Sequence[tuple[str, str, Trouble]]) -> list[Outcome]:
    """Outcomes of recipients without an answer after all targets failed.

    `troubles` has host name, a label for people, and the trouble of each target in the order they were tried. If every
    host conclusively refused, the mail bounces; otherwise it is deferred for the reason of the last.
    """
    if not troubles:
        return unroutable(recipients, "4.4.3", "there is no host to try", permanent=False)
    mx, label, last = troubles[-1]
    reason = f"{label}: {last}"
    if len(troubles) > 1:
        reason = f"tried all {len(troubles)} targets, the last was {reason}"
    refused = all(is_conclusive(trouble) for _, _, trouble in troubles)
    result = Result.BOUNCED if refused else Result.DEFERRED
    status = status_of(last.reply, result) if last.reply is not None else _fault_status(last)
    if last.stage is Stage.STARTTLS and last.reply is not None:
        status = "4.7.4"
    return [Outcome(r.id, result, status, last.stage, reason, last.reply, mx) for r in recipients]


def _fault_status(trouble: Trouble) -> str:
    return FAULTS[trouble.kind][1] if trouble.kind is not None else "4.0.0"


def judge(transcript: Transcript, recipients: Sequence[Recipient], mx: str) -> Judgement:
    """The result of one transaction for each recipient; results of RCPT are kept."""
    judgement = Judgement()
    mail = transcript.mail
    if mail is None:
        judgement.unanswered.extend(recipients)
        judgement.trouble = transcript.fault
        return judgement
    if not 200 <= mail.code <= 299:
        _answer_all(judgement, Stage.MAIL, mail, recipients, mx)
        return judgement
    accepted = _judge_rcpts(judgement, transcript, recipients, mx)
    if accepted:
        _judge_data(judgement, transcript, accepted, mx)
    elif judgement.again:
        # Not even one recipient was accepted: offering them again now would not help.
        full = dict(zip((r.id for r in recipients), transcript.rcpts, strict=False))
        judgement.answered.extend(answered(r, Stage.RCPT, full[r.id], Action.NEXT, mx) for r in judgement.again)
        judgement.again.clear()
    return judgement


def was_dead(transcript: Transcript) -> bool:
    """Whether a reused connection was dead, so that this transaction did not take place.

    There was no reply, or the first one was the 421 for idle clients (RFC 5321 3.8), or a refusal: some servers need
    RSET, or accept one message for each connection, and answer 503 to what RFC 5321 3.3 allows. On a new connection the
    same reply counts.
    """
    mail = transcript.mail
    return mail is None or mail.code == 421 or mail.is_permanent


def _judge_rcpts(
    judgement: Judgement, transcript: Transcript, recipients: Sequence[Recipient], mx: str
) -> list[Recipient]:
    accepted = []
    for recipient, reply in zip(recipients, transcript.rcpts, strict=False):
        if 200 <= reply.code <= 299:  # RFC 5321 4.3.2: 250 and 251; 252 by a server that will try
            accepted.append(recipient)
            continue
        action = action_for(Stage.RCPT, reply)
        if action is Action.AGAIN:
            judgement.again.append(recipient)
        else:
            kept = judgement.answered if action is Action.NEXT else judgement.outcomes
            kept.append(answered(recipient, Stage.RCPT, reply, action, mx))
        if class_of(reply) is ReplyClass.CLOSING:
            judgement.trouble = Trouble(Stage.RCPT, reply=reply)
    if len(transcript.rcpts) < len(recipients):
        judgement.unanswered.extend(recipients[len(transcript.rcpts) :])
        judgement.trouble = transcript.fault
    return accepted


def _judge_data(judgement: Judgement, transcript: Transcript, accepted: list[Recipient], mx: str) -> None:
    data = transcript.data
    if data is None:
        judgement.unanswered.extend(accepted)
        judgement.trouble = transcript.fault
        return
    if data.code != 354:
        _answer_all(judgement, Stage.DATA, data, accepted, mx)
        return
    dots = transcript.dots
    if dots and not transcript.per_recipient:
        dots = dots * len(accepted)
    for recipient, reply in zip(accepted, dots, strict=False):
        action = REPLIES[Stage.DOT][class_of(reply)]
        judgement.outcomes.append(answered(recipient, Stage.DOT, reply, action, mx))
    missing = accepted[len(dots) :]
    if not missing:
        return
    if transcript.dot_sent:
        judgement.outcomes.extend(_lost(recipient, transcript.fault, mx) for recipient in missing)
    else:
        judgement.unanswered.extend(missing)
        judgement.trouble = transcript.fault


def _answer_all(judgement: Judgement, stage: Stage, reply: Reply, recipients: Sequence[Recipient], mx: str) -> None:
    action = action_for(stage, reply)
    if stage is Stage.DATA and class_of(reply) is ReplyClass.INTERMEDIATE:
        action = Action.DEFER  # another 3yz than 354 requests something unknown
    if reply.is_success:
        judgement.unanswered.extend(recipients)
        judgement.trouble = Trouble(stage, FaultKind.PROTOCOL, f"unexpected reply to DATA: {reply}")
        return
    kept = judgement.answered if action is Action.NEXT else judgement.outcomes
    kept.extend(answered(r, stage, reply, action, mx) for r in recipients)
    if class_of(reply) is ReplyClass.CLOSING:
        judgement.trouble = Trouble(stage, reply=reply)


def _lost(recipient: Recipient, fault: Trouble | None, mx: str) -> Outcome:
    # RFC 5321 4.5.3.2.6 and RFC 1047: the peer may have accepted the message, so no other host is tried now.
    why = str(fault) if fault is not None else "the dialogue broke off"
    reason = f"no reply to the end of the message ({why}); it may have been delivered"
    return Outcome(recipient.id, Result.DEFERRED, REPLY_LOST, Stage.DOT, reason, None, mx, ambiguous=True)


def cannot_take(misfit: Misfit, mx: str) -> list[Outcome]:
    """Answers if a message does not fit the offers of a host: final if it fits no other host either."""
    return [
        Outcome(r.id, Result.BOUNCED, misfit.status, Stage.MAIL, misfit.reason, None, mx) for r in misfit.recipients
    ]


def decided(recipients: Iterable[Recipient], result: Result, status: str, reason: str) -> list[Outcome]:
    """Outcomes of a plugin's answer instead of a host's."""
    return [Outcome(r.id, result, status, Stage.HOOK, reason) for r in recipients]


def put_off(recipients: Iterable[Recipient], trouble: Trouble, reason: str, mx: str = "") -> list[Outcome]:
    """Outcomes of mail that is not attempted now, because the last attempts at its host failed with `trouble`."""
    status = status_of(trouble.reply, Result.DEFERRED) if trouble.reply is not None else _fault_status(trouble)
    return [Outcome(r.id, Result.DEFERRED, status, trouble.stage, reason, trouble.reply, mx) for r in recipients]


def unroutable(recipients: Iterable[Recipient], status: str, reason: str, *, permanent: bool) -> list[Outcome]:
    """Outcomes if routing has no target."""
    result = Result.BOUNCED if permanent else Result.DEFERRED
    return [Outcome(r.id, result, status, Stage.ROUTE, reason) for r in recipients]

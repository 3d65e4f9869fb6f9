"""The state of an entry after an attempt, and the entries of a message. Pure; time is an argument.

`delivery.pipeline` calls `transition` with the report of each attempt; the store then records the result.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from mailboat.model.address import Address, mailboxes
from mailboat.model.envelope import Entry, Owed, Recipient, State
from mailboat.model.outcome import AttemptReport, Outcome, ReportAction, Result
from mailboat.queue.backoff import RetryPlan
from mailboat.smtp.extensions import dsn

MAX_REPLY_KEPT = 1000
"""Characters of a remote's reply that are stored with a deferred entry."""
DELAY_REPORT = 4 * 3600.0
"""Seconds in the queue until a sender is told of the delay that asked for it (RFC 3461 4.1 leaves the time to us)."""
FALLBACK_DELAY = 60.0
"""Seconds to the next attempt if neither the report nor the plan gives a time."""

_ONLY_OWED = "delivered; the report of it cannot be written yet"
REPORT_LIFE = 86_400.0
"""Seconds for which a report on TLS is retried (RFC 8460 5.5)."""


@dataclass(frozen=True, slots=True)
class Transition:
    """An entry after an attempt."""

    report: AttemptReport
    """The final report: after the last attempt deferred becomes bounced; with a null sender bounced becomes dropped."""
    remaining: Entry | None
    """The entry with the recipients that are left; None when it is done."""
    bounced: tuple[Outcome, ...]
    """The outcomes to report to the sender; empty for a null sender."""
    delay: float | None
    """Seconds until the next attempt."""
    silenced: tuple[Outcome, ...] = ()
    """Recipients that failed permanently without a report: from the null sender, or as the sender asked (RFC 3461)."""
    confirmed: tuple[Outcome, ...] = ()
    """Deliveries that the sender asked to be told of, and that the next hop does not report."""
    owed: tuple[Owed, ...] = ()
    """The same of earlier attempts, whose report could not be written then."""
    delayed: tuple[Outcome, ...] = ()
    """Recipients that are retried, and whose delay is to be reported now."""
    rest: float = 0.0
    """Seconds from the next attempt to the last one, if there is a delay to report."""

    @property
    def actions(self) -> tuple[tuple[ReportAction, tuple[Outcome, ...]], ...]:
        """The outcomes to report to the sender, by what the report says of them."""
        failed, delayed = (ReportAction.FAILED, self.bounced), (ReportAction.DELAYED, self.delayed)
        return (failed, delayed, (self.success, self.confirmed))

    @property
    def success(self) -> ReportAction:
        """What a report says of `confirmed`."""
        peer = self.report.peer
        return ReportAction.RELAYED if peer is not None and peer.protocol == "SMTP" else ReportAction.DELIVERED

    @property
    def told(self) -> Collection[ReportAction]:
        """All that the report says of recipients, each once."""
        now = [action for action, outcomes in self.actions if outcomes]
        return dict.fromkeys(now + [owed.action for owed in self.owed])

    @property
    def is_reported(self) -> bool:
        """Whether there is anything to report to the sender."""
        return bool(self.bounced or self.delayed or self.confirmed or self.owed)

    @property
    def retry_until(self) -> float | None:
        """When the last attempt is made, in seconds since the epoch; None: no delay is to be reported."""
        if not self.delayed or self.remaining is None or self.remaining.next_attempt is None:
            return None
        return self.remaining.next_attempt + self.rest

    @property
    def deferred(self) -> tuple[Outcome, ...]:
        """The recipients that are retried."""
        return tuple(o for o in self.report.outcomes if o.result is Result.DEFERRED)

    @property
    def delivered(self) -> tuple[Outcome, ...]:
        """The recipients that have the message."""
        return tuple(o for o in self.report.outcomes if o.result is Result.DELIVERED)


def transition(
    entry: Entry,
    report: AttemptReport,
    plan: RetryPlan,
    now: float,
    chance: float = 0.5,
    delay_warning: float = 0.0,
) -> Transition:
    """Apply the outcomes of one attempt to an entry. A recipient without an outcome remains, like a deferred one.

    `chance` (0 to 1) spreads retries; see `RetryPlan.delay`. `delay_warning`: seconds in the queue until senders are
    told of a delay that did not ask for it; 0: never.
    """
    too_old = report.excused and now - entry.message.queued_at > plan.total
    if too_old:
        report = replace(report, counted=True)
    failures = entry.attempts + report.counted
    planned = None if too_old else plan.delay(max(1, failures), chance)
    if planned is not None and entry.message.is_tls_report and now + planned - entry.message.queued_at > REPORT_LIFE:
        planned = None
    if report.counted and planned is None:
        report = replace(report, outcomes=tuple(_expired(o) for o in report.outcomes))
    silenced: tuple[Outcome, ...] = ()
    confirmed: tuple[Outcome, ...] = ()
    if entry.message.sender.is_null:
        # A message from the null sender never makes another bounce (RFC 5321 4.5.5).
        report, silenced = dropped(report, Result.BOUNCED)
    elif any(recipient.parameters for recipient in entry.recipients):
        untold = {recipient.id for recipient in entry.recipients if not dsn.wants_failure(recipient.parameters)}
        report, silenced = dropped(report, Result.BOUNCED, untold)
        confirmed = _confirmed(entry, report)
    remaining, delay = None, None
    delayed: tuple[Outcome, ...] = ()
    if left := _left(entry, report):
        delay = next((d for d in (report.retry_after, planned) if d is not None), FALLBACK_DELAY)
        remaining = _remaining(entry, left, report, failures, now + delay)
        if delayed := _delayed(entry, report, now, delay_warning):
            remaining = replace(remaining, delay_reported=True)
    return Transition(
        report=report,
        remaining=remaining,
        bounced=tuple([o for o in report.outcomes if o.result is Result.BOUNCED]),
        delay=delay,
        silenced=silenced,
        confirmed=confirmed,
        owed=entry.owed,
        delayed=delayed,
        rest=plan.rest(failures) if delayed else 0.0,
    )


def without_report(change: Transition) -> Transition:
    """The same, but nobody is told of the recipients that failed."""
    report, silenced = dropped(change.report, Result.BOUNCED)
    return replace(change, report=report, bounced=(), silenced=change.silenced + silenced)


def is_last_attempt(entry: Entry, plan: RetryPlan, now: float) -> bool:
    """Whether the next temporary failure is final, even one that would be excused."""
    return plan.delay(entry.attempts + 1) is None or now - entry.message.queued_at > plan.total


def _confirmed(entry: Entry, report: AttemptReport) -> tuple[Outcome, ...]:
    asked = {recipient.id for recipient in entry.recipients if dsn.wants_success(recipient.parameters)}
    asked -= report.passed_on
    return tuple(o for o in report.outcomes if o.result is Result.DELIVERED and o.recipient in asked)


def _delayed(entry: Entry, report: AttemptReport, now: float, delay_warning: float) -> tuple[Outcome, ...]:
    if now - entry.message.queued_at < (delay_warning or DELAY_REPORT):
        return ()
    if entry.delay_reported or entry.message.sender.is_null:
        return ()
    told = {r.id for r in entry.recipients if dsn.wants_delay(r.parameters, unasked=delay_warning > 0)}
    return tuple(o for o in report.outcomes if o.result is Result.DEFERRED and o.recipient in told)


def with_deliveries(entry: Entry, change: Transition) -> Entry:
    """The entry before the attempt, without the recipients that have the message: what is recorded before plugins are
    asked about the others."""
    delivered = {outcome.recipient for outcome in change.delivered}
    left = tuple(recipient for recipient in entry.recipients if recipient.id not in delivered)
    return replace(entry, recipients=left, owed=_owed(entry, change))


def unreported(entry: Entry, change: Transition, delay: float, now: float) -> Transition:
    """The same attempt if its report cannot be queued: what it tells of is told by a later one, in `delay` s if no
    recipients are left."""
    owed, remaining = _owed(entry, change), change.remaining
    if remaining is not None:
        delay_reported = entry.delay_reported if change.delayed else remaining.delay_reported
        remaining = replace(remaining, delay_reported=delay_reported, owed=owed)
    elif owed:
        remaining = _remaining(entry, (), change.report, entry.attempts, now + delay)
        remaining = replace(remaining, owed=owed, last_reply=_ONLY_OWED, last_mx=owed[-1].outcome.mx)
    return replace(change, remaining=remaining, confirmed=(), owed=(), delayed=())


def postponed(entry: Entry, change: Transition, delay: float, now: float) -> Transition:
    """The same attempt if its bounce cannot be queued: permanently failed recipients stay, and are retried in `delay`
    s.

    The failure is not counted, so that the retry ends in the same way; deliveries are recorded, and reported later.
    """
    report = replace(change.report, outcomes=tuple(_unannounced(o) for o in change.report.outcomes))
    remaining = _remaining(entry, _left(entry, report), report, entry.attempts, now + delay)
    return Transition(report, replace(remaining, owed=_owed(entry, change)), bounced=(), delay=delay)


def _owed(entry: Entry, change: Transition) -> tuple[Owed, ...]:
    """What is to be reported of deliveries if it cannot be done now."""
    if not change.confirmed:
        return change.owed
    recipients = {recipient.id: recipient for recipient in entry.recipients}
    at = change.report.started_at + change.report.duration
    return change.owed + tuple(Owed(recipients[o.recipient], o, change.success, at) for o in change.confirmed)


def dropped(
    report: AttemptReport, what: Result, of: Collection[int] | None = None
) -> tuple[AttemptReport, tuple[Outcome, ...]]:
    """The report with the outcomes of one kind changed to dropped, and these outcomes: no one is notified of them.

    `of`: only those of these recipients.
    """
    changed = {
        o.recipient: replace(o, result=Result.DROPPED)
        for o in report.outcomes
        if o.result is what and (of is None or o.recipient in of)
    }
    if not changed:
        return report, ()
    return replace(report, outcomes=tuple(changed.get(o.recipient, o) for o in report.outcomes)), tuple(
        changed.values()
    )


def _left(entry: Entry, report: AttemptReport) -> tuple[Recipient, ...]:
    final = {o.recipient for o in report.outcomes if o.result is not Result.DEFERRED}
    return tuple([recipient for recipient in entry.recipients if recipient.id not in final])


def _remaining(
    entry: Entry, left: tuple[Recipient, ...], report: AttemptReport, failures: int, next_attempt: float
) -> Entry:
    last = next((o for o in reversed(report.outcomes) if o.result is Result.DEFERRED), None)
    return replace(
        entry,
        recipients=left,
        attempts=failures,
        next_attempt=next_attempt,
        state=State.DEFERRED,
        last_reply=last.reason[:MAX_REPLY_KEPT] if last else entry.last_reply,
        last_mx=last.mx if last else entry.last_mx,
        owed=(),
    )


def _expired(outcome: Outcome) -> Outcome:
    """After the last attempt, a temporary failure is final (RFC 5321 4.5.4.1).

    The status stays the peer's, of class 4: with class 5, readers of reports would take it for a refusal. Without one
    from the peer it is 4.4.7, delivery time expired (RFC 3463 3.5).
    """
    if outcome.result is not Result.DEFERRED:
        return outcome
    by_peer = outcome.reply is not None and outcome.reply.enhanced is not None
    return replace(
        outcome,
        result=Result.BOUNCED,
        status=outcome.status if by_peer else "4.4.7",
        reason=f"Too many failures ({outcome.reason})",
        expired=True,
    )


def _unannounced(outcome: Outcome) -> Outcome:
    """A permanent failure that cannot be reported yet becomes deferred, with a status of class 4."""
    if outcome.result is not Result.BOUNCED:
        return outcome
    reason = f"The sender cannot be told yet ({outcome.reason})"
    return replace(outcome, result=Result.DEFERRED, status="4" + outcome.status[1:], reason=reason)


def group(recipients: Collection[Address], *, split: bool = False) -> list[tuple[str, list[Address]]]:
    """Recipients by domain in order of first appearance, each mailbox once; with `split` each separately."""
    unique = mailboxes(recipients)
    if split:
        return [(address.ascii_domain, [address]) for address in unique]
    groups: dict[str, list[Address]] = {}
    for address in unique:
        groups.setdefault(address.ascii_domain, []).append(address)
    return list(groups.items())

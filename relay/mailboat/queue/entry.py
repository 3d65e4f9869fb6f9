"""What one attempt makes of an entry, and how a message's recipients become entries. Pure; time is an argument.

`delivery.pipeline` calls `transition` with the report of each attempt; the store then records what it says.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from mailboat.model.address import Address, mailboxes
from mailboat.model.envelope import Entry, Recipient, State
from mailboat.model.outcome import AttemptReport, Outcome, Result
from mailboat.queue.backoff import RetryPlan

MAX_REPLY_KEPT = 1000
"""Characters of a remote's reply that are stored with a deferred entry."""
FALLBACK_DELAY = 60.0
"""Seconds, where neither the report nor the plan says when to try again."""


@dataclass(frozen=True, slots=True)
class Transition:
    """An entry after an attempt."""

    report: AttemptReport
    """The report as it finally counts: out of tries turns deferred into bounced, a null sender bounced into dropped."""
    remaining: Entry | None
    """The entry with the recipients that are left; None when it is done."""
    bounced: tuple[Outcome, ...]
    """What the sender must be told; empty for a null sender."""
    delay: float | None
    """Seconds until the next attempt."""
    silenced: tuple[Outcome, ...] = ()
    """Who failed for good without the sender being told, as with mail from the null sender."""

    @property
    def deferred(self) -> tuple[Outcome, ...]:
        """Who is tried again."""
        return tuple(o for o in self.report.outcomes if o.result is Result.DEFERRED)

    @property
    def delivered(self) -> tuple[Outcome, ...]:
        """Who has it."""
        return tuple(o for o in self.report.outcomes if o.result is Result.DELIVERED)


def transition(entry: Entry, report: AttemptReport, plan: RetryPlan, now: float, chance: float = 0.5) -> Transition:
    """Apply the outcomes of one attempt to an entry. A recipient without an outcome is left, as a deferred one is.

    `chance` (0 to 1) spreads retries; see `RetryPlan.delay`.
    """
    too_old = report.excused and now - entry.message.queued_at > plan.total
    if too_old:
        report = replace(report, counted=True)
    failures = entry.attempts + report.counted
    planned = None if too_old else plan.delay(max(1, failures), chance)
    if report.counted and planned is None:
        report = replace(report, outcomes=tuple(_expired(o) for o in report.outcomes))
    silenced: tuple[Outcome, ...] = ()
    if entry.message.sender.is_null:
        # A message from the null sender never makes another bounce (RFC 5321 4.5.5).
        report, silenced = dropped(report, Result.BOUNCED)
    remaining, delay = None, None
    if left := _left(entry, report):
        delay = next((d for d in (report.retry_after, planned) if d is not None), FALLBACK_DELAY)
        remaining = _remaining(entry, left, report, failures, now + delay)
    return Transition(
        report=report,
        remaining=remaining,
        bounced=tuple(o for o in report.outcomes if o.result is Result.BOUNCED),
        delay=delay,
        silenced=silenced,
    )


def postponed(entry: Entry, change: Transition, delay: float, now: float) -> Transition:
    """The same attempt when its bounce cannot be queued: who failed for good stays, and is tried again in `delay` s.

    The failure is not counted, so that it comes to the same end again; what was delivered is recorded.
    """
    report = replace(change.report, outcomes=tuple(_unannounced(o) for o in change.report.outcomes))
    remaining = _remaining(entry, _left(entry, report), report, entry.attempts, now + delay)
    return Transition(report, remaining, bounced=(), delay=delay)


def dropped(report: AttemptReport, what: Result) -> tuple[AttemptReport, tuple[Outcome, ...]]:
    """The report with the outcomes of one kind as dropped ones, and these: nobody is told."""
    outcomes = [replace(o, result=Result.DROPPED) if o.result is what else o for o in report.outcomes]
    found = [new for new, old in zip(outcomes, report.outcomes, strict=True) if old.result is what]
    return (replace(report, outcomes=tuple(outcomes)) if found else report), tuple(found)


def _left(entry: Entry, report: AttemptReport) -> tuple[Recipient, ...]:
    final = {o.recipient for o in report.outcomes if o.result is not Result.DEFERRED}
    return tuple(recipient for recipient in entry.recipients if recipient.id not in final)


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
    )


def _expired(outcome: Outcome) -> Outcome:
    """Out of tries: what was temporary is final (RFC 5321 4.5.4.1).

    The status stays the peer's, of class 4: in class 5, readers of reports would take it for a refusal. Where the peer
    gave none it is 4.4.7, delivery time expired (RFC 3463 3.5).
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
    """Failed for good, and nobody can be told yet: deferred, in the class of the status too."""
    if outcome.result is not Result.BOUNCED:
        return outcome
    reason = f"The sender cannot be told yet ({outcome.reason})"
    return replace(outcome, result=Result.DEFERRED, status="4" + outcome.status[1:], reason=reason)


def group(recipients: Collection[Address], *, split: bool = False) -> list[tuple[str, list[Address]]]:
    """Recipients by domain in order of first appearance, each mailbox once; with `split` each by itself."""
    unique = mailboxes(recipients)
    if split:
        return [(address.ascii_domain, [address]) for address in unique]
    groups: dict[str, list[Address]] = {}
    for address in unique:
        groups.setdefault(address.ascii_domain, []).append(address)
    return list(groups.items())

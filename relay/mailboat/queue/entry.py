"""What one attempt makes of an entry, and how a message's recipients become entries. Pure; time is an argument.

`delivery.engine` calls `transition` with the report of each attempt; the store then records what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mailboat.model.address import Address
from mailboat.model.envelope import Entry, State
from mailboat.model.outcome import AttemptReport, Outcome, Result
from mailboat.queue.backoff import RetryPlan

MAX_REPLY_KEPT = 1000
"""Characters of a remote's reply that are stored with a deferred entry."""


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


def transition(entry: Entry, report: AttemptReport, plan: RetryPlan, now: float) -> Transition:
    """Apply the outcomes of one attempt to an entry."""
    failures = entry.attempts + (1 if report.counted else 0)
    deferred = [o for o in report.outcomes if o.result is Result.DEFERRED]
    delay = report.retry_after if report.retry_after is not None else plan.delay(failures) if deferred else None
    if deferred and report.counted and plan.delay(failures) is None:
        report = replace(report, outcomes=tuple(_expired(o) for o in report.outcomes))
        deferred, delay = [], None
    if entry.message.sender.is_null:
        report = replace(report, outcomes=tuple(_undeliverable_bounce(o) for o in report.outcomes))
    return Transition(
        report=report,
        remaining=_remaining(entry, deferred, failures, now + (delay or 0.0)) if deferred else None,
        bounced=tuple(o for o in report.outcomes if o.result is Result.BOUNCED),
        delay=delay,
    )


def _remaining(entry: Entry, deferred: Sequence[Outcome], failures: int, next_attempt: float) -> Entry:
    left = {o.recipient for o in deferred}
    last = deferred[-1]
    return replace(
        entry,
        recipients=tuple(r for r in entry.recipients if r.id in left),
        attempts=failures,
        next_attempt=next_attempt,
        state=State.DEFERRED,
        last_reply=last.reason[:MAX_REPLY_KEPT],
        last_mx=last.mx,
    )


def _expired(outcome: Outcome) -> Outcome:
    """Out of tries: what was temporary is final (RFC 5321 4.5.4.1). The class of the status follows."""
    if outcome.result is not Result.DEFERRED:
        return outcome
    return replace(
        outcome,
        result=Result.BOUNCED,
        status="5" + outcome.status[1:],
        reason=f"Too many failures ({outcome.reason})",
    )


def _undeliverable_bounce(outcome: Outcome) -> Outcome:
    """A message from the null sender never makes another bounce (RFC 5321 4.5.5)."""
    return replace(outcome, result=Result.DROPPED) if outcome.result is Result.BOUNCED else outcome


def group(recipients: Iterable[Address], *, split: bool = False) -> list[tuple[str, list[Address]]]:
    """Recipients by domain in order of first appearance, duplicates dropped; with `split` each by itself."""
    unique = dict.fromkeys(recipients)
    if split:
        return [(address.ascii_domain, [address]) for address in unique]
    groups: dict[str, list[Address]] = {}
    for address in unique:
        groups.setdefault(address.ascii_domain, []).append(address)
    return list(groups.items())

"""`transition`: what an attempt makes of an entry; and how recipients become entries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.facts import T0, address, entry, message, outcome, report

from mailboat.config.intervals import intervals as parsed
from mailboat.model.envelope import TLS_REPORT_NOTE, Entry, State, StoredNotes
from mailboat.model.outcome import AttemptReport, Outcome, Result, Stage
from mailboat.model.reply import Reply
from mailboat.queue.backoff import RetryPlan
from mailboat.queue.entry import (
    DELAY_REPORT,
    FALLBACK_DELAY,
    MAX_REPLY_KEPT,
    REPORT_LIFE,
    Transition,
    group,
    is_last_attempt,
    postponed,
    transition,
    unreported,
)
from mailboat.smtp.grammar import parse_address

PLAN = RetryPlan((10.0, 20.0, 30.0))
PEOPLE = tuple(f"u{n}@there.test" for n in range(1, 6))
NULL = message(sender="")

attempt_results = st.lists(st.one_of(st.sampled_from(Result), st.none()), min_size=len(PEOPLE), max_size=len(PEOPLE))
entries = st.builds(
    lambda null, attempts: entry(PEOPLE, of=NULL if null else None, attempts=attempts), st.booleans(), st.integers(0, 5)
)
reports = st.builds(
    lambda results, counted, retry: AttemptReport(
        tuple(
            Outcome(number, result, f"{5 if result is Result.BOUNCED else 4}.0.0", Stage.RCPT, "because")
            for number, result in enumerate(results, 1)
            if result is not None
        ),
        None,
        T0,
        1.0,
        retry,
        counted,
    ),
    attempt_results,
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 1e6)),
)


def test_what_is_noted_of_an_entry_goes_on_with_it() -> None:
    noted = StoredNotes({"n": 1})
    change = transition(replace(entry(), noted=noted), report(outcome(1, Result.DEFERRED)), PLAN, T0)
    assert change.remaining is not None
    assert change.remaining.noted == noted


def ids(remaining: Entry | None) -> set[int]:
    return {recipient.id for recipient in remaining.recipients} if remaining else set()


def with_result(change: Transition, *results: Result) -> set[int]:
    return {o.recipient for o in change.report.outcomes if o.result in results}


@given(entries, reports)
def test_every_recipient_is_in_exactly_one_place_afterwards(before: Entry, said: AttemptReport) -> None:
    change = transition(before, said, PLAN, T0)
    left, done = ids(change.remaining), with_result(change, Result.DELIVERED)
    told, dropped = {o.recipient for o in change.bounced}, with_result(change, Result.DROPPED)

    assert left | done | told | dropped == ids(before)
    assert len(left) + len(done) + len(told) + len(dropped) == len(PEOPLE)
    assert done == {o.recipient for o in said.outcomes if o.result is Result.DELIVERED}


@given(entries, reports)
def test_attempts_only_grow_and_the_next_one_is_never_in_the_past(before: Entry, said: AttemptReport) -> None:
    change = transition(before, said, PLAN, T0)
    if change.remaining is None:
        assert change.delay is None
        return
    assert change.remaining.attempts == before.attempts + said.counted
    assert change.delay is not None
    assert change.delay >= 0
    assert change.remaining.next_attempt == T0 + change.delay
    assert change.remaining.state is State.DEFERRED
    assert change.remaining.key == before.key


@given(entries, reports)
def test_a_null_sender_is_never_told_anything(before: Entry, said: AttemptReport) -> None:
    change = transition(before, said, PLAN, T0)
    if before.message.sender.is_null:
        assert change.bounced == ()
        assert not with_result(change, Result.BOUNCED)


@given(entries, reports)
def test_without_its_bounce_no_failure_is_recorded_and_no_delivery_is_repeated(
    before: Entry, said: AttemptReport
) -> None:
    change = transition(before, said, PLAN, T0)
    later = postponed(before, change, 300.0, T0)
    assert ids(later.remaining) == ids(change.remaining) | {o.recipient for o in change.bounced}
    assert later.bounced == ()
    assert all(o.status[0] == "4" for o in later.report.outcomes if o.result is Result.DEFERRED)
    if later.remaining is not None:
        assert later.remaining.attempts == before.attempts
        assert later.remaining.next_attempt == T0 + 300


def failures_until_bounce(plan: RetryPlan) -> tuple[list[float | None], Transition]:
    """What a recipient that always gets 450 goes through: the delays, and the last transition."""
    now, delays = T0, []
    current = entry()
    while True:
        change = transition(current, report(outcome(1, Result.DEFERRED, "450 4.2.0 later")), plan, now)
        delays.append(change.delay)
        if change.remaining is None:
            return delays, change
        current = change.remaining
        assert current.next_attempt is not None
        now = current.next_attempt


@pytest.mark.parametrize(
    ("intervals", "delays"),
    [
        ("1m, 5m*2, 1h*3", [60, 300, 300, 3600, 3600, 3600, None]),
        ("5s,5s*3", [5, 5, 5, 5, None]),
        ("none", [None]),
        ("", [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, None]),
    ],
)
def test_the_failure_after_the_last_interval_bounces(intervals: str, delays: list[float | None]) -> None:
    plan = RetryPlan.of(parsed(intervals) if intervals else None, 13)
    happened, last = failures_until_bounce(plan)

    assert happened == delays
    (final,) = last.bounced
    assert final.reason == "Too many failures (450 4.2.0 later)"


@pytest.mark.parametrize(
    ("reply", "status", "expected"),
    [
        (Reply(450, "4.7.1 greylisted"), "4.7.1", "4.7.1"),
        (Reply(452, "4.2.2 full"), "4.2.2", "4.2.2"),
        (Reply(450, "later"), "4.0.0", "4.4.7"),
        (Reply(535, "5.7.8 wrong credentials"), "4.7.8", "4.7.8"),
        (None, "4.4.1", "4.4.7"),
    ],
)
def test_the_status_after_the_last_temporary_failure_is_the_peers_or_delivery_time_expired(
    reply: Reply | None, status: str, expected: str
) -> None:
    said = Outcome(1, Result.DEFERRED, status, Stage.RCPT, "why", reply)
    change = transition(entry(PEOPLE[:1], attempts=3), report(said), PLAN, T0)

    assert [(o.status, o.expired) for o in change.bounced] == [(expected, True)]


def test_out_of_tries_only_the_deferred_bounce() -> None:
    said = report(outcome(1, Result.DELIVERED, "250 2.0.0 ok"), outcome(2, Result.DEFERRED, "450 4.2.0 later"))
    change = transition(entry(PEOPLE[:2], attempts=3), said, PLAN, T0)
    assert change.remaining is None
    assert [o.recipient for o in change.bounced] == [2]
    assert with_result(change, Result.DELIVERED) == {1}


def test_a_delay_that_the_attempt_names_goes_before_the_plan() -> None:
    said = AttemptReport((outcome(1, Result.DEFERRED, "450 4.2.0 later"),), None, T0, 1.0, retry_after=600.0)
    assert transition(entry(), said, PLAN, T0).delay == 600


def test_what_was_no_attempt_never_expires_an_entry() -> None:
    said = report(outcome(1, Result.DEFERRED, "450 4.2.0 later"), counted=False)
    change = transition(entry(attempts=99), said, PLAN, T0)
    assert change.remaining is not None
    assert (change.remaining.attempts, change.delay) == (99, FALLBACK_DELAY)


def test_what_costs_no_attempt_waits_as_planned_and_expires_by_age_alone() -> None:
    """Turned away while others were let in, or not tried since its host is dead: `attempts` stays."""
    said = replace(report(outcome(1, Result.DEFERRED)), counted=False, excused=True)
    before = entry(attempts=2)
    young = transition(before, said, PLAN, before.message.queued_at + PLAN.total)
    assert young.remaining is not None
    assert (young.remaining.attempts, young.delay) == (2, 20.0)
    old = transition(before, said, PLAN, before.message.queued_at + PLAN.total + 1)
    assert old.remaining is None
    assert [o.result for o in old.bounced] == [Result.BOUNCED]
    assert old.bounced[0].expired


def test_retries_are_spread_by_a_tenth() -> None:
    said = report(outcome(1, Result.DEFERRED))
    delays = [transition(entry(), said, PLAN, T0, chance).delay for chance in (0.0, 0.5, 1.0)]
    assert delays == [pytest.approx(9.0), 10.0, pytest.approx(11.0)]


def test_the_last_deferral_is_what_people_are_shown_and_it_is_bounded() -> None:
    said = report(
        outcome(1, Result.DEFERRED, "450 4.2.0 first"),
        outcome(2, Result.DEFERRED, "451 4.3.0 " + "x" * 5000),
        outcome(3, Result.DELIVERED, "250 2.0.0 ok"),
    )
    remaining = transition(entry(PEOPLE[:3]), said, PLAN, T0).remaining
    assert remaining is not None
    assert remaining.last_reply.startswith("451 4.3.0 xxx")
    assert len(remaining.last_reply) == MAX_REPLY_KEPT
    assert remaining.last_mx == "mx.example.net"


def test_recipients_are_grouped_by_domain_whatever_its_case() -> None:
    people = [address(text) for text in ("a@One.test", "b@two.test", "c@ONE.test")]
    assert [(domain, [str(a) for a in some]) for domain, some in group(people)] == [
        ("one.test", ["a@One.test", "c@ONE.test"]),
        ("two.test", ["b@two.test"]),
    ]


@pytest.mark.parametrize("split", [False, True])
def test_one_mailbox_in_several_spellings_of_its_domain_is_one_recipient(split: bool) -> None:
    texts = ["r@b\u00fccher.example", "r@B\u00dcCHER.example.", "r@xn--bcher-kva.example", "R@b\u00fccher.example"]
    groups = group([parse_address(text) for text in texts], split=split)
    assert [str(one) for _, addresses in groups for one in addresses] == [texts[0], texts[3]]


def test_split_gives_each_recipient_an_entry_of_its_own() -> None:
    people = [address(text) for text in ("a@one.test", "b@one.test", "c@one.test")]
    assert [domain for domain, _ in group(people, split=True)] == ["one.test"] * 3


@given(st.lists(st.sampled_from(["a@x.test", "b@x.test", "a@y.test", "A@x.test"])), st.booleans())
def test_each_recipient_is_in_one_group_once(texts: list[str], split: bool) -> None:
    people = [address(text) for text in texts]
    grouped = [recipient for _, some in group(people, split=split) for recipient in some]
    assert len(grouped) == len(set(people))
    assert set(grouped) == set(people)


HOURS = RetryPlan((3600.0,) * 8)
LATER = report(*(outcome(number, Result.DEFERRED, "450 4.2.0 later") for number in (1, 2, 3)))


def late_entry(*, delay_reported: bool = False) -> Entry:
    """Three recipients with the first three of `PEOPLE`: DELAY asked for, not asked for, and nothing said."""
    people = entry(PEOPLE[:3], attempts=4).recipients
    said: tuple[dict[str, str], ...] = ({"NOTIFY": "SUCCESS,DELAY"}, {"NOTIFY": "FAILURE"}, {})
    return replace(
        entry(PEOPLE[:3], attempts=4),
        recipients=tuple(replace(to, parameters=given) for to, given in zip(people, said, strict=True)),
        delay_reported=delay_reported,
    )


@pytest.mark.parametrize(
    ("delay_warning", "waited", "told"),
    [
        (0.0, DELAY_REPORT - 1, []), (0.0, DELAY_REPORT, [1]), (60.0, 59.0, []), (60.0, 60.0, [1, 3]),
        (2 * DELAY_REPORT, DELAY_REPORT, []), (2 * DELAY_REPORT, 2 * DELAY_REPORT, [1, 3]), (60.0, -9999.0, []),
    ],
)  # fmt: skip
def test_a_delay_is_reported_to_who_asked_after_4_h_and_to_others_after_delay_warning(
    delay_warning: float, waited: float, told: list[int]
) -> None:
    change = transition(late_entry(), LATER, HOURS, T0 + waited, delay_warning=delay_warning)
    assert [o.recipient for o in change.delayed] == told
    assert change.remaining is not None
    assert change.remaining.delay_reported is bool(told)


def test_a_delay_is_reported_once() -> None:
    change = transition(late_entry(delay_reported=True), LATER, HOURS, T0 + DELAY_REPORT)
    assert change.delayed == ()
    assert change.remaining is not None
    assert change.remaining.delay_reported


def test_a_delay_of_mail_from_the_null_sender_is_not_reported() -> None:
    before = replace(late_entry(), message=NULL)
    assert transition(before, LATER, HOURS, T0 + DELAY_REPORT, delay_warning=1.0).delayed == ()


def test_a_delay_is_not_reported_of_who_has_the_mail_or_failed() -> None:
    mixed = report(outcome(1, Result.DELIVERED, "250 2.0.0 ok"), outcome(3, Result.BOUNCED, "550 5.1.1 no"))
    assert transition(late_entry(), mixed, HOURS, T0 + DELAY_REPORT, delay_warning=1.0).delayed == ()


def test_a_delay_whose_report_cannot_be_queued_is_reported_later() -> None:
    before = late_entry()
    change = unreported(before, transition(before, LATER, HOURS, T0 + DELAY_REPORT), 300.0, T0)
    assert (change.delayed, change.is_reported) == ((), False)
    assert change.remaining is not None
    again = transition(change.remaining, LATER, HOURS, T0 + DELAY_REPORT + 3600)
    assert [o.recipient for o in again.delayed] == [1]


@given(st.integers(0, 7), st.booleans(), st.floats(0, 10 * 3600))
def test_an_attempt_whose_failure_is_final_is_known_as_the_last_one_before(
    attempts: int, excused: bool, age: float
) -> None:
    before = replace(late_entry(), attempts=attempts)
    said = replace(LATER, counted=not excused, excused=excused)
    if transition(before, said, HOURS, T0 + age).remaining is None:
        assert is_last_attempt(before, HOURS, T0 + age)
    elif not excused and age <= HOURS.total:
        assert not is_last_attempt(before, HOURS, T0 + age)


@given(st.integers(0, 7), st.booleans())
def test_retries_end_when_the_report_of_a_delay_says(attempts: int, counted: bool) -> None:
    """With the middle of the spread, and attempts that are all counted from then on."""
    now = T0 + DELAY_REPORT
    said = replace(LATER, counted=counted, retry_after=None if counted else 10.0)
    change = transition(replace(late_entry(), attempts=attempts), said, HOURS, now)
    until, current = change.retry_until, change.remaining
    while current is not None:
        assert current.next_attempt is not None
        now = current.next_attempt
        current = transition(current, LATER, HOURS, now).remaining
    assert until == now or (until is None and change.remaining is None)


def test_a_tls_report_is_given_up_after_a_day() -> None:
    """RFC 8460 5.5; other mail goes on by the plan."""
    plan = RetryPlan((3600.0,) * 100)
    of = replace(NULL, notes={TLS_REPORT_NOTE: True})
    deferral = report(outcome(1, Result.DEFERRED))
    young, old = of.queued_at + 3600.0, of.queued_at + REPORT_LIFE - 1
    assert transition(entry(of=of), deferral, plan, young).remaining is not None
    assert transition(entry(of=of), deferral, plan, old).remaining is None
    assert transition(entry(of=NULL), deferral, plan, old).remaining is not None

"""Every stage and every class of reply, every fault: what it means for a recipient."""

from __future__ import annotations

import itertools

import pytest
from tests.support.attempts import make_entry

from mailboat.delivery.verdict import (
    FAULTS,
    REPLIES,
    Action,
    FaultKind,
    ReplyClass,
    Transcript,
    Trouble,
    action_for,
    class_of,
    deferred,
    ends_attempt,
    exhausted,
    judge,
    status_of,
    was_dead,
)
from mailboat.model.outcome import Result, Stage
from mailboat.model.reply import Reply

OK, GO = Reply(250, "ok"), Reply(354, "go")
PEOPLE = make_entry("a@there.test", "b@there.test", "c@there.test").recipients
CLOSED = Trouble(Stage.RCPT, FaultKind.CLOSED, "connection closed by the peer")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (200, ReplyClass.SUCCESS),
        (299, ReplyClass.SUCCESS),
        (300, ReplyClass.INTERMEDIATE),
        (354, ReplyClass.INTERMEDIATE),
        (400, ReplyClass.TRANSIENT),
        (421, ReplyClass.CLOSING),
        (422, ReplyClass.TRANSIENT),
        (499, ReplyClass.TRANSIENT),
        (500, ReplyClass.PERMANENT),
        (599, ReplyClass.PERMANENT),
    ],
)
def test_a_code_belongs_to_one_class(code: int, kind: ReplyClass) -> None:
    assert class_of(Reply(code, "")) is kind


def test_the_table_answers_every_class_at_every_stage_that_has_replies() -> None:
    assert set(REPLIES) == {
        Stage.GREETING,
        Stage.EHLO,
        Stage.STARTTLS,
        Stage.AUTH,
        Stage.MAIL,
        Stage.RCPT,
        Stage.DATA,
        Stage.DOT,
    }
    assert all(set(row) == set(ReplyClass) for row in REPLIES.values())
    assert set(FAULTS) == set(FaultKind)


def test_no_fault_without_a_reply_is_ever_permanent() -> None:
    assert all(status.startswith("4.") for _, status in FAULTS.values())
    assert Action.BOUNCE not in {action for action, _ in FAULTS.values()}


@pytest.mark.parametrize("stage", list(REPLIES))
@pytest.mark.parametrize("code", [250, 354, 399, 421, 450, 552, 550, 599])
def test_only_a_permanent_reply_bounces_and_only_a_positive_one_delivers(stage: Stage, code: int) -> None:
    action = action_for(stage, Reply(code, ""))

    if action is Action.BOUNCE:
        assert code >= 500
    if action is Action.DELIVERED:
        assert (stage, code) == (Stage.DOT, 250)


@pytest.mark.parametrize(
    ("text", "result", "status"),
    [
        ("5.1.1 unknown", Result.BOUNCED, "5.1.1"),
        ("5.7.26 dmarc", Result.BOUNCED, "5.7.26"),
        ("no code", Result.BOUNCED, "5.0.0"),
        ("4.1.1 another class", Result.BOUNCED, "5.0.0"),
        ("5.2.2 full", Result.DEFERRED, "4.2.2"),
        ("", Result.DEFERRED, "4.0.0"),
    ],
)
def test_the_status_is_the_peers_in_the_class_of_the_result(text: str, result: Result, status: str) -> None:
    assert status_of(Reply(550, text), result) == status


def test_a_transaction_that_went_well_delivers_to_all() -> None:
    reply = Reply(250, "2.6.0 queued")
    judgement = judge(Transcript(OK, [OK, Reply(251, ""), Reply(252, "")], GO, [reply], dot_sent=True), PEOPLE, "mx")

    assert [(o.recipient, o.result, o.status, o.reply) for o in judgement.outcomes] == [
        (person.id, Result.DELIVERED, "2.6.0", reply) for person in PEOPLE
    ]
    assert (judgement.again, judgement.unanswered, judgement.trouble) == ([], [], None)


def test_recipients_without_a_reply_are_unanswered() -> None:
    judgement = judge(Transcript(OK, [OK, Reply(550, "")], fault=CLOSED), PEOPLE, "mx")

    assert [(o.recipient, o.result) for o in judgement.outcomes] == [(2, Result.BOUNCED)]
    assert {person.id for person in judgement.unanswered} == {1, 3}
    assert judgement.trouble is CLOSED


def test_no_recipient_has_an_outcome_when_mail_was_not_answered() -> None:
    judgement = judge(Transcript(fault=CLOSED), PEOPLE, "mx")

    assert (judgement.outcomes, judgement.unanswered) == ([], list(PEOPLE))


def test_every_recipient_ends_in_exactly_one_place_whatever_was_answered() -> None:
    rcpt = (OK, Reply(450, ""), Reply(550, ""), Reply(452, "4.5.3 many"))
    datas = (None, GO, OK, Reply(399, ""), Reply(421, ""), Reply(450, ""), Reply(550, ""))
    dots: tuple[list[Reply], ...] = ([], [OK], [Reply(450, "")], [Reply(550, "")], [OK, Reply(550, "")])
    for rcpts, data, dot, lmtp, sent in itertools.product(
        itertools.chain.from_iterable(itertools.product(rcpt, repeat=n) for n in range(4)),
        datas,
        dots,
        (False, True),
        (False, True),
    ):
        transcript = Transcript(OK, list(rcpts), data, list(dot), lmtp, sent, CLOSED)
        judgement = judge(transcript, PEOPLE, "mx")

        settled = [o.recipient for o in judgement.outcomes]
        settled += [o.recipient for o in judgement.answered]
        settled += [r.id for r in judgement.again] + [r.id for r in judgement.unanswered]
        assert sorted(settled) == [1, 2, 3], transcript
        assert not judgement.unanswered or judgement.trouble is not None


def test_a_positive_reply_to_data_decides_nothing_and_leads_to_the_next_target() -> None:
    judgement = judge(Transcript(OK, [OK] * 3, Reply(250, "")), PEOPLE, "mx")

    assert judgement.unanswered == list(PEOPLE)
    assert judgement.trouble is not None
    assert not ends_attempt(judgement.trouble)


@pytest.mark.parametrize("code", [421, 450, 451, 452, 499])
@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
def test_a_4yz_before_the_message_leaves_it_to_the_next_target_and_421_ends_it_all(stage: Stage, code: int) -> None:
    reply = Reply(code, "4.7.1 later")
    transcript = {
        Stage.MAIL: Transcript(reply),
        Stage.RCPT: Transcript(OK, [reply] * 3, Reply(503, "")),
        Stage.DATA: Transcript(OK, [OK] * 3, reply),
    }[stage]
    judgement = judge(transcript, PEOPLE, "mx")

    assert [(o.recipient, o.result, o.status, o.stage) for o in judgement.answered] == [
        (person.id, Result.DEFERRED, "4.7.1", stage) for person in PEOPLE
    ]
    assert (judgement.outcomes, judgement.unanswered) == ([], [])
    assert (judgement.trouble is not None) == (code == 421)
    assert judgement.trouble is None or not ends_attempt(judgement.trouble)


def test_lost_replies_are_ambiguous_only_after_the_dot() -> None:
    before = judge(Transcript(OK, [OK] * 3, GO, fault=CLOSED), PEOPLE, "mx")
    after = judge(Transcript(OK, [OK] * 3, GO, dot_sent=True, fault=CLOSED), PEOPLE, "mx")

    assert (before.outcomes, before.unanswered) == ([], list(PEOPLE))
    assert [(o.result, o.status, o.ambiguous) for o in after.outcomes] == [(Result.DEFERRED, "4.4.2", True)] * 3


@pytest.mark.parametrize(
    ("transcript", "dead"),
    [
        (Transcript(fault=CLOSED), True),
        (Transcript(mail=Reply(421, "idle")), True),
        (Transcript(mail=OK, fault=CLOSED), False),
        (Transcript(mail=Reply(450, "later")), False),
        (Transcript(mail=Reply(503, "sender already given")), True),
    ],
)
def test_a_used_connection_was_dead_when_its_first_reply_says_nothing_of_the_message(
    transcript: Transcript, dead: bool
) -> None:
    assert was_dead(transcript) is dead


@pytest.mark.parametrize("kind", list(FaultKind))
def test_faults_of_our_own_end_the_attempt_and_others_do_not(kind: FaultKind) -> None:
    assert ends_attempt(Trouble(Stage.CONNECT, kind, "x")) is (kind is FaultKind.LOCAL)


def test_wrong_credentials_end_the_attempt_and_a_busy_server_does_not() -> None:
    assert ends_attempt(Trouble(Stage.AUTH, reply=Reply(535, "5.7.8 no")))
    assert not ends_attempt(Trouble(Stage.AUTH, reply=Reply(454, "4.7.0 later")))
    [outcome, *_] = deferred(PEOPLE, Trouble(Stage.AUTH, reply=Reply(535, "5.7.8 no")), "mx")
    assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.7.8")


@pytest.mark.parametrize(
    ("troubles", "result", "status"),
    [
        ([Trouble(Stage.CONNECT, FaultKind.CONNECT, "refused")], Result.DEFERRED, "4.4.1"),
        ([Trouble(Stage.GREETING, reply=Reply(554, "5.7.1 no"))], Result.BOUNCED, "5.7.1"),
        ([Trouble(Stage.EHLO, reply=Reply(550, "no"))], Result.BOUNCED, "5.0.0"),
        ([Trouble(Stage.STARTTLS, reply=Reply(554, "no"))], Result.DEFERRED, "4.7.4"),
        ([Trouble(Stage.STARTTLS, reply=Reply(454, "4.7.0 no"))], Result.DEFERRED, "4.7.4"),
        ([Trouble(Stage.MAIL, reply=Reply(421, "4.3.2 bye"))], Result.DEFERRED, "4.3.2"),
        (
            [Trouble(Stage.GREETING, reply=Reply(421, "")), Trouble(Stage.GREETING, reply=Reply(554, "5.7.1 no"))],
            Result.DEFERRED,
            "4.7.1",
        ),
        (
            [Trouble(Stage.GREETING, reply=Reply(554, "")), Trouble(Stage.TLS, FaultKind.TLS, "bad")],
            Result.DEFERRED,
            "4.7.5",
        ),
    ],
)
def test_when_no_target_is_left_the_last_one_names_the_reason(
    troubles: list[Trouble], result: Result, status: str
) -> None:
    outcomes = exhausted(PEOPLE, [(f"mx{n}", f"mx{n}[192.0.2.{n}]:25", t) for n, t in enumerate(troubles, 1)])

    assert {(o.result, o.status, o.mx) for o in outcomes} == {(result, status, f"mx{len(troubles)}")}
    assert outcomes[0].reason.endswith(f"[192.0.2.{len(troubles)}]:25: {troubles[-1]}")


def test_without_any_target_mail_waits() -> None:
    assert {(o.result, o.status) for o in exhausted(PEOPLE, [])} == {(Result.DEFERRED, "4.4.3")}

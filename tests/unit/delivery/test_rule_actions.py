"""A rule changes what a reply means for the message that it answers."""

from __future__ import annotations

import pytest

from mailboat.delivery.rule_actions import acted, retry_after
from mailboat.delivery.verdict import Judgement
from mailboat.model.outcome import Outcome, Result, Stage
from mailboat.model.reply import Reply
from mailboat.shaping.pattern import Pattern
from mailboat.shaping.rules import Rule, parse_action

LISTED = Reply(550, "5.7.1 listed")
GONE = Reply(450, "4.2.1 gone for good")


def rule(*actions: str) -> Rule:
    """One that any reply fires."""
    return Rule("r", (), (Pattern("*"),), tuple(parse_action(action) for action in actions))


def outcome(result: Result, status: str, reply: Reply) -> Outcome:
    """Of a recipient at RCPT."""
    return Outcome(1, result, status, Stage.RCPT, str(reply), reply, "mx")


def test_defer_makes_a_permanent_refusal_temporary() -> None:
    judgement = Judgement(outcomes=[outcome(Result.BOUNCED, "5.7.1", LISTED)])
    acted(judgement, {(Stage.RCPT, LISTED): rule("defer")})
    assert judgement.outcomes == [outcome(Result.DEFERRED, "4.7.1", LISTED)]


def test_fail_makes_a_temporary_refusal_permanent_and_asks_no_other_host() -> None:
    judgement = Judgement(answered=[outcome(Result.DEFERRED, "4.2.1", GONE)])
    acted(judgement, {(Stage.RCPT, GONE): rule("fail")})
    assert judgement.outcomes == [outcome(Result.BOUNCED, "5.2.1", GONE)]
    assert judgement.answered == []


@pytest.mark.parametrize("actions", [("alert",), ("retry 5m",), ("fail",)])
def test_other_actions_leave_a_permanent_refusal_as_it_is(actions: tuple[str, ...]) -> None:
    judgement = Judgement(outcomes=[outcome(Result.BOUNCED, "5.7.1", LISTED)])
    acted(judgement, {(Stage.RCPT, LISTED): rule(*actions)})
    assert judgement.outcomes == [outcome(Result.BOUNCED, "5.7.1", LISTED)]


def test_replies_that_fire_no_rule_keep_their_meaning() -> None:
    judgement = Judgement(outcomes=[outcome(Result.BOUNCED, "5.7.1", LISTED)])
    acted(judgement, {(Stage.DOT, LISTED): rule("defer")})
    assert judgement.outcomes == [outcome(Result.BOUNCED, "5.7.1", LISTED)]


def test_the_longest_retry_counts() -> None:
    fired = {(Stage.RCPT, LISTED): rule("retry 5m"), (Stage.RCPT, GONE): rule("retry 10m", "alert")}
    assert retry_after(fired) == 600.0
    assert retry_after({(Stage.RCPT, LISTED): rule("alert")}) is None

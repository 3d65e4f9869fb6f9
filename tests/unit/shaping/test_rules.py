"""Rules from replies: their words, what they match, and what their samples show to be wrong."""

from __future__ import annotations

import pytest

from mailboat.shaping.pattern import Pattern
from mailboat.shaping.rate import parse_rate
from mailboat.shaping.rules import (
    ALL_STAGES,
    ActionKind,
    Rule,
    RuleAction,
    RuleStage,
    RuleTrigger,
    faults_of,
    first_match,
    one_line,
    parse_action,
    parse_span,
    parse_trigger,
)
from mailboat.shaping.scopes import Scope, ScopeKind

P, Q = (Scope(ScopeKind.PROVIDER, name) for name in "pq")
D = Scope(ScopeKind.DOMAIN, "d.test")


def rule(
    name: str,
    *replies: str,
    on: tuple[Scope, ...] = (P,),
    samples: tuple[str, ...] = (),
    stages: frozenset[RuleStage] = ALL_STAGES,
) -> Rule:
    suspend = (RuleAction(ActionKind.SUSPEND),)
    return Rule(name, on, tuple(map(Pattern, replies)), suspend, samples, stages=stages, spans=(60.0,))


MAIL_ONLY = rule("first", "421 *", stages=frozenset({RuleStage.MAIL}))


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        ("421 4.7.0 [TS01] no", "421 4.7.0 [TS01] no"),
        ("421-4.7.28 too\r\n421-4.7.28 much\r\n421 4.7.28 mail", "421 4.7.28 too much mail"),
        (
            "554-gmx.net (mx1) ESMTP\r\n554-No SMTP service\r\n554 Reject",
            "554 gmx.net (mx1) ESMTP No SMTP service Reject",
        ),
        ("421", "421"),
        ("connection refused", "connection refused"),
        ("550 5.7.1 a\r\n550 5.7.2 b", "550 5.7.1 a 5.7.2 b"),
    ],
)
def test_a_reply_becomes_one_line(reply: str, line: str) -> None:
    assert one_line(reply) == line


def test_the_first_rule_of_the_most_specific_section_is_fired() -> None:
    general, other, mine = rule("general", "4*", on=()), rule("p", "421 *"), rule("d", "421 x*", on=(D,))
    rules = (general, other, mine)
    assert first_match(rules, (D, P), RuleStage.MAIL, "421 xyz") == (mine, D)
    assert first_match(rules, (D, P), RuleStage.MAIL, "421 abc") == (other, P)
    assert first_match(rules, (Q,), RuleStage.MAIL, "421 abc") == (general, None)
    assert first_match(rules, (P,), RuleStage.MAIL, "250 ok") is None


def test_a_rule_looks_at_its_stages_only() -> None:
    of_mail = rule("r", "421 *", stages=frozenset({RuleStage.MAIL}))
    assert of_mail.matches(RuleStage.MAIL, "421 x")
    assert of_mail.matches(None, "421 x")
    assert not of_mail.matches(RuleStage.DOT, "421 x")
    assert not rule("r", "*").matches(RuleStage.CONNECT, "refused")


def test_samples_show_what_is_wrong() -> None:
    good = rule("good", "421 [A#] *", samples=("421 [A1] x",))
    assert list(faults_of(good, (good,))) == []
    assert [key for key, _ in faults_of(rule("r", "421 *"), ())] == ["sample"]
    bad = rule("bad", "421 [A#]*", "450 *", samples=("421 [A1] x", "421 [B1] x"))
    assert list(faults_of(bad, (bad,))) == [
        ("sample", "'421 [B1] x' matches none of its patterns"),
        ("reply", "'450 *' matches none of its samples"),
    ]


def test_a_rule_that_an_earlier_one_always_takes_the_reply_of_is_shadowed() -> None:
    first = rule("first", "421 *", samples=("421 x",))
    second = rule("second", "421 x*", samples=("421 xy",))
    assert list(faults_of(second, (first, second))) == [
        ("sample", "'421 xy' never fires it, because [rule:first] comes first")
    ]
    assert list(faults_of(second, (second, first))) == []


@pytest.mark.parametrize(
    "first",
    [
        rule("first", "421 *", stages=frozenset({RuleStage.MAIL})),
        rule("first", "421 *", on=(Q,)),
        rule("first", "421 *", on=()),
    ],
    ids=["one stage", "other section", "all mail"],
)
def test_only_rules_of_one_section_and_all_stages_shadow(first: Rule) -> None:
    second = rule("second", "421 x*", samples=("421 xy",))
    assert list(faults_of(second, (first, second))) == []


@pytest.mark.parametrize(
    ("text", "action", "shown"),
    [
        ("suspend", RuleAction(ActionKind.SUSPEND), "suspend"),
        ("rate *0.5 floor 6/1m", RuleAction(ActionKind.RATE, 0.5, parse_rate("6/1m")), "rate *0.5 floor 6/1m"),
        ("rate =6/1m", RuleAction(ActionKind.RATE, value=parse_rate("6/1m")), "rate =6/1m"),
        ("connections *.25 floor 1", RuleAction(ActionKind.CONNECTIONS, 0.25, 1), "connections *0.25 floor 1"),
        ("Connections =1", RuleAction(ActionKind.CONNECTIONS, value=1), "connections =1"),
        ("retry 15m", RuleAction(ActionKind.RETRY, value=900.0), "retry 900s"),
    ],
)
def test_actions_are_read_and_shown(text: str, action: RuleAction, shown: str) -> None:
    assert parse_action(text) == action
    assert str(action) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "explode", "suspend 5m", "rate *2 floor 6/1m", "rate *0 floor 6/1m", "rate *0.5", "rate"),
        *("connections =0", "connections =6/1m", "retry", "retry 15", "rate *0.5 floor 6"),
    ],
)
def test_what_is_no_action_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|takes|suspend takes) "):
        parse_action(text)


def test_triggers_and_spans_are_read() -> None:
    assert parse_trigger("1") == RuleTrigger()
    assert parse_trigger("2/10m") == RuleTrigger(2, 600.0)
    assert parse_span("1d") == 86_400.0
    for text in ("0/1m", "2", "2/", "x/1m", "1001/1m", "2/0s"):
        with pytest.raises(ValueError, match="is not a "):
            parse_trigger(text)
    for text in ("", "5", "0s", "31d", "1.5h"):
        with pytest.raises(ValueError, match="is not a time"):
            parse_span(text)

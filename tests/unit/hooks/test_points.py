"""The table of points against what may be answered: every code at every point, and every kind of value."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mailboat.hooks import CONT, DELAY, DENYSOFT, OK, POINTS, Code, Mx, Point
from mailboat.hooks.points import MAX_SECONDS, InvalidAnswerError, Value, parse_answer

GATE = {Code.OK, Code.DENY, Code.DENYSOFT, Code.DENYDISCONNECT, Code.DENYSOFTDISCONNECT}
ANSWERS = {
    Point.CONNECT: GATE,
    Point.EHLO: GATE,
    Point.AUTH: GATE,
    Point.MAIL: GATE,
    Point.RCPT: GATE,
    Point.DATA_POST: GATE,
    Point.QUEUE_OUTBOUND: GATE,
    Point.PRE_SEND_TRANS_EMAIL: {Code.OK},
    Point.QUEUE_OK: {Code.OK},
    Point.SEND_EMAIL: {Code.OK, Code.DELAY},
    Point.GET_MX: {Code.OK, Code.DENY, Code.DENYSOFT},
    Point.DEFERRED: {Code.OK, Code.DENYSOFT},
    Point.BOUNCE: {Code.OK},
    Point.DELIVERED: {Code.OK},
}
GOOD: dict[Value, object] = {Value.NOTHING: None, Value.TEXT: "no", Value.SECONDS: 5, Value.NEXT_HOPS: "mx.test"}


@pytest.mark.parametrize("point", Point)
@pytest.mark.parametrize("code", Code)
def test_a_point_takes_its_codes_and_no_others(point: Point, code: Code) -> None:
    if code is CONT:
        assert parse_answer(point, code) == (CONT, None)
    elif code in ANSWERS[point]:
        assert parse_answer(point, (code, GOOD[POINTS[point].answers[code]]))[0] is code
    else:
        with pytest.raises(InvalidAnswerError, match=f"{code.value} is not an answer of {point}"):
            parse_answer(point, (code, None))


@pytest.mark.parametrize("point", Point)
def test_each_row_is_documented_whole(point: Point) -> None:
    facts = POINTS[point]
    assert facts.when
    assert facts.effects.keys() == facts.answers.keys()


@pytest.mark.parametrize(
    "answer", ["OK", 1, True, (OK,), (OK, 1, 2), ("OK", None), [OK, None], {}, object(), (None, "x")]
)
def test_what_is_no_answer_at_all_is_nonsense(answer: object) -> None:
    with pytest.raises(InvalidAnswerError, match="neither a code nor a code with a value"):
        parse_answer(Point.RCPT, answer)


@pytest.mark.parametrize("seconds", [0, 1, 2.5, MAX_SECONDS])
def test_a_delay_is_a_number_of_seconds(seconds: float) -> None:
    assert parse_answer(Point.SEND_EMAIL, (DELAY, seconds)) == (DELAY, float(seconds))
    assert parse_answer(Point.DEFERRED, (DENYSOFT, seconds)) == (DENYSOFT, float(seconds))


@pytest.mark.parametrize("value", [None, "5", -1, -0.5, math.nan, math.inf, True, MAX_SECONDS + 1, 10**400, [5]])
def test_a_delay_that_is_no_possible_number_is_nonsense(value: object) -> None:
    for point, code in ((Point.SEND_EMAIL, DELAY), (Point.DEFERRED, DENYSOFT)):
        with pytest.raises(InvalidAnswerError):
            parse_answer(point, (code, value))


def test_next_hops_are_one_or_a_list_in_the_order_given() -> None:
    assert parse_answer(Point.GET_MX, (OK, "a.test"))[1] == (Mx("a.test"),)
    several = ["b.test:26", Mx("a.test", priority=1), {"exchange": "c.test"}]
    assert [mx.exchange for mx in parse_answer(Point.GET_MX, (OK, several))[1]] == ["b.test", "a.test", "c.test"]


@pytest.mark.parametrize("value", [None, [], (), ["ok.test", None], [["a.test"]], 5, Path("x")])
def test_no_next_hop_is_nonsense(value: object) -> None:
    with pytest.raises(InvalidAnswerError):
        parse_answer(Point.GET_MX, (OK, value))


@pytest.mark.parametrize("value", [5, b"no", ["no"], object()])
def test_a_text_is_text(value: object) -> None:
    with pytest.raises(InvalidAnswerError, match="not a string"):
        parse_answer(Point.MAIL, (DENYSOFT, value))


def test_a_value_that_breaks_when_it_is_looked_at_is_nonsense() -> None:
    class Broken:
        @property
        def exchange(self) -> str:
            raise ZeroDivisionError

        def __repr__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(InvalidAnswerError):
        parse_answer(Point.GET_MX, (OK, Broken()))
    with pytest.raises(InvalidAnswerError):
        parse_answer(Point.MAIL, Broken())

"""Rates: no half-open window of their period holds too many, whatever the timing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.shaping.rate import SECOND, UNUSED, RateLimit, parse_rate


@st.composite
def rates(draw: st.DrawFn) -> RateLimit:
    count = draw(st.integers(1, 60))
    return RateLimit(count, draw(st.integers(1, 10**10)), draw(st.integers(1, count)))


def fullest_window(taken: list[tuple[int, int]], period: int) -> int:
    """The most that any half-open window holds; `taken` are moments with costs."""
    return max(sum(cost for at, cost in taken if start <= at < start + period) for start, _ in taken)


@given(rates(), st.data())
def test_no_window_holds_more_than_the_rate(rate: RateLimit, data: st.DataObject) -> None:
    tat, now, taken = UNUSED, 0, []
    for _ in range(data.draw(st.integers(1, 80))):
        cost = data.draw(st.one_of(st.just(1), st.integers(1, rate.count)))
        earliest = rate.earliest(tat, cost)
        # Most adversarial is the very first moment; sometimes any other.
        now = max(now, earliest) + data.draw(st.one_of(st.just(0), st.integers(0, rate.period)))
        tat = rate.take(tat, now, cost)
        taken.append((now, cost))
    assert fullest_window(taken, rate.period) <= rate.count


@given(rates(), st.data())
def test_no_window_holds_more_when_some_is_given_back(rate: RateLimit, data: st.DataObject) -> None:
    tat, now, taken = UNUSED, 0, []
    for _ in range(data.draw(st.integers(1, 60))):
        now = max(now, rate.earliest(tat))
        tat = after = rate.take(tat, now)
        if data.draw(st.booleans()):
            tat = rate.give_back(tat, after)
        else:
            taken.append((now, 1))
    assert not taken or fullest_window(taken, rate.period) <= rate.count


@given(rates(), st.data())
def test_permits_that_are_used_late_keep_the_rate(rate: RateLimit, data: st.DataObject) -> None:
    lent, tat, now, used = rate.lent, UNUSED, 0, []
    for _ in range(data.draw(st.integers(1, 80))):
        now = max(now, lent.earliest(tat))
        tat = lent.take(tat, now)
        used.append((now + data.draw(st.sampled_from((0, rate.slack))), 1))
    assert fullest_window(used, rate.period) <= rate.count


@given(rates())
def test_all_of_the_rate_can_be_used(rate: RateLimit) -> None:
    """What is taken at the first moment each time comes to the burst at once, and the rest of the rate a period."""
    tat, moments = UNUSED, []
    for _ in range(rate.count + 1):
        moments.append(max(0, rate.earliest(tat)))
        tat = rate.take(tat, moments[-1])
    assert moments.count(0) == min(rate.burst, rate.count + 1)
    assert all(later - earlier in (0, rate.interval) for earlier, later in pairwise(moments))


def test_what_was_given_back_after_another_was_taken_lapses() -> None:
    rate = RateLimit(60, 60 * SECOND)
    first = rate.take(UNUSED, 0)
    second = rate.take(first, rate.earliest(first))
    assert rate.give_back(second, first) == second
    assert rate.give_back(second, second) == first


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("30/1m", RateLimit(30, 60 * SECOND)),
        ("30/5s", RateLimit(30, 5 * SECOND)),
        ("900/1h", RateLimit(900, 3600 * SECOND, 45)),
        ("10/1d", RateLimit(10, 86_400 * SECOND)),
        ("100/1m burst 7", RateLimit(100, 60 * SECOND, 7)),
        ("5/90m", RateLimit(5, 5400 * SECOND)),
    ],
)
def test_rates_are_read_and_shown(text: str, rate: RateLimit) -> None:
    assert parse_rate(text) == rate
    assert str(rate) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "30", "30/m", "/1m", "0/1m", "1/0m", "-1/1m", "1.5/1m", "30/1w", "5/1m burst 6", "5/1m burst 0"),
        *("1/1m burst", "5/1m burst x", "9" * 50 + "/1m", "1/367d", "\N{ARABIC-INDIC DIGIT THREE}/1m"),
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) "):
        parse_rate(text)

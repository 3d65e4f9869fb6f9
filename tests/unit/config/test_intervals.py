"""The grammar of `temp_fail_intervals`: Haraka's cases, and those where we do better."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.config.intervals import intervals, render

ACCEPTED = {
    "10s, 1m*2": (10, 60, 60),
    "1m, 5m*2, 1h*3": (60, 300, 300, 3600, 3600, 3600),
    "30s, 1m, 5m, 9m, 15m*3, 30m*2, 1h*3, 2h*3, 1d": (
        *(30, 60, 300, 540, 900, 900, 900, 1800, 1800),
        *(3600, 3600, 3600, 7200, 7200, 7200, 86400),
    ),
    "5s": (5,),
    "5.5s": (5.5,),
    "1M": (60,),
    "1H*2": (3600, 3600),
    "2D": (172800,),
    "1 0 s": (10,),
    " 1\tm * 2 ": (60, 60),
    "none": (),
    "NONE": (),
    " No ne ": (),
    "365d": (31536000,),
}
REFUSED = {
    "4s": "shorter than 5 seconds",
    "4.9s": "shorter than 5 seconds",
    "0m": "shorter than 5 seconds",
    "366d": "longer than a year",
    "999999999999d": "longer than a year",
    "90": "no unit",
    "1": "no unit",
    "60 min": "not a time",
    "0x10s": "not a time",
    "1e2s": "not a time",
    "-1m": "not a time",
    "1w": "not a time",
    "m": "not a time",
    "1m;2m": "not a time",
    "none,1m": "not a time",
    "*3": "not a time",
    ".5m": "not a time",
    "٣m": "not a time",
    "1m*0": "the repetition is not a whole number",
    "1m*-1": "the repetition is not a whole number",
    "1m*1.5": "the repetition is not a whole number",
    "1m*x": "the repetition is not a whole number",
    "1m*1e1": "the repetition is not a whole number",
    "1m*": "the repetition is not a whole number",
    "1m*2*3": "the repetition is not a whole number",
    "1m*0,5s": "the repetition is not a whole number",
    "1m,": "empty",
    ",": "empty",
    "1m,,2m": "empty",
    "1m*999999": "more than 10000",
    "1m*9999, 2m*2": "more than 10000",
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted(text: str) -> None:
    assert intervals(text) == ACCEPTED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[text]):
        intervals(text)


@pytest.mark.parametrize("text", ["", "  ", "\t"])
def test_no_text_means_the_default_schedule(text: str) -> None:
    assert intervals(text) is None


def test_a_hostile_text_makes_a_short_message() -> None:
    with pytest.raises(ValueError) as caught:
        intervals("1m*" + "9" * 1_000_000)
    assert len(str(caught.value)) < 300


ITEMS = st.tuples(st.integers(5, 31_536_000) | st.integers(5000, 90_000).map(lambda ms: ms / 1000), st.integers(1, 5))


@given(st.lists(ITEMS, max_size=12))
def test_what_is_rendered_reads_back_the_same(items: list[tuple[float, int]]) -> None:
    delays = tuple(float(delay) for delay, count in items for _ in range(count))
    assert intervals(render(delays)) == delays


def test_no_schedule_renders_as_no_text() -> None:
    assert render(None) == ""

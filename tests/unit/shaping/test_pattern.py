"""Patterns of replies: what they match, and that no text makes them slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.shaping.pattern import COMPARED, Pattern, Regex

PIECES = st.lists(
    st.sampled_from(["*", "#", r"\*", r"\#", "\\\\", "a", "b", "1", "2", "[", "."]), min_size=1, max_size=9
)


def as_regex(pieces: list[str]) -> re.Pattern[str]:
    special = {"*": ".*", "#": "[0-9]+"}
    return re.compile("".join(special.get(piece, re.escape(piece[-1])) for piece in pieces), re.DOTALL)


@given(PIECES, st.text("ab12[.*#\\", max_size=14))
def test_a_pattern_matches_what_the_same_regular_expression_does(pieces: list[str], text: str) -> None:
    assert Pattern("".join(pieces)).matches(text) == bool(as_regex(pieces).fullmatch(text))


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("421 4.7.0 [TSS#] *", "421 4.7.0 [TSS04] deferred", True),
        ("421 4.7.0 [TSS#] *", "421 4.7.0 [tss04] DEFERRED", True),
        ("421 4.7.0 [TSS#] *", "421 4.7.0 [TSS] deferred", False),
        ("421 4.7.0 [TSS#] *", "x421 4.7.0 [TSS04] deferred", False),
        ("4# *Throttled*", "421 4.1.0 Throttled - later", True),
        ("4# *Throttled", "421 4.1.0 Throttled - later", False),
        ("##", "1", False),
        ("##", "12", True),
        (r"\*#\#", "*77#", True),
    ],
)
def test_patterns_cover_the_whole_text_without_case(pattern: str, text: str, matches: bool) -> None:
    assert Pattern(pattern).matches(text) is matches


def test_only_the_beginning_of_a_long_text_is_compared() -> None:
    assert Pattern("a*b").matches("a" + "c" * (COMPARED - 2) + "b" + "d" * 9)
    assert not Pattern("a*b").matches("a" + "c" * (COMPARED - 1) + "b")


def test_no_text_makes_a_pattern_go_back() -> None:
    """A backtracking matcher would need longer than the universe has had."""
    started = time.process_time()
    assert not Pattern("*a" * 100 + "*#*#*b").matches("a1" * 500)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("text", ["", "a" * 257, "a\\", r"\a"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="has a "):
        Pattern(text)


@pytest.mark.parametrize(
    ("regex", "text", "matches"),
    [
        ("421 .*(rate|volume).*", "421 4.7.0 Your RATE is high", True),
        ("421 .*(rate|volume).*", "x421 4.7.0 Your rate is high", False),
        ("421 [a-z]+", "421 abc1", False),
        ("a.{0,5}b", "a" + "x" * 5 + "b", True),
    ],
)
def test_a_regular_expression_is_compared_with_the_whole_text_without_case(
    regex: str, text: str, matches: bool
) -> None:
    assert Regex(regex).matches(text) is matches


@pytest.mark.parametrize(
    "regex",
    ["(a+)+b", "(aa|a)*b", "(a*)*", "(a{2,5}){2}", ".*.*.*x", "a?" * 24, "(?=a)b", r"(a)\1", "(x", "", "a" * 257],
)
def test_a_regular_expression_that_a_text_could_make_slow_is_refused(regex: str) -> None:
    with pytest.raises(ValueError, match=r"repeats|has a|is not a regular"):
        Regex(regex)


@pytest.mark.parametrize(
    ("regex", "text"), [(".*a.*b", "a" * 5000), ("a+a+a{0,7}b", "a" * 5000), ("a?" * 22, "a" * 5000)]
)
def test_no_text_makes_a_regular_expression_slow(regex: str, text: str) -> None:
    """Hosts choose the texts. Two nested repetitions take hours here; what is taken is done in a tenth of a second."""
    began = time.process_time()
    assert not Regex(regex).matches(text)
    assert time.process_time() - began < 2

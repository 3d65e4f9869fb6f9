"""What rules put into force: exact triggers, spans that grow, and nothing by attempts that knew nothing of it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mailboat.shaping.overrides import MARGIN_MAX, OverridePlace, Overrides, RuleMatch, packed, unpacked

HERE = OverridePlace("provider:p", "", "default")
MATCH = RuleMatch("slow", HERE, "suspend", "421 4.7.0 no", 0.0, count=2, seconds=60.0, spans=(100.0, 400.0))


def fired(overrides: Overrides, match: RuleMatch, now: float, began: float | None = None) -> float | None:
    """When the override that a match begins ends; None: it begins none."""
    begun = overrides.matched(replace(match, began=now if began is None else began), now)
    return None if begun is None else begun.until


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 200))
def test_the_trigger_is_exact(gaps: list[int], count: int, seconds: int) -> None:
    """It fires at the first match that is the last of `count` within any `seconds`, and not before."""
    overrides, times, now = Overrides(), [], 1000.0
    match = replace(MATCH, count=count, seconds=float(seconds))
    for gap in gaps:
        now += gap
        times.append(now)
        within = len(times) - bisect_left(times, now - seconds + 0.5)
        assert (fired(overrides, match, now) is not None) == (within >= count)
        if within >= count:
            return


def test_a_span_grows_if_the_rule_fires_again_within_twice_the_last_one() -> None:
    once = replace(MATCH, count=1, seconds=0.0)
    overrides = Overrides()
    assert fired(overrides, once, 1000.0) == 1100.0
    assert fired(overrides, once, 1150.0) == 1550.0
    assert fired(overrides, once, 1900.0) == 2300.0
    assert fired(overrides, once, 3000.0) == 3100.0


def test_attempts_that_began_before_it_do_not_confirm_it() -> None:
    once = replace(MATCH, count=1, seconds=0.0)
    overrides = Overrides()
    assert fired(overrides, once, 1000.0) == 1100.0
    assert [fired(overrides, once, 1101.0 + n, began=999.0) for n in range(20)] == [None] * 20
    assert fired(overrides, once, 1130.0) == 1530.0


def test_places_are_counted_by_themselves() -> None:
    overrides = Overrides()
    elsewhere = replace(MATCH, place=replace(HERE, source="b"))
    assert fired(overrides, MATCH, 1000.0) is None
    assert fired(overrides, elsewhere, 1001.0) is None
    assert fired(overrides, MATCH, 1002.0) == 1102.0
    assert [one.place for one in overrides] == [HERE]


def test_it_is_over_after_the_time_that_one_worker_has_to_try_first() -> None:
    overrides = Overrides()
    assert fired(overrides, replace(MATCH, count=1), 1000.0) == 1100.0
    assert overrides.next_end == 1100.0 + min(MARGIN_MAX, 10.0)
    assert overrides.ended(1109.0) == []
    assert [one.until for one in overrides.ended(1110.0)] == [1100.0]
    assert overrides.next_end is None


def test_what_was_stored_holds_and_grows_after_a_restart() -> None:
    before = Overrides()
    assert fired(before, replace(MATCH, count=1), 1000.0) == 1100.0
    stored = [unpacked(packed(one)) for one in before]
    assert len(Overrides(stored, 1100.0)) == 0
    after = Overrides(stored, 1050.0)
    assert list(after) == stored
    assert fired(after, replace(MATCH, count=1), 1120.0) == 1520.0


def test_one_can_be_ended_by_hand() -> None:
    overrides = Overrides()
    fired(overrides, replace(MATCH, count=1), 1000.0)
    (one,) = overrides
    assert overrides.end(one.id) == one
    assert overrides.end(one.id) is None
    assert len(overrides) == 0

"""The retry plan: the delays of `temp_fail_intervals`, or the built-in ones, and the failure that is final."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.config.intervals import intervals as parsed
from mailboat.queue.backoff import RetryPlan

DEFAULT = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072]


def delays(plan: RetryPlan) -> list[float]:
    """What is waited after each failure until the one that is final."""
    found: list[float] = []
    while (delay := plan.delay(len(found) + 1)) is not None:
        found.append(delay)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10s, 1m*2", [10, 60, 60]),
        ("1m, 5m*2, 1h*3", [60, 300, 300, 3600, 3600, 3600]),
        ("none", []),
        ("5s,5s*3", [5, 5, 5, 5]),
        ("1M,1H*2,2D", [60, 3600, 3600, 172800]),
    ],
)
def test_the_intervals_are_waited_in_turn(text: str, expected: list[float]) -> None:
    assert delays(RetryPlan.of(parsed(text), 13)) == expected


def test_without_intervals_the_delays_double_and_the_thirteenth_failure_is_final() -> None:
    assert delays(RetryPlan.of(None, 13)) == DEFAULT


@given(st.integers(1, 64))
def test_max_temp_failures_names_the_failure_that_is_final(final: int) -> None:
    plan = RetryPlan.of(None, final)
    assert plan.delay(final) is None
    assert len(delays(plan)) == final - 1


def test_before_any_failure_there_is_nothing_to_wait_for() -> None:
    assert RetryPlan((5.0, 6.0)).delay(0) is None

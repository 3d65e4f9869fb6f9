"""Waits that cannot be right: which ones, and what they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.queue.backoff import RetryPlan
from mailboat.queue.waits import after_jump, at_start

NOW = 1_000_000.0
HOUR = 3600.0
PLAN = RetryPlan((5.0, 60.0, 600.0))
PLANNED = [PLAN.delay(failures, 1.0) or 0.0 for failures in (1, 2, 3)]
"""At most, for chance makes a delay longer or shorter."""


@pytest.mark.parametrize(
    ("attempts", "wait", "right"),
    [
        (1, 3.0 + HOUR, PLANNED[0]),  # 3 s were left, and the jump: at most the wait that the plan gives
        (1, 5.0 + HOUR, PLANNED[0]),
        (2, 60.0 + HOUR, PLANNED[1]),
        (2, PLANNED[1], None),  # may have been made just now
        (3, 599.0, None),
        (0, 300.0 + HOUR, 300.0),  # put off by something else for longer than the plan says
        (1, 86400.0 + HOUR, 86400.0),  # by a plugin for a day
        (9, 600.0 + HOUR, PLANNED[2]),  # the plan has become shorter
    ],
)
def test_a_jump_is_taken_from_waits_that_are_longer_than_planned(
    attempts: int, wait: float, right: float | None
) -> None:
    assert after_jump(PLAN, NOW, HOUR)(attempts, NOW + wait) == (None if right is None else NOW + right)


@given(st.integers(1, 3), st.floats(0, 1), st.floats(0, 10 * HOUR))
def test_nothing_is_attempted_early_because_of_a_jump_forward_that_is_taken_back(
    attempts: int, left: float, jump: float
) -> None:
    planned = PLANNED[attempts - 1]
    earlier = after_jump(PLAN, NOW, jump)(attempts, NOW + left * planned)
    assert earlier is None


def test_at_the_start_only_what_is_longer_than_all_planned_waits_is_wrong() -> None:
    earlier = at_start(PLAN, NOW)
    assert earlier(1, NOW + PLANNED[2]) is None
    assert earlier(1, NOW + HOUR) == NOW + PLANNED[2]
    assert earlier(0, float("inf")) == NOW + PLANNED[2]
    assert at_start(RetryPlan(()), NOW)(1, NOW + 1) == NOW

"""The window of a destination: how it grows, shrinks, and believes a host that has enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailboat.delivery.window import START, TRIAL, Window
from mailboat.shaping.limits import WindowRange

MOST = 20


def grown(successes: int) -> Window:
    """A window after so many successes, all of it used."""
    window = Window()
    for _ in range(successes):
        running = window.limit(MOST, 0.0)
        window.succeeded(running, running, 0.0)
    return window


def test_bounds_say_where_it_begins_and_ends() -> None:
    window = Window()
    window.bound(WindowRange(4, 6))
    assert window.limit(MOST, 0.0) == 4
    for _ in range(50):
        running = window.limit(MOST, 0.0)
        window.succeeded(running, running, 0.0)
    assert (window.limit(MOST, 0.0), window.limit(5, 0.0)) == (6, 5)
    for _ in range(20):
        window.failed()
    assert window.limit(MOST, 0.0) == 1


def test_bounds_that_are_the_same_keep_what_was_learnt_and_new_ones_begin_at_their_start() -> None:
    window = grown(100)
    window.bound(WindowRange(3, 30))
    assert window.limit(MOST, 0.0) == 3
    window.failed()
    window.bound(WindowRange(3, 30))
    assert window.limit(MOST, 0.0) == 2
    window.bound(None)
    assert window.limit(MOST, 0.0) == START


def test_a_number_alone_is_what_it_is_whatever_hosts_say() -> None:
    window = Window()
    window.bound(WindowRange(5, 5, pinned=True))
    window.turned_away(1, 0.0)
    for _ in range(9):
        window.failed()
    assert (window.limit(MOST, 1.0), window.limit(3, 1.0)) == (5, 3)


def test_it_begins_small() -> None:
    assert Window().limit(MOST, 0.0) == START


def test_it_grows_by_one_for_as_many_successes_as_it_is_large() -> None:
    window = Window()
    limits = []
    for _ in range(6):
        window.succeeded(window.limit(MOST, 0.0), 1, 0.0)
        limits.append(window.limit(MOST, 0.0))
    assert limits == [2, 2, 3, 3, 3, 4]


def test_it_never_passes_what_is_configured() -> None:
    assert grown(1000).limit(MOST, 0.0) == MOST


def test_it_does_not_grow_while_it_is_not_used() -> None:
    window = Window()
    for _ in range(1000):
        window.succeeded(1, 1, 0.0)
    assert window.limit(MOST, 0.0) == 3


def test_a_failure_takes_one_and_the_last_one_stays() -> None:
    window = grown(1000)
    before = window.limit(MOST, 0.0)
    window.failed()
    window.failed()
    assert before - 2 <= window.limit(MOST, 0.0) < before + 1
    for _ in range(50):
        window.failed()
    assert window.limit(MOST, 0.0) == 1


def test_a_host_that_has_enough_is_believed_and_one_more_is_tried_every_ten_minutes() -> None:
    window = grown(20)
    window.turned_away(2, 100.0)
    for _ in range(1000):
        window.succeeded(2, 2, 100.0)
    assert window.limit(MOST, 100.0 + TRIAL - 1) == 2
    assert window.limit(MOST, 100.0 + TRIAL) == 3


def test_a_trial_that_is_let_in_raises_what_is_believed_by_one() -> None:
    window = grown(20)
    window.turned_away(2, 0.0)
    for _ in range(100):
        window.succeeded(3, 2, TRIAL)
    assert window.limit(MOST, TRIAL) == 3
    window.succeeded(3, 3, TRIAL)
    assert window.limit(MOST, 2 * TRIAL - 1) == 3
    assert window.limit(MOST, 2 * TRIAL) == 4


def test_a_trial_that_is_turned_away_waits_for_the_next_ten_minutes() -> None:
    window = grown(20)
    window.turned_away(2, 0.0)
    for _ in range(100):
        window.succeeded(2, 2, 0.0)
    window.turned_away(2, TRIAL)
    window.succeeded(2, 2, TRIAL)
    assert window.limit(MOST, TRIAL + 1) == 2


@given(st.lists(st.tuples(st.sampled_from("sft"), st.integers(1, 30), st.floats(0, 1000)), max_size=200))
def test_whatever_happens_at_least_one_may_run_and_no_more_than_is_configured(
    events: list[tuple[str, int, float]],
) -> None:
    window, now = Window(), 0.0
    for kind, running, passed in events:
        now += passed
        if kind == "s":
            window.succeeded(running, running, now)
        elif kind == "f":
            window.failed()
        else:
            window.turned_away(running, now)
        assert 1 <= window.limit(MOST, now) <= MOST

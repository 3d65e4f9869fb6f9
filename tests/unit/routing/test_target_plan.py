"""The order of targets: by preference, by chance among equals, bounded."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mailboat.routing.answers import Target
from mailboat.routing.target_plan import MAX_TARGETS, TargetPlan


def target(ip: str, priority: int = 0) -> Target:
    return Target("mx.test", ip, 25, priority=priority)


def ordered(plan: TargetPlan, seed: int) -> tuple[str, ...]:
    return tuple(t.ip for t in plan.order(Random(seed)).targets)


def test_without_equals_the_very_same_answer_is_given_each_time() -> None:
    plan = TargetPlan([[[[target("a")], [target("b")]]], [[[target("c")]]]])
    assert plan.order(Random(1)) is plan.order(Random(2))
    assert ordered(plan, 1) == ("a", "b", "c")


def test_equal_hosts_come_in_every_order_equally_often() -> None:
    plan = TargetPlan([[[[target(name)]] for name in "abc"]])
    chance = Random(11)
    orders = Counter(tuple(t.ip for t in plan.order(chance).targets) for _ in range(6000))
    assert len(orders) == 6
    assert all(850 < count < 1150 for count in orders.values())


def test_a_host_is_never_torn_apart_by_the_mixing_of_its_equals() -> None:
    plan = TargetPlan([[[[target("a6")], [target("a4")]], [[target("b6")], [target("b4")]]]])
    assert {ordered(plan, seed) for seed in range(20)} == {("a6", "a4", "b6", "b4"), ("b6", "b4", "a6", "a4")}


def test_addresses_of_one_family_share_the_load() -> None:
    plan = TargetPlan([[[[target("1"), target("2")], [target("3")]]]])
    assert {ordered(plan, seed) for seed in range(20)} == {("1", "2", "3"), ("2", "1", "3")}


def test_an_attempt_tries_a_bounded_number_of_addresses() -> None:
    single = TargetPlan([[[[target(str(n))]]] for n in range(50)])
    equals = TargetPlan([[[[target(str(n)) for n in range(50)]]]])
    assert len(ordered(single, 1)) == len(ordered(equals, 1)) == MAX_TARGETS


@given(
    st.lists(
        st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=2), min_size=1, max_size=3), min_size=1, max_size=4
    ),
    st.integers(),
)
def test_preference_is_never_crossed(shape: list[list[list[int]]], seed: int) -> None:
    tiers = [
        [[[target("x", place) for _ in range(size)] for size in host] for host in tier]
        for place, tier in enumerate(shape)
    ]
    priorities = [t.priority for t in TargetPlan(tiers).order(Random(seed)).targets]
    assert priorities == sorted(priorities)
    assert len(priorities) == min(MAX_TARGETS, sum(size for tier in shape for host in tier for size in host))

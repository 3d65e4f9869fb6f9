"""The gate of AUTH: how often may be guessed, who waits for whom, and who need not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.ingress import auth_gate
from mailboat.ingress.auth_gate import FREE, FREE_PROVEN, REMEMBERED, AuthGate, AuthTry, network_of

LONGEST = 60.0


@dataclass
class Bench:
    """A gate, its attempts and what became of them."""

    gate: AuthGate = field(default_factory=lambda: AuthGate(LONGEST))
    now: float = 1000.0
    checked: list[tuple[AuthTry, bool]] = field(default_factory=list)
    refused: list[AuthTry] = field(default_factory=list)

    def ask(self, network: str = "192.0.2.1", user: str = "anna") -> AuthTry:
        attempt = AuthTry(
            network,
            user,
            lambda proven: self.checked.append((attempt, proven)),
            lambda: self.refused.append(attempt),
        )
        self.gate.ask(attempt, self.now)
        return attempt

    def done(self, attempt: AuthTry, succeeded: bool | None) -> None:
        self.gate.done(attempt, self.now, succeeded=succeeded)

    def fails(self, network: str = "192.0.2.1", user: str = "anna") -> bool:
        """One wrong attempt; whether it was checked at all."""
        attempt = self.ask(network, user)
        if attempt in self.refused:
            return False
        self.done(attempt, False)
        return True

    def succeeds(self, network: str = "192.0.2.1", user: str = "anna") -> None:
        self.done(self.ask(network, user), True)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_host_is_its_network_of_64_bits(address: str, network: str) -> None:
    assert network_of(address) == network


def guesses_in(bench: Bench, seconds: float, fails: Callable[[], bool]) -> int:
    """How many are checked when one is tried each tenth of a second."""
    end, count = bench.now + seconds, 0
    while bench.now < end:
        count += fails()
        bench.now += 0.1
    return count


def test_failures_of_an_address_and_for_a_name_hold_the_next_attempt_back_ever_longer() -> None:
    bench = Bench()
    assert guesses_in(bench, 20, bench.fails) == FREE + 4  # after 1, 2, 4 and 8 s
    names = (f"user{number}" for number in range(10**9))
    bench = Bench()
    assert guesses_in(bench, 20, lambda: bench.fails(user=next(names))) == FREE + 4
    networks = (f"2001:db8:0:{number:x}::/64" for number in range(10**9))
    bench = Bench()
    assert guesses_in(bench, 20, lambda: bench.fails(network=next(networks))) == FREE + 4
    assert guesses_in(bench, 600, lambda: bench.fails(network=next(networks))) <= 600 / LONGEST + 3


def test_others_are_not_held_back() -> None:
    bench = Bench()
    guesses_in(bench, 20, bench.fails)
    assert bench.fails("192.0.2.2", "bert")


def test_what_is_long_ago_is_forgotten() -> None:
    bench = Bench()
    guesses_in(bench, 20, bench.fails)
    bench.now += REMEMBERED
    assert guesses_in(bench, 0.5, bench.fails) == FREE


def test_a_client_that_succeeded_before_is_checked_at_once_and_first_whatever_is_guessed() -> None:
    bench = Bench()
    bench.succeeds()
    guesses_in(bench, 20, lambda: bench.fails("192.0.2.2", "anna"))
    guesses_in(bench, 20, lambda: bench.fails("192.0.2.1", "bert"))
    bench.ask("192.0.2.3", "anna")
    mine = bench.ask()
    assert bench.checked[-1] == (mine, True)


def test_a_success_excuses_no_other_name_of_the_same_address() -> None:
    bench = Bench()

    def guess_and_succeed() -> bool:
        bench.succeeds(user="mallory")
        return bench.fails(user="anna")

    assert guesses_in(bench, 20, guess_and_succeed) == FREE + 4


def test_a_client_that_succeeded_before_may_not_guess_without_end() -> None:
    bench = Bench()
    bench.succeeds()
    assert guesses_in(bench, 10, bench.fails) <= FREE_PROVEN + FREE + 4
    assert [proven for _, proven in bench.checked].count(True) == FREE_PROVEN


def test_attempts_at_once_of_an_address_or_for_a_name_are_checked_one_after_the_other() -> None:
    bench = Bench()
    several = [bench.ask() for _ in range(FREE + 3)]
    assert bench.checked == [(several[0], False)]
    assert bench.ask("192.0.2.2", "bert") is bench.checked[-1][0]
    bench.ask("192.0.2.2", "carl")
    bench.ask("192.0.2.3", "anna")
    assert len(bench.checked) == 2
    for attempt in several[:FREE]:
        assert bench.checked[-1][0] is attempt or attempt is several[0]
        bench.done(attempt, False)
    assert bench.refused[:3] == several[FREE:]


def test_those_that_wait_for_a_success_of_the_same_client_go_on_together() -> None:
    bench = Bench()
    first, *others = [bench.ask() for _ in range(10)]
    bench.done(first, True)
    assert bench.checked == [(first, False), *((each, True) for each in others)]


def test_a_client_that_goes_while_it_is_checked_has_failed_and_one_that_waits_has_not() -> None:
    bench = Bench()
    for _ in range(FREE):
        going, waiting = bench.ask(), bench.ask()
        bench.gate.withdraw(waiting, bench.now)
        bench.gate.withdraw(going, bench.now)
    assert not bench.fails()
    assert len(bench.checked) == FREE


def test_what_nobody_could_tell_counts_for_nothing() -> None:
    bench = Bench()
    for _ in range(2 * FREE):
        bench.done(bench.ask(), None)
    assert bench.fails()


def test_without_back_off_nothing_waits_and_nothing_is_refused() -> None:
    bench = Bench(AuthGate(0.0))
    several = [bench.ask() for _ in range(20)]
    assert len(bench.checked) == 20
    for attempt in several:
        bench.done(attempt, False)
    assert guesses_in(bench, 1, bench.fails) == 10


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_gate, "MOST", 10)
    bench = Bench()
    for number in range(50):
        bench.fails(f"192.0.2.{number}", f"user{number}" * 1000)
        bench.succeeds(f"198.51.100.{number}", f"friend{number}" * 1000)
    gate = bench.gate
    assert {len(gate._of_networks._counts), len(gate._of_names._counts), len(gate._proven)} == {10}
    assert max(len(name) for name in gate._of_names._counts) <= auth_gate.LONGEST_NAME
    assert (gate._busy, gate._checked, gate._waiting) == (set(), {}, {})


def test_a_thousand_that_wait_and_are_decided_at_once_are_no_recursion() -> None:
    bench = Bench()
    first = bench.ask()
    attempts: list[AuthTry] = []
    told: list[bool] = []

    def check(proven: bool) -> None:
        told.append(proven)
        bench.done(attempts.pop(0), None)

    for number in range(2000):
        attempts.append(AuthTry("192.0.2.1", f"user{number}", check, lambda: None))
        bench.gate.ask(attempts[-1], bench.now)
    bench.done(first, None)
    assert told == [False] * 2000


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from([True, False, None]))))
def test_each_attempt_is_checked_or_refused_once_and_nothing_is_left(steps: list[tuple[str, str, bool | None]]) -> None:
    bench = Bench()
    ends = {bench.ask(network, user): end for network, user, end in steps}
    for attempt, _ in bench.checked:  # it grows as others are done
        bench.done(attempt, ends[attempt])
    assert len({id(attempt) for attempt, _ in bench.checked} | {id(each) for each in bench.refused}) == len(steps)
    assert len(bench.checked) + len(bench.refused) == len(steps)
    assert (bench.gate._busy, bench.gate._checked, bench.gate._waiting) == (set(), {}, {})

"""Who gets permits and connections, in which order, and what those are told who wait."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from mailboat.shaping.ledger import Ledger, LimitCheck
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.owner import Ask, Grant, Group, Owner
from mailboat.shaping.rate import SECOND

RATE = LimitCheck("r", LimitKey.RATE, 10, SECOND, cause="limit rate of default")
TWO = LimitCheck("two", LimitKey.CONNECTIONS, 2, cause="limit connections of provider:p")
ONE = LimitCheck("one", LimitKey.CONNECTIONS, 1, cause="limit connections of domain:a")


@dataclass(eq=False)
class Worker:
    grants: list[Grant] = field(default_factory=list)
    waits: list[tuple[int, str, int | None]] = field(default_factory=list)
    recalls: list[tuple[Group, bool]] = field(default_factory=list)

    def granted(self, grant: Grant) -> None:
        self.grants.append(grant)

    def held(self, path: int, check: LimitCheck, until: int | None) -> None:
        self.waits.append((path, check.key, until))

    def recalled(self, group: Group, *, others_wait: bool) -> None:
        self.recalls.append((group, others_wait))


def rig(workers: int = 2) -> tuple[Owner, list[Worker]]:
    owner = Owner(Ledger())
    joined = [Worker() for _ in range(workers)]
    for worker in joined:
        owner.join(worker)
    return owner, joined


def connection(path: int, *checks: LimitCheck) -> Ask:
    return Ask(path, checks, 0, 0, connection=True)


def messages(path: int, count: int, *checks: LimitCheck) -> Ask:
    return Ask(path, checks, count, 1, connection=False)


def test_a_connection_that_is_given_back_goes_to_who_asked_first() -> None:
    owner, (a, b) = rig()
    owner.ask(a, connection(1, TWO), 0)
    owner.ask(a, connection(2, TWO), 0)
    owner.ask(b, connection(1, TWO), 0)
    owner.ask(a, connection(3, TWO), 0)
    assert [grant.path for grant in a.grants] == [1, 2]
    assert b.waits == [(1, "two", None)]
    owner.give_back(a, ("two",), 0)
    assert [grant.path for grant in b.grants] == [1]
    assert [grant.path for grant in a.grants] == [1, 2]


def test_who_holds_connections_is_told_while_others_wait() -> None:
    owner, (a, b) = rig()
    owner.ask(a, connection(1, ONE), 0)
    owner.ask(b, connection(1, ONE), 0)
    assert a.recalls == [(("one",), True)]
    owner.give_back(a, ("one",), 0)
    assert b.grants
    assert a.recalls == [(("one",), True)]


def test_who_waits_itself_for_more_of_the_same_is_not_told() -> None:
    owner, (a, _) = rig()
    owner.ask(a, connection(1, ONE), 0)
    owner.ask(a, connection(1, ONE), 0)
    assert a.recalls == []
    owner.ask(a, connection(2, ONE, TWO), 0)
    assert a.recalls == [(("one",), True)]
    owner.cancel(a, 2, 0)
    assert a.recalls == [(("one",), True), (("one",), False)]


def test_a_dead_worker_gives_its_connections_back() -> None:
    owner, (a, b) = rig()
    owner.ask(a, connection(1, ONE), 0)
    owner.ask(a, connection(2, ONE), 0)
    owner.ask(b, connection(1, ONE), 0)
    owner.leave(a, 0)
    assert [grant.path for grant in b.grants] == [1]


def test_a_limit_of_a_domain_and_one_of_its_provider_hold_at_once() -> None:
    owner, (a, _) = rig()
    owner.ask(a, connection(1, ONE, TWO), 0)
    owner.ask(a, connection(1, ONE, TWO), 0)
    owner.ask(a, connection(2, TWO), 0)
    owner.ask(a, connection(3, TWO), 0)
    assert [grant.path for grant in a.grants] == [1, 2]
    owner.give_back(a, ("two",), 0)
    assert [grant.path for grant in a.grants] == [1, 2, 3]


def test_permits_are_granted_when_their_time_has_come() -> None:
    owner, (a, b) = rig()
    owner.ask(a, messages(1, 1, RATE), 0)
    owner.ask(b, messages(1, 1, RATE), 0)
    assert a.grants == [Grant(1, (0,), 1, connection=False)]
    assert b.waits == [(1, "r", RATE.lent.interval)]
    assert owner.next_time == RATE.lent.interval
    owner.tick(RATE.lent.interval - 1)
    assert not b.grants
    owner.tick(RATE.lent.interval)
    assert b.grants == [Grant(1, (RATE.lent.interval,), 1, connection=False)]


def test_paths_that_wait_for_one_rate_take_turns() -> None:
    owner, (a, b) = rig()
    now, asked = 0, {a: 0, b: 0}
    for _ in range(40):
        for worker in (a, b):
            if len(worker.grants) == asked[worker]:
                asked[worker] += 1
                owner.ask(worker, messages(1, 64, RATE), now)
        if owner.next_time is not None:
            now = owner.next_time
            owner.tick(now)
    counts = [sum(len(grant.permits) for grant in worker.grants) for worker in (a, b)]
    assert abs(counts[0] - counts[1]) <= 1


def test_a_cancelled_request_lets_the_next_one_in() -> None:
    owner, (a, b) = rig()
    owner.ask(a, connection(1, ONE), 0)
    owner.ask(a, connection(2, ONE), 0)
    owner.ask(b, connection(1, ONE), 0)
    owner.cancel(a, 2, 0)
    owner.give_back(a, ("one",), 0)
    assert b.grants


_STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "back", "tick", "die", "cancel"]), st.integers(0, 1), st.integers(1, 3)),
    max_size=60,
)


@given(_STEPS)
def test_never_more_than_the_limits_and_nobody_waits_for_nothing(steps: list[tuple[str, int, int]]) -> None:
    owner, workers = rig()
    paths = {1: (ONE, TWO), 2: (TWO,), 3: (TWO, RATE)}
    now = 0
    for verb, index, path in steps:
        worker = workers[index]
        if verb == "ask":
            owner.ask(worker, Ask(path, paths[path], 1, 1, connection=True), now)
        elif verb == "back" and worker.grants:
            grant = worker.grants.pop()
            owner.give_back(worker, tuple(c.key for c in paths[grant.path] if c.kind is LimitKey.CONNECTIONS), now)
        elif verb == "tick":
            now += SECOND // 20
            owner.tick(now)
        elif verb == "cancel":
            owner.cancel(worker, path, now)
        elif verb == "die":
            owner.leave(worker, now)
            workers[index] = Worker()
            owner.join(workers[index])
        held = [grant.path for worker in workers for grant in worker.grants]
        assert held.count(1) <= 1
        assert len(held) <= 2
        assert owner.ledger.open("two") == len(held)
        assert owner.ledger.open("one") == held.count(1)
    for worker in workers:
        owner.leave(worker, now)
    assert owner.ledger.open("two") == owner.ledger.open("one") == 0

"""The schedule: fair turns among destinations, limits, bounded memory, and what is read while things change."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.facts import entry
from tests.support.gates import Turnstile

from mailboat.model.envelope import Entry
from mailboat.queue.schedule import DOMAINS_MARKED, LOW_WATER, OfferResult, Schedule


def make(row: int, domain: str = "a.test") -> Entry:
    return entry((f"u{row}@{domain}",), row=row)


class Limited(Schedule):
    """A schedule with the gatekeeper that counts for it."""

    def __init__(self, capacity: int, total: int, each: int) -> None:
        self.turnstile = Turnstile(total, each)
        super().__init__(capacity, self.turnstile)

    def limit(self, total: int, each: int) -> None:
        self.turnstile.total, self.turnstile.each = total, each
        self.let_in()

    def finish(self, name: str) -> None:
        super().finish(name)
        self.turnstile.running[name] -= 1
        self.let_in()

    def let_in(self) -> None:
        for name in list(self.turnstile.blocked):
            if self.turnstile.running[name] < self.turnstile.each:
                del self.turnstile.blocked[name]
                self.resume(name)


def schedule(*, capacity: int = 1000, total: int = 100, each: int = 100) -> Limited:
    return Limited(capacity, total, each)


def fill(into: Schedule, count: int, domain: str, first: int = 1) -> list[OfferResult]:
    return [into.offer(domain, make(row, domain)) for row in range(first, first + count)]


def started(of: Schedule) -> list[tuple[str, int]]:
    """All that may start now: destination and row."""
    found = []
    while (next_up := of.start(0.0)) is not None:
        found.append((next_up[0], next_up[1].key.row))
    return found


def test_destinations_take_turns_and_within_one_the_oldest_goes_first() -> None:
    it = schedule()
    fill(it, 3, "a.test")
    fill(it, 2, "b.test", 11)
    fill(it, 1, "c.test", 21)
    assert [row for _, row in started(it)] == [1, 11, 21, 2, 12, 3]


def test_no_more_start_than_the_limits_allow() -> None:
    it = schedule(total=5, each=3)
    fill(it, 10, "a.test")
    fill(it, 10, "b.test", 11)
    assert Counter(name for name, _ in started(it)) == {"a.test": 3, "b.test": 2}
    it.finish("a.test")
    assert started(it) == [("b.test", 13)]


def test_a_destination_at_its_limit_does_not_hold_back_the_others() -> None:
    it = schedule(each=1)
    fill(it, 500, "slow.test")
    assert started(it) == [("slow.test", 1)]
    fill(it, 1, "quick.test", 1001)
    assert started(it) == [("quick.test", 1001)]


def test_a_lowered_limit_holds_for_what_comes_next_and_a_raised_one_at_once() -> None:
    it = schedule(each=3)
    fill(it, 10, "a.test")
    assert len(started(it)) == 3
    it.limit(100, 1)
    it.finish("a.test")
    assert started(it) == []
    it.finish("a.test")
    assert started(it) == []
    it.finish("a.test")
    assert started(it) == [("a.test", 4)]
    it.limit(100, 3)
    assert len(started(it)) == 2


def test_what_is_here_or_not_recorded_yet_is_no_news() -> None:
    it = schedule()
    assert it.offer("a.test", make(1)) is OfferResult.QUEUED
    assert it.offer("a.test", make(1)) is OfferResult.QUEUED
    assert len(it) == 1
    assert len(started(it)) == 1
    it.finish("a.test")
    it.offer("a.test", make(1))
    assert started(it) == []
    it.recorded(make(1).key)
    it.offer("a.test", make(1))
    assert started(it) == [("a.test", 1)]


def test_what_is_withdrawn_does_not_start_and_may_come_back() -> None:
    it = schedule()
    fill(it, 3, "a.test")
    it.withdraw([make(1).key, make(2).key])
    it.offer("a.test", make(2))
    assert sorted(row for _, row in started(it)) == [2, 3]


def test_one_destination_may_fill_half_of_the_room_and_its_domain_is_remembered() -> None:
    it = schedule(capacity=400)
    answers = fill(it, 300, "slow.test")
    assert 100 <= answers.count(OfferResult.QUEUED) <= 200
    assert answers[-1] is OfferResult.OVERFLOW
    assert not it.wants_more  # it has enough here
    assert set(fill(it, 20, "quick.test", 1001)) == {OfferResult.QUEUED}


def test_a_destination_that_runs_low_asks_for_more_of_its_domain_once() -> None:
    it = schedule(capacity=400, total=1000, each=1000)
    fill(it, 300, "a.test")
    rows = 0
    while len(it) >= LOW_WATER:
        assert not it.wants_more
        assert it.start(0.0) is not None
        rows += 1
    assert it.wants_more
    assert it.more() == ("a.test", "a.test")
    assert it.more() is None


def test_domains_of_one_destination_are_remembered_each() -> None:
    it = schedule(capacity=4)
    fill(it, 1, "route:x")
    for row, domain in ((11, "a.test"), (12, "b.test")):
        assert it.offer("route:x", make(row, domain)) is OfferResult.OVERFLOW
    started(it)
    assert {it.more(), it.more()} == {("route:x", "a.test"), ("route:x", "b.test")}
    assert it.more() is None


def test_memory_is_bounded_whatever_the_number_of_destinations() -> None:
    it = schedule(capacity=50, total=1)
    answers = [it.offer(f"d{n}.test", make(n, f"d{n}.test")) for n in range(1, 200)]
    assert len(it) == 50
    assert answers[-1] is OfferResult.FULL
    assert not it.wants_more
    assert not it.has_room
    for _ in range(20):
        next_up = it.start(0.0)
        assert next_up is not None
        it.finish(next_up[0])
    assert it.has_room
    assert it.offer("d199.test", make(199)) is OfferResult.QUEUED


def test_what_was_recorded_or_withdrawn_during_a_read_is_not_believed() -> None:
    """Else a message that was delivered while the store was read would be delivered again."""
    it = schedule()
    fill(it, 3, "a.test")
    it.start(0.0)
    with it.reading() as current:
        it.finish("a.test")
        it.recorded(make(1).key)
        with it.reading() as later:
            it.withdraw([make(2).key])
            assert [e.key.row for e in current([make(row) for row in (1, 2, 3, 4)])] == [3, 4]
            assert [e.key.row for e in later([make(row) for row in (1, 2, 3, 4)])] == [1, 3, 4]
    with it.reading() as current:
        assert [e.key.row for e in current([make(1)])] == [1]


def test_an_entry_that_is_taken_is_not_started_before_it_is_recorded() -> None:
    """One on which an attempt is under way is not taken."""
    it = schedule()
    fill(it, 3, "a.test")
    it.start(0.0)
    assert [it.take(make(row).key) for row in (1, 2)] == [False, True]
    assert started(it) == [("a.test", 3)]
    assert it.offer("a.test", make(2)) is OfferResult.QUEUED
    assert started(it) == []
    it.recorded(make(2).key)
    it.offer("a.test", make(2))
    assert started(it) == [("a.test", 2)]


def test_the_domains_of_one_destination_that_wait_in_the_store_are_remembered_up_to_a_bound() -> None:
    """Behind a route: with more of them, the store is to be read again from its beginning."""
    it = schedule(capacity=10)
    it.offer("route:hub", make(1, "first.test"))
    for number in range(DOMAINS_MARKED):
        it.mark_more(f"d{number}.test", "route:hub")
    named = it.more()
    assert named is not None
    assert named[1].startswith("d")
    for number in range(200_000):
        it.mark_more(f"d{number}.test", "route:hub")
    assert gc_size(it._overflow) < 10_000
    assert it.more() == ("route:hub", "")
    assert it.more() is None


def gc_size(of: dict[str, dict[str, None] | None]) -> int:
    """Entries in a dictionary of dictionaries."""
    return sum(1 if inner is None else len(inner) for inner in of.values())


def test_what_is_set_aside_does_not_count_among_what_waits_for_its_record() -> None:
    """Else a few thousand entries that cannot be recorded would keep all others from starting."""
    it = schedule()
    fill(it, 3, "a.test")
    started(it)
    for row in (1, 2, 3):
        it.finish("a.test")
        it.set_aside(make(row).key)
    assert it.in_progress == 0
    assert it.offer("a.test", make(1)) is OfferResult.QUEUED
    assert len(it) == 0
    it.recorded(make(1).key)
    assert it.offer("a.test", make(1)) is OfferResult.QUEUED
    assert len(it) == 1


def test_what_is_put_back_goes_before_all_others_of_its_destination() -> None:
    it = schedule(each=1)
    fill(it, 3, "a.test")
    ((name, row),) = started(it)
    it.finish(name)
    it.put_back(name, make(row), takes_turn=True)
    assert started(it) == [("a.test", 1)]


class AgainstANaiveOne(RuleBasedStateMachine):
    """The schedule beside plain sets and a naive store: nothing is lost, nothing runs twice, limits hold."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity = 12
        self.total, self.each = 4, 2
        self.it = Limited(self.capacity, self.total, self.each)
        self.rows = 0
        self.stored: dict[int, str] = {}
        """Due in the naive store: rows and their domains."""
        self.here: set[int] = set()
        """Taken in and not started."""
        self.running: dict[int, str] = {}
        self.unrecorded: dict[int, str] = {}
        self.withdrawn: set[str] = set()

    @rule(domain=st.sampled_from("abcde"))
    def accept(self, domain: str) -> None:
        self.rows += 1
        self.stored[self.rows] = domain
        self._offer(self.rows)

    def _offer(self, row: int) -> None:
        known = row in self.here or row in self.running or row in self.unrecorded
        answer = self.it.offer(self.stored[row], make(row, self.stored[row]))
        if known:
            assert answer is OfferResult.QUEUED
        elif answer is OfferResult.QUEUED:
            self.here.add(row)
        else:
            domain = self.stored[row]
            # What was withdrawn counts against its destination until its turn comes.
            here = domain in self.withdrawn or any(self.stored[r] == domain for r in self.here)
            assert here or len(self.here) >= self.capacity

    @rule()
    def read_all(self) -> None:
        for row in list(self.stored):
            self._offer(row)

    @rule()
    def refill(self) -> None:
        while (wanted := self.it.more()) is not None:
            _, domain = wanted
            rows = [row for row, of in self.stored.items() if of == domain]
            assert rows or domain in "abcde"
            for row in rows:
                before = len(self.here)
                self._offer(row)
                if len(self.here) == before and row not in self.here | self.running.keys() | self.unrecorded.keys():
                    self.it.mark_more(domain, domain)
                    break

    @rule()
    def start(self) -> None:
        next_up = self.it.start(0.0)
        if next_up is None:
            busy = Counter(self.running.values())
            startable = [r for r in self.here if busy[self.stored[r]] < self.each]
            assert len(self.running) >= self.total or not startable
            return
        name, found = next_up
        row = found.key.row
        assert row in self.here
        assert name == self.stored[row]
        self.here.remove(row)
        self.running[row] = name
        assert len(self.running) <= self.total
        assert Counter(self.running.values())[name] <= self.each

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.running)))
        self.unrecorded[row] = self.running.pop(row)
        self.it.finish(self.unrecorded[row])

    @precondition(lambda self: self.unrecorded)
    @rule(data=st.data(), delivered=st.booleans())
    def record(self, data: st.DataObject, delivered: bool) -> None:
        row = data.draw(st.sampled_from(sorted(self.unrecorded)))
        del self.unrecorded[row]
        if delivered:
            del self.stored[row]
        self.it.recorded(make(row).key)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.here)))
        self.here.remove(row)
        self.withdrawn.add(self.stored.pop(row))
        self.it.withdraw([make(row).key])

    @rule(total=st.integers(1, 6), each=st.integers(1, 4))
    def limit(self, total: int, each: int) -> None:
        if len(self.running) <= total and all(n <= each for n in Counter(self.running.values()).values()):
            self.total, self.each = total, each
            self.it.limit(total, each)

    @invariant()
    def the_counts_agree(self) -> None:
        assert len(self.it) == len(self.here) <= self.capacity
        assert self.it.running == len(self.running)
        assert self.it.in_progress == len(self.running) + len(self.unrecorded)

    def teardown(self) -> None:
        """Everything that the store holds gets its turn, with nothing but what the schedule asks for."""
        for row in list(self.running):
            self.unrecorded[row] = self.running.pop(row)
            self.it.finish(self.unrecorded[row])
        for row in list(self.unrecorded):
            del self.unrecorded[row], self.stored[row]
            self.it.recorded(make(row).key)
        self.read_all()
        while self.stored:
            next_up = self.it.start(0.0)
            if next_up is None:
                before = len(self.here)
                self.read_all() if self.it.has_room else self.refill()
                assert len(self.here) > before, "nothing starts although the store holds mail"
                continue
            row = next_up[1].key.row
            self.here.remove(row)
            self.it.finish(next_up[0])
            self.it.recorded(make(row).key)
            del self.stored[row]
            self.refill()


TestAgainstANaiveOne = AgainstANaiveOne.TestCase
TestAgainstANaiveOne.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

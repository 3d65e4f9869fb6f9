"""The gate: who may start, what a failure costs, and what is left for others while hosts keep silent."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field

import pytest
from tests.support.facts import entry
from tests.support.gates import Anywhere

from mailboat.delivery import gate as gate_module
from mailboat.delivery import watch
from mailboat.delivery.gate import Approach, Cost, Gate
from mailboat.delivery.places import PARKED, Place
from mailboat.delivery.verdict import FaultKind, Signal, Trouble
from mailboat.model.outcome import Stage
from mailboat.queue.schedule import Ring, Schedule
from mailboat.routing.answers import Site, Spot

SILENT = Trouble(Stage.GREETING, FaultKind.TIMEOUT, "no reply")
REFUSED = Trouble(Stage.CONNECT, FaultKind.CONNECT, "connection refused")
SPOT: Spot = ("192.0.2.1", 25)


def open_gate(*, most: int = 100, each: int = 20) -> tuple[Gate, Anywhere]:
    anywhere = Anywhere()
    gate = Gate(anywhere, lambda: 0.5)
    gate.configure(most, each)
    return gate, anywhere


def started(gate: Gate, name: str, now: float = 0.0) -> Place:
    """An attempt that was let in."""
    assert gate.ring_of(name, entry((f"u@{name}",)), now) in (Ring.PROVEN, Ring.FRESH, Ring.FAILED)
    place = gate.begin(now)
    assert isinstance(place, Place)
    return place


def begun(gate: Gate, name: str = "d.test", now: float = 0.0) -> Place:
    """An attempt that was let in and has turned to its address."""
    place = started(gate, name, now)
    assert gate.approach(place, SPOT, now)[0] is Approach.GO
    return place


def waits(*rings: Ring) -> dict[Ring, list[str]]:
    """A queue in each of these rings."""
    return {ring: ["d.test"] if ring in rings else [] for ring in Ring}


def test_domains_with_the_same_hosts_share_a_window() -> None:
    gate, anywhere = open_gate()
    site = Site("mx.test", ((SPOT,),))
    anywhere.sites = {"a.test": site, "b.test": site}
    begun(gate, "a.test")
    begun(gate, "b.test")
    assert gate.ring_of("a.test", entry(("u@a.test",)), 0.0) is None


def test_what_waits_has_its_turn_when_an_attempt_ends() -> None:
    gate, anywhere = open_gate()
    anywhere.sites = {name: Site("mx.test", ((SPOT,),)) for name in ("a.test", "b.test", "c.test")}
    first, _ = begun(gate, "a.test"), begun(gate, "b.test")
    assert gate.ring_of("c.test", entry(("u@c.test",)), 0.0) is None
    resumed: list[str] = []
    gate.resume = lambda name: not resumed.append(name)  # type: ignore[func-returns-value]
    gate.end(first, 1.0)
    assert resumed == ["c.test"]
    assert not gate.has_blocked


def test_an_attempt_has_room_at_an_address_from_its_start_to_its_end() -> None:
    gate, anywhere = open_gate()
    anywhere.sites = {name: Site(name, ((SPOT,),)) for name in ("a.test", "b.test", "c.test")}
    first = started(gate, "a.test")
    started(gate, "b.test")
    assert gate.ring_of("c.test", entry(("u@c.test",)), 0.0) is None
    _, address = gate.approach(first, SPOT, 0.0)
    assert address.open == 2
    gate.end(first, 0.0)
    assert address.open == 1


def test_an_attempt_that_goes_elsewhere_leaves_its_room_to_others() -> None:
    gate, anywhere = open_gate()
    anywhere.sites["a.test"] = Site("a.test", ((SPOT,),))
    place = started(gate, "a.test")
    kept = place.reserved
    approach, address = gate.approach(place, ("192.0.2.2", 25), 0.0)
    assert approach is Approach.GO
    assert kept is not None
    assert (kept.open, address.open) == (0, 1)


def test_who_is_turned_away_while_others_are_let_in_takes_its_turn_again() -> None:
    gate, anywhere = open_gate()
    anywhere.sites["d.test"] = Site("mx.test", ((SPOT,),))
    first, second = begun(gate), begun(gate)
    assert gate.learn(second, Signal.TURNED_AWAY, 0.0, REFUSED) is Cost.TURN
    gate.end(second, 0.0)
    assert gate.learn(first, Signal.TURNED_AWAY, 0.0, REFUSED) is Cost.ATTEMPT


@dataclass
class Talk:
    heard: int = 0
    sent: int | None = None
    dot_sent: bool = False


def test_a_failure_costs_nothing_while_another_session_converses_with_the_host() -> None:
    gate, anywhere = open_gate()
    anywhere.sites["d.test"] = Site("mx.test", ((SPOT,),))
    first, second = begun(gate), begun(gate)
    gate.opened(first, Talk(), 0.0)
    assert gate.learn(second, Signal.SILENT, 0.0, SILENT) is Cost.NOTHING
    gate.end(first, 0.0)
    assert gate.learn(second, Signal.SILENT, 0.0, SILENT) is Cost.ATTEMPT


def test_proven_hosts_come_first_and_unproven_ones_are_never_without_a_place() -> None:
    gate, _ = open_gate(most=40)
    waiting = waits(Ring.PROVEN, Ring.FRESH)
    proven: list[Place] = []
    while (ring := gate.next_ring(waiting)) is Ring.PROVEN:
        place = gate.occupy(gate._destination(Site(f"p{len(proven)}", ())), 0.0)
        gate.places.change(place, proven=True)
        proven.append(place)
    assert ring is Ring.FRESH
    assert len(proven) == 38


def test_of_unproven_hosts_those_that_failed_have_every_fourth_turn() -> None:
    gate, _ = open_gate(most=1000)
    waiting = waits(Ring.FRESH, Ring.FAILED)
    rings = []
    for number in range(8):
        rings.append(gate.next_ring(waiting))
        gate.occupy(gate._destination(Site(f"s{number}", ())), 0.0)
    assert rings.count(Ring.FAILED) == 2


def test_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "REMEMBERED", 100)
    gate, anywhere = open_gate()
    kept = begun(gate, "kept.test")
    for number in range(1000):
        name = f"d{number}.test"
        anywhere.sites[name] = Site(name, (((f"host{number}", 25),),))
        gate.ring_of(name, entry((f"u@{name}",)), 0.0)
    assert len(gate._destinations) <= 101
    assert len(gate._addresses) <= 101
    assert gate._destinations["kept.test"] is kept.destination


def test_a_destination_that_never_answers_does_not_remember_all_domains_that_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_module, "UNPROVEN_MARKED", 100)
    gate, anywhere = open_gate()
    site = Site("mx.test", ((SPOT,),))
    for number in range(1000):
        name = f"d{number}.test"
        anywhere.sites[name] = site
        assert gate.ring_of(name, entry((f"u@{name}",)), 0.0) is Ring.FRESH
    assert len(gate._destinations["mx.test"].unproven) == 100


# The gate, the schedule and the watch together, in virtual time.


@dataclass(order=True)
class _Event:
    at: float
    number: int
    place: Place = field(compare=False)
    name: str = field(compare=False)
    what: str = field(compare=False)


class Simulation:
    """Good domains that take 0.2 s a message, and bad ones, for some minutes."""

    GOOD = 20

    def __init__(self, bad: int, *, shared: bool, silent_at: str, seconds: float, rate: float, warm: bool) -> None:
        self.gate, anywhere = open_gate()
        self.schedule = Schedule(20_000, self.gate)
        self.gate.resume = self.schedule.resume
        self.now = 0.0
        self.rows = itertools.count(1)
        self.events: list[_Event] = []
        self.silent_at, self.seconds, self.warm = silent_at, seconds, warm
        self.sent = self.delivered = 0
        self.delays: list[float] = []
        self.times: dict[str, deque[float]] = {}
        self.most_parked = 0
        for number in range(self.GOOD):
            name = f"good{number}.test"
            anywhere.sites[name] = Site(name, (((f"10.0.0.{number}", 25),),))
        for number in range(bad):
            name = f"bad{number}.test"
            spot = "192.0.2.1" if shared else f"bad{number}"
            anywhere.sites[name] = Site("mx.bad" if shared else name, (((spot, 25),),))
        self.rate, self.bad = rate, bad

    def offer(self, name: str) -> None:
        self.schedule.offer(name, entry((f"u@{name}",), row=next(self.rows)))
        self.times.setdefault(name, deque()).append(self.now)

    def run(self) -> float:
        """The share of good mail that was delivered."""
        if self.warm:
            for number in range(self.GOOD):
                self.offer(f"good{number}.test")
            self.sent += self.GOOD
            self.pass_time(1.0)
        for number in range(self.bad):
            for _ in range(1 if self.bad > 100 else 20):
                self.offer(f"bad{number}.test")
        due, last_sweep = self.now, self.now
        while self.now < self.seconds:
            while due <= self.now:
                self.offer(f"good{self.sent % self.GOOD}.test")
                self.sent += 1
                due += 1 / self.rate
            if self.now - last_sweep >= watch.INTERVAL:
                last_sweep = self.now
                self.sweep()
            self.pass_time(0.01)
        return self.delivered / self.sent

    def pass_time(self, seconds: float) -> None:
        self.pump()
        self.now += seconds
        while self.events and self.events[0].at <= self.now:
            self.happen(heapq.heappop(self.events))

    def pump(self) -> None:
        while (next_up := self.schedule.start(self.now)) is not None:
            name, started = next_up
            place = self.gate.begin(self.now)
            self.schedule.finish(name)
            self.schedule.recorded(started.key)
            if not isinstance(place, Place):
                self.gate.end(place, self.now)
                continue
            spot = self.gate._whereabouts.where(name, started, self.now).tiers[0][0]  # type: ignore[union-attr]
            if self.gate.approach(place, spot, self.now)[0] is not Approach.GO:
                self.gate.end(place, self.now)
                continue
            if name.startswith("good"):
                self.later(0.05, place, name, "opened")
            elif self.silent_at == "dot":
                self.later(0.05, place, name, "silent")
            else:
                place.interrupt = lambda _why, place=place, name=name: self.later(0.0, place, name, "failed")
                self.later(300.0, place, name, "failed")

    def later(self, seconds: float, place: Place, name: str, what: str) -> None:
        heapq.heappush(self.events, _Event(self.now + seconds, next(self.rows), place, name, what))

    def happen(self, event: _Event) -> None:
        place = event.place
        if event.what == "opened":
            self.gate.opened(place, Talk(), self.now)
            self.later(0.15, place, event.name, "delivered")
        elif event.what == "silent":
            self.gate.opened(place, Talk(), self.now)
            self.later(600.0, place, event.name, "failed")
        elif event.what == "delivered":
            self.gate.learn(place, Signal.WELL, self.now)
            self.gate.end(place, self.now)
            self.delivered += 1
            self.delays.append(self.now - self.times[event.name].popleft())
        elif place in self.gate.places.held:
            self.gate.learn(place, Signal.SILENT, self.now, SILENT)
            self.gate.end(place, self.now)

    def sweep(self) -> None:
        for overdue in watch.sweep(self.gate.places, self.now, 600.0, others_wait=self.schedule.has_turns):
            if overdue.place.interrupt is not None:
                overdue.place.interrupt(overdue.why)
        self.gate.tick(self.now)
        self.most_parked = max(self.most_parked, self.gate.places.parked)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize(
    ("bad", "shared", "silent_at"),
    [(12, True, "greeting"), (12, True, "dot"), (1000, False, "greeting"), (1000, False, "dot")],
)
def test_others_keep_their_mail_whatever_keeps_silent(bad: int, shared: bool, silent_at: str, warm: bool) -> None:
    simulation = Simulation(bad, shared=shared, silent_at=silent_at, seconds=90.0, rate=60.0, warm=warm)
    assert simulation.run() >= 0.95
    if warm:
        assert sorted(simulation.delays)[int(len(simulation.delays) * 0.95)] < 1.0
    assert simulation.most_parked <= (PARKED + 1) * 100

"""A worker's side of limits: what it asks for, what may start, and that a slot is one connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from tests.support.facts import entry
from tests.support.fixed_clock import FixedClock

from mailboat.delivery.leases import Slot
from mailboat.delivery.limits import UNUSED, DeliveryLimits, HeldError, Hold
from mailboat.model.envelope import Entry
from mailboat.routing.answers import Site
from mailboat.shaping.ledger import LimitCheck
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.owner import Ask, Grant, Group
from mailboat.shaping.rate import SECOND

SITE = Site("mx.test", ())
RATE = LimitCheck("r", LimitKey.RATE, 60, 60 * SECOND, cause="limit rate of default")
CONNECTIONS = LimitCheck("c", LimitKey.CONNECTIONS, 2, cause="limit connections of default")


@dataclass
class Owner:
    asked: list[Ask] = field(default_factory=list)
    given_back: list[Group] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)

    def ask(self, ask: Ask) -> None:
        self.asked.append(ask)

    def cancel(self, path: int) -> None:
        self.cancelled.append(path)

    def give_back(self, group: Group) -> None:
        self.given_back.append(group)


class Rig:
    """Limits of one worker, with what they resumed and when they want to be called."""

    def __init__(self, *checks: LimitCheck) -> None:
        self.clock = FixedClock(1000.0)
        self.owner = Owner()
        self.limits = DeliveryLimits(self.owner, self.clock.monotonic)
        self.limits.configure(lambda _entry, _site: checks)
        self.resumed: list[str] = []
        self.told: list[str] = []
        self.wakes: list[float] = []
        self.limits.resume = self._resume
        self.limits.wake_at = self.wakes.append
        self.limits.tell = lambda told, held: self.told.append(f"{told.id} {held.check.cause}")

    def _resume(self, name: str) -> bool:
        self.resumed.append(name)
        return True

    def start(self, name: str = "a", what: Entry | None = None) -> Hold | None:
        """Start an entry; None: it is held."""
        if not self.limits.is_ready(name, what or entry(), SITE, self.clock.monotonic()):
            return None
        hold = self.limits.begin()
        assert hold is not None
        return hold

    def grant(self, *permits: float, connection: bool = False) -> None:
        """Answer the last request."""
        last = self.owner.asked[-1]
        times = tuple(int(at * SECOND) for at in permits)
        self.limits.granted(Grant(last.path, times, last.recipients, connection))

    def idle_connection(self, retire: Callable[[], None]) -> Slot:
        """The first connection, after a message."""
        self.start()
        self.grant(connection=True)
        hold = self.start()
        assert hold is not None
        slot = hold.to_dial()
        assert slot is not None
        slot.opened(retire, 1000.0)
        hold.let_go()
        slot.rest()
        hold.close(1000.0)
        return slot


def test_without_limits_nothing_is_asked() -> None:
    rig = Rig()
    assert rig.limits.is_ready("a", entry(), SITE, 0.0)
    assert rig.limits.begin() is None
    assert rig.owner.asked == []


def test_a_queue_is_asked_for_once_and_resumed_when_the_permit_comes() -> None:
    rig = Rig(RATE)
    assert rig.start() is None
    assert rig.start() is None
    assert [(ask.messages, ask.connection) for ask in rig.owner.asked] == [(1, False)]
    rig.grant(1000.0)
    assert rig.resumed == ["a"]
    assert rig.start() is not None
    assert rig.start() is None


def test_a_permit_of_later_is_waited_for_without_asking_again() -> None:
    rig = Rig(RATE)
    rig.start()
    rig.grant(1000.5)
    assert rig.resumed == []
    assert rig.wakes == [1000.5]
    rig.clock.advance(0.5)
    rig.limits.tick(1000.5)
    assert rig.resumed == ["a"]
    assert rig.start() is not None
    assert len(rig.owner.asked) == 1


def test_a_permit_that_is_too_old_is_void_also_in_an_attempt() -> None:
    rig = Rig(RATE)
    rig.start()
    rig.grant(1000.0)
    hold = rig.start()
    assert hold is not None
    hold.renew(1, rig.clock.monotonic())
    rig.clock.advance(1.5)
    with pytest.raises(HeldError, match="limit rate of default"):
        hold.renew(1, rig.clock.monotonic())


def test_an_attempt_that_did_not_reach_data_leaves_its_permit_to_the_next() -> None:
    rig = Rig(RATE)
    rig.start()
    rig.grant(1000.0)
    hold = rig.start()
    assert hold is not None
    hold.close(1000.0)
    again = rig.start()
    assert again is not None
    again.used()
    again.close(1000.0)
    assert rig.start() is None


def test_what_holds_an_entry_is_told_once() -> None:
    rig = Rig(RATE)
    first = entry()
    rig.start("a", first)
    for until in (1060, 1061):
        rig.limits.held(rig.owner.asked[-1].path, RATE, until * SECOND)
        rig.start("a", first)
    assert rig.told == [f"{first.id} limit rate of default"]
    held = rig.limits.holding("a")
    assert held is not None
    assert held.until == 1061
    rig.grant(1000.0)
    assert rig.limits.holding("a") is None


def test_a_slot_is_given_back_when_its_connection_is_closed() -> None:
    rig = Rig(CONNECTIONS)
    slot = rig.idle_connection(lambda: None)
    assert rig.owner.given_back == []
    reused = rig.start()  # by the idle connection
    assert reused is not None
    slot.wake()
    reused.reuse(slot)
    reused.close(1000.0)
    slot.gone()
    assert rig.owner.given_back == [("c",)]


def test_an_idle_connection_to_another_host_is_ended_before_a_new_one_is_dialled() -> None:
    rig = Rig(CONNECTIONS)
    retired: list[str] = []
    slot = rig.idle_connection(lambda: retired.append("QUIT"))
    other = rig.start("b")
    assert other is not None
    assert other.to_dial() is slot
    assert retired == ["QUIT"]
    slot.gone()
    assert rig.owner.given_back == []
    other.close(1000.0)
    assert rig.owner.given_back == [("c",)]


def test_idle_connections_are_ended_when_others_wait() -> None:
    rig = Rig(CONNECTIONS)
    retired: list[str] = []
    rig.idle_connection(lambda: retired.append("QUIT"))
    rig.limits.recalled(("c",), others_wait=True)
    assert retired == ["QUIT"]


def test_a_connection_that_nobody_uses_is_given_back() -> None:
    rig = Rig(CONNECTIONS)
    rig.start()
    rig.grant(connection=True)
    rig.limits.tick(1000.0 + UNUSED)
    assert rig.owner.given_back == [("c",)]


def test_a_permit_for_fewer_recipients_is_not_enough() -> None:
    rig = Rig(replace(RATE, kind=LimitKey.RECIPIENT_RATE))
    rig.start()
    rig.grant(1000.0)
    many = entry()
    many = replace(many, recipients=(*many.recipients, *(replace(many.recipients[0], id=9),)))
    assert rig.start("a", many) is None
    assert rig.owner.asked[-1].recipients == 2


def test_new_limits_ask_again_for_what_waits() -> None:
    rig = Rig(RATE)
    rig.start()
    rig.limits.configure(lambda _entry, _site: ())
    assert rig.owner.cancelled == [rig.owner.asked[0].path]
    assert rig.resumed == ["a"]
    assert rig.limits.is_ready("a", entry(), SITE, 1000.0)

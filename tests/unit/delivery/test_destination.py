"""What is learnt of an address, and when the addresses of a destination may be tried."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat.delivery.destination import (
    FIRST_BACK_OFF,
    LARGEST_CAP,
    LAST_FOR,
    LONGEST_BACK_OFF,
    PROVEN,
    Destination,
    HostAddress,
)
from mailboat.delivery.verdict import Signal


def told(*signals: Signal, now: float = 0.0) -> HostAddress:
    """An address of which attempts told this, one after the other."""
    address = HostAddress()
    for signal in signals:
        address.open = 1
        address.learn(signal, now, 0.5)
        address.open = 0
    return address


def of(*tiers: Sequence[HostAddress]) -> Destination:
    destination = Destination("mx.test")
    destination.lead_to(tuple(tuple(tier) for tier in tiers))
    return destination


def test_an_address_is_proven_for_ten_minutes_after_it_answered_a_message() -> None:
    address = told(Signal.WELL, now=50.0)
    assert not HostAddress().is_proven(0.0)
    assert address.is_proven(50.0 + PROVEN - 1)
    assert not address.is_proven(50.0 + PROVEN)


def test_three_failures_in_a_row_end_that() -> None:
    assert told(Signal.WELL, Signal.FAILED, Signal.REFUSED).is_proven(1.0)
    assert not told(Signal.WELL, Signal.FAILED, Signal.REFUSED, Signal.SILENT).is_proven(1.0)


def test_a_new_address_gets_two_connections_and_one_more_with_each_success() -> None:
    address = HostAddress()
    assert address.cap == 2
    address.learn(Signal.WELL, 0.0, 0.5)
    assert address.cap == 3
    for _ in range(100):
        address.learn(Signal.WELL, 0.0, 0.5)
    assert address.cap == LARGEST_CAP


def test_what_is_our_own_fault_says_nothing_of_it() -> None:
    address = told(Signal.NOTHING)
    assert (address.failures, address.cap, address.dead_until) == (0, 2, 0.0)


def test_after_a_failure_it_is_tried_once_at_a_time() -> None:
    assert told(Signal.WELL, Signal.FAILED).cap == 1


def test_after_three_failures_in_a_row_it_is_left_alone_for_a_minute_then_twice_as_long() -> None:
    address, now, pauses = told(Signal.REFUSED, Signal.REFUSED), 0.0, []
    assert address.is_free(now)
    for _ in range(8):
        address.open = 1
        address.learn(Signal.REFUSED, now, 0.5)
        address.open = 0
        assert not address.is_free(now)
        pauses.append(address.dead_until - now)
        now = address.dead_until
        assert address.is_free(now)
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert (pauses[0], pauses[-1]) == (FIRST_BACK_OFF, LONGEST_BACK_OFF)


def test_the_ends_of_back_offs_are_spread_by_a_fifth() -> None:
    pauses = []
    for chance in (0.0, 1.0):
        address = told(Signal.REFUSED, Signal.REFUSED)
        address.learn(Signal.REFUSED, 0.0, chance)
        pauses.append(round(address.dead_until))
    assert pauses == [48, 72]


def test_many_connections_that_break_at_once_are_one_failure() -> None:
    address = told(*[Signal.WELL] * 30)
    for still_open in range(10, 1, -1):
        address.open = still_open
        address.learn(Signal.FAILED, 0.0, 0.5)
        if address.failures <= 6:
            assert address.dead_until == 0.0, f"after {address.failures} of ten"
    for _ in range(20):
        address.open = 10
        address.learn(Signal.FAILED, 1.0, 0.5)
    assert address.dead_until < 1.0 + 1.3 * FIRST_BACK_OFF


def test_a_success_forgets_all_failures() -> None:
    address = told(*[Signal.SILENT] * 5)
    address.learn(Signal.WELL, 1000.0, 0.5)
    assert (address.failures, address.dead_until, address.last_until, address.cap) == (0, 0.0, 0.0, 2)


def test_an_address_that_kept_silent_is_tried_once_at_a_time_for_some_minutes() -> None:
    address = told(Signal.SILENT)
    assert address.is_free(1.0)
    address.open = 1
    assert not address.is_free(LAST_FOR - 1)


def test_a_busy_host_does_not_send_mail_to_the_one_behind_it() -> None:
    first, second = HostAddress(), HostAddress()
    first.open = first.cap
    destination = of([first], [second])
    assert destination.with_room(0.0) is None
    assert list(destination.in_the_way(0.0)) == [first]


def test_a_host_that_kept_silent_or_is_left_alone_does() -> None:
    silent, dead, backup = told(Signal.SILENT), told(*[Signal.REFUSED] * 3), HostAddress()
    silent.open = 1
    assert of([silent], [backup]).with_room(1.0) is backup
    assert of([dead], [backup]).with_room(1.0) is backup
    backup.open = backup.cap
    assert of([silent], [backup]).with_room(1.0) is None
    assert list(of([silent], [backup]).in_the_way(1.0)) == [backup]


def test_of_equal_hosts_one_with_room_is_enough() -> None:
    full, free = HostAddress(), HostAddress()
    full.open = full.cap
    assert of([full, free]).with_room(0.0) is free


def test_a_destination_is_dead_when_all_of_its_addresses_are() -> None:
    dead, later, alive = told(*[Signal.REFUSED] * 3), told(*[Signal.REFUSED] * 3, now=100.0), HostAddress()
    assert of([dead], [later]).dead_until() == dead.dead_until
    assert of([dead], [alive]).dead_until() == 0.0

"""Admission: who may connect, who may relay, and what is said when there is no room."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import settings
from tests.support.memory_store import MemoryStore

from mailboat.ingress.admission import Admission, Load, Refusal


def admission(*networks: str, **smtp: Any) -> Admission:
    acl = tuple(ip_network(network, strict=False) for network in networks)
    return Admission(MemoryStore(FixedClock()), Load(), settings(acl=acl, **smtp))


@pytest.mark.parametrize(
    ("client", "networks", "allowed"),
    [
        ("127.0.0.6", ["127.0.0.6"], True),
        ("127.0.0.5", ["127.0.0.6"], False),
        ("127.0.0.5", ["127.0.0.6/24"], True),
        ("2001:db8::1", ["2001:db8::/64"], True),
        ("2001:db8:0:1::1", ["2001:db8::/64"], False),
        ("127.0.0.6", ["::/0"], False),
        ("2001:db8::1", ["0.0.0.0/0"], False),
        ("::ffff:127.0.0.6", ["127.0.0.6/32"], True),
        ("::ffff:127.0.0.7", ["127.0.0.6/32"], False),
        ("::ffff:10.0.0.1", ["::/0"], False),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("fe80::1%eth0", ["127.0.0.0/8"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("no address", ["0.0.0.0/0", "::/0"], False),
        ("127.0.0.1", [], False),
    ],
)
def test_only_an_address_in_a_network_of_its_own_family_may_relay(
    client: str, networks: list[str], allowed: bool
) -> None:
    keeper = admission(*networks)
    assert keeper.may_relay(client) is allowed
    assert keeper.may_relay(client) is allowed, "also when it is remembered"


def test_new_settings_make_what_is_remembered_forgotten() -> None:
    keeper = admission("127.0.0.0/8")
    assert keeper.may_relay("127.0.0.1")
    keeper.configure(settings(acl=()))
    assert not keeper.may_relay("127.0.0.1")


def test_what_is_remembered_is_bounded() -> None:
    keeper = admission("10.0.0.0/8")
    for number in range(30_000):
        assert keeper.may_relay(f"10.0.{number // 256}.{number % 256}")
    assert len(keeper._relay_cache) <= 10_001


@dataclass(eq=False)
class Guest:
    """A client's connection."""

    keeper: Admission
    client: str
    is_idle: bool = True
    gone: bool = False

    def enters(self) -> Refusal | None:
        return self.keeper.enter(self.client, self)

    def make_room(self) -> None:
        self.gone = True


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["127.0.0.1", "127.0.0.2", "127.0.0.3"])), max_size=60))
def test_counts_are_right_whoever_comes_and_goes(steps: list[tuple[bool, str]]) -> None:
    keeper = admission("127.0.0.0/8", max_connections=5, max_connections_per_client=2)
    here: list[Guest] = []
    for comes, client in steps:
        same = [guest for guest in here if guest.client == client]
        if comes:
            guest = Guest(keeper, client)
            refusal = guest.enters()
            if len(same) == 2:
                assert refusal is Refusal.TOO_MANY_FROM_CLIENT
            elif len(here) == 5:
                assert refusal is Refusal.TOO_MANY_CONNECTIONS
            else:
                assert refusal is None
                here.append(guest)
        elif same:
            keeper.leave(same[0])
            keeper.leave(same[0])
            here.remove(same[0])
    assert keeper.connections == len(here)
    assert keeper._clients == Counter(guest.client for guest in here)


def strangers(keeper: Admission, count: int) -> list[Guest]:
    guests = [Guest(keeper, f"192.0.2.{number}") for number in range(count)]
    assert [guest.enters() for guest in guests] == [None] * count
    return guests


def test_the_oldest_idle_stranger_goes_for_whoever_comes_when_it_is_full() -> None:
    keeper = admission("127.0.0.0/8", max_connections=10)
    ten = strangers(keeper, 9)
    assert Guest(keeper, "127.0.0.1").enters() is None, "a tenth is kept for those who may relay"
    assert not any(guest.gone for guest in ten)
    ten[0].is_idle = False
    assert Guest(keeper, "127.0.0.2").enters() is None
    assert [guest.gone for guest in ten] == [False, True] + [False] * 7
    assert Guest(keeper, "192.0.2.200").enters() is None
    assert [guest.gone for guest in ten] == [False, True, True] + [False] * 6
    assert keeper.connections == 10


def test_nobody_goes_who_may_relay_or_is_in_the_middle_of_something() -> None:
    keeper = admission("127.0.0.0/8", max_connections=4, max_strangers=3)
    three = strangers(keeper, 3)
    three[0].is_idle = three[1].is_idle = False
    keeper.trust(three[2])
    assert Guest(keeper, "127.0.0.1").enters() is None
    assert Guest(keeper, "127.0.0.2").enters() is Refusal.TOO_MANY_CONNECTIONS
    assert Guest(keeper, "192.0.2.200").enters() is Refusal.TOO_MANY_CONNECTIONS
    assert not any(guest.gone for guest in three)
    keeper.leave(three[2])
    assert Guest(keeper, "192.0.2.200").enters() is None


def test_strangers_are_as_many_as_is_said_or_as_memory_has_room_for() -> None:
    keeper = admission(max_connections=1000)
    keeper.load.room_for_strangers = 5
    first, *_ = strangers(keeper, 6)
    assert first.gone
    assert keeper.connections == 5
    keeper.configure(settings(acl=(), max_connections=1000, max_strangers=20))
    strangers(keeper, 15)
    assert keeper.connections == 20
    assert Guest(keeper, "192.0.2.200").enters() is None
    assert keeper.connections == 20


def test_strangers_of_one_ipv6_network_of_64_bits_are_one_client_and_those_who_may_relay_are_not() -> None:
    keeper = admission("2001:db8:1::/48", max_connections_per_client=2)
    same = ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
    assert [Guest(keeper, client).enters() for client in same] == [None, None, Refusal.TOO_MANY_FROM_CLIENT]
    assert Guest(keeper, "2001:db8:0:1::1").enters() is None
    allowed = ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3"]
    assert [Guest(keeper, client).enters() for client in allowed] == [None] * 3


def test_one_address_that_has_its_share_makes_nobody_go() -> None:
    keeper = admission(max_connections=3, max_connections_per_client=2)
    other = Guest(keeper, "192.0.2.1")
    assert other.enters() is None
    asked = [Guest(keeper, "192.0.2.2").enters() for _ in range(10)]
    assert asked == [None, None] + [Refusal.TOO_MANY_FROM_CLIENT] * 8
    assert not other.gone


def test_when_memory_is_short_strangers_are_refused_and_the_older_half_of_them_goes() -> None:
    keeper = admission("127.0.0.0/8")
    five = strangers(keeper, 5)
    keeper.relieve()
    assert not any(guest.gone for guest in five)
    keeper.load.memory_full = True
    assert Guest(keeper, "192.0.2.200").enters() is Refusal.MEMORY_FULL
    assert Guest(keeper, "127.0.0.1").enters() is None
    five[1].is_idle = False
    keeper.relieve()
    assert [guest.gone for guest in five] == [True, False, True, False, False]


def test_room_says_the_gravest_trouble_and_draining_turns_clients_away() -> None:
    keeper = admission()
    store = keeper.store
    assert isinstance(store, MemoryStore)
    assert keeper.room() is None
    store.pressure = 1.0
    assert keeper.room() is Refusal.OVERLOAD
    store.fault = "input/output error"
    assert keeper.room() is Refusal.STORAGE_FAULT
    keeper.load.disk_full = True
    assert keeper.room() is Refusal.STORAGE_FULL
    keeper.load.draining = True
    assert Guest(keeper, "127.0.0.1").enters() is Refusal.DRAINING
    assert keeper.connections == 0

"""The doorkeeper: who may connect, who may relay, and what is said when there is no room."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import settings

from mailboat.ingress.admission import Admission, Load, Refusal
from mailboat.queue.memory import MemoryStore


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


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "c"])), max_size=60))
def test_counts_are_right_whoever_comes_and_goes(steps: list[tuple[bool, str]]) -> None:
    keeper = admission(max_connections=5, max_connections_per_client=2)
    here: list[str] = []
    for comes, client in steps:
        if comes:
            refusal = keeper.enter(client)
            if len(here) == 5:
                assert refusal is Refusal.TOO_MANY_CONNECTIONS
            elif here.count(client) == 2:
                assert refusal is Refusal.TOO_MANY_FROM_CLIENT
            else:
                assert refusal is None
                here.append(client)
        elif client in here:
            keeper.leave(client)
            here.remove(client)
    assert keeper.connections == len(here)
    assert dict(keeper._clients) == {client: here.count(client) for client in here}


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
    assert keeper.enter("127.0.0.1") is Refusal.DRAINING
    assert keeper.connections == 0

"""The MX rules, without any DNS."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.config.settings import InetPrefer, IPAddress
from mailboat.routing import mx
from mailboat.routing.answers import Unroutable
from mailboat.routing.mx import MxHost
from mailboat.routing.records import Answer, Lookup, LookupFailure, MxRecord, NoData, NxDomain

LATER = 100.0


def addresses(*texts: str) -> Lookup[str]:
    return Answer(texts, LATER) if texts else NoData(LATER)


def host(v6: Lookup[str], v4: Lookup[str], prefer: InetPrefer = InetPrefer.BOTH, *own: str) -> MxHost:
    ours = {ipaddress.ip_address(text) for text in own}
    return mx.host(MxRecord(10, "mx.test"), v6, v4, prefer, ours.__contains__)


def shown(found: MxHost) -> list[str]:
    return [str(ip) for family in found.addresses for ip in family]


def refusal(answer: object) -> tuple[bool, str]:
    assert isinstance(answer, Unroutable)
    return answer.permanent, answer.status


def test_exchangers_come_by_preference() -> None:
    found = Answer((MxRecord(20, "b.test"), MxRecord(5, "a.test")), LATER)
    assert mx.exchanges("d.test", found) == (MxRecord(5, "a.test"), MxRecord(20, "b.test"))


def test_an_exchanger_named_twice_counts_once_at_its_best_preference() -> None:
    found = Answer((MxRecord(20, "a.test"), MxRecord(5, "a.test")), LATER)
    assert mx.exchanges("d.test", found) == (MxRecord(5, "a.test"),)


@pytest.mark.parametrize("found", [NoData(LATER), NxDomain(LATER)])
def test_a_domain_without_mx_is_its_own_exchanger(found: Lookup[MxRecord]) -> None:
    assert mx.exchanges("d.test", found) == (MxRecord(0, "d.test"),)


@pytest.mark.parametrize("preference", [0, 10])
def test_a_null_mx_bounces_whatever_its_preference(preference: int) -> None:
    assert refusal(mx.exchanges("d.test", Answer((MxRecord(preference, ""),), LATER))) == (True, "5.1.10")


def test_a_null_mx_among_others_is_ignored() -> None:
    found = Answer((MxRecord(0, ""), MxRecord(10, "a.test")), LATER)
    assert mx.exchanges("d.test", found) == (MxRecord(10, "a.test"),)


def test_a_domain_that_does_not_exist_bounces() -> None:
    found = mx.reachable("d.test", [MxHost("d.test", 0)], exists=False)
    assert found == Unroutable(True, "5.1.2", "the domain d.test does not exist")


def test_a_failing_look_up_defers_and_says_why() -> None:
    assert mx.exchanges("d.test", LookupFailure("SERVFAIL", LATER)) == Unroutable(False, "4.4.3", "SERVFAIL")


@pytest.mark.parametrize(
    "name", ["a b.test", "a\\010b.test", "x" * 64 + ".test", "a..test", "-a.test", "é.test", "127.0.0.1"]
)
def test_an_exchanger_that_is_no_host_name_is_left_out(name: str) -> None:
    only = mx.exchanges("d.test", Answer((MxRecord(1, name),), LATER))
    assert refusal(only) == (True, "5.4.4")
    beside = mx.exchanges("d.test", Answer((MxRecord(1, name), MxRecord(2, "a_b.test")), LATER))
    assert beside == (MxRecord(2, "a_b.test"),)


def test_a_host_that_is_an_exchanger_itself_only_hands_on_to_better_ones() -> None:
    records = (MxRecord(5, "a.test"), MxRecord(10, "me.test"), MxRecord(10, "b.test"), MxRecord(20, "c.test"))
    assert mx.preferred_to("me.test", records) == (MxRecord(5, "a.test"),)
    assert mx.preferred_to("other.test", records) == records


@pytest.mark.parametrize(
    ("prefer", "order"),
    [
        (InetPrefer.BOTH, ["2001:db8::1", "192.0.2.1"]),
        (InetPrefer.V6, ["2001:db8::1", "192.0.2.1"]),
        (InetPrefer.V4, ["192.0.2.1", "2001:db8::1"]),
        (InetPrefer.V4_ONLY, ["192.0.2.1"]),
        (InetPrefer.V6_ONLY, ["2001:db8::1"]),
    ],
)
def test_the_preferred_family_comes_first_and_the_other_stays_unless_it_is_not_to_be_used(
    prefer: InetPrefer, order: list[str]
) -> None:
    assert shown(host(addresses("2001:db8::1"), addresses("192.0.2.1"), prefer)) == order


def test_one_family_that_fails_leaves_the_other() -> None:
    found = host(LookupFailure("SERVFAIL", LATER), addresses("192.0.2.1"))
    assert shown(found) == ["192.0.2.1"]
    assert found.failure == "SERVFAIL"


def test_a_host_with_many_addresses_leaves_room_for_its_other_family() -> None:
    many = addresses(*(f"2001:db8::{n:x}" for n in range(1, 100)))
    assert len(shown(host(many, addresses("192.0.2.1")))) == mx.MAX_ADDRESSES + 1
    assert shown(host(many, addresses("192.0.2.1")))[-1] == "192.0.2.1"


NEVER = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
]


@pytest.mark.parametrize("text", NEVER)
def test_addresses_that_lead_nowhere_else_are_skipped(text: str) -> None:
    ip = ipaddress.ip_address(text)
    assert mx.never_leaves(ip)
    found = host(
        addresses(text) if ip.version == 6 else NoData(LATER), addresses(text) if ip.version == 4 else NoData(LATER)
    )
    assert shown(found) == []
    assert found.skipped == str(ip)
    assert not found.ours


@pytest.mark.parametrize("text", ["10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1"])
def test_private_addresses_are_hosts_like_others(text: str) -> None:
    assert not mx.never_leaves(ipaddress.ip_address(text))


def test_everything_is_kept_where_local_mx_are_allowed() -> None:
    found = mx.host(MxRecord(10, "mx.test"), addresses("::1"), addresses("127.0.0.1"), InetPrefer.BOTH, None)
    assert shown(found) == ["::1", "127.0.0.1"]


def test_an_own_address_drops_hosts_of_the_same_and_of_worse_preference() -> None:
    better = MxHost("a.test", 5, ((ip("192.0.2.1"),),))
    own = host(NoData(LATER), addresses("192.0.2.9"), InetPrefer.BOTH, "192.0.2.9")
    same, worse = MxHost("b.test", 10, ((ip("192.0.2.2"),),)), MxHost("c.test", 20, ((ip("192.0.2.3"),),))
    assert own.ours
    assert mx.reachable("d.test", [better, own, same, worse]) == (better,)
    assert refusal(mx.reachable("d.test", [own, same, worse])) == (True, "5.4.6")


def test_a_failing_look_up_of_a_worse_host_does_not_hide_a_loop() -> None:
    own = host(NoData(LATER), addresses("192.0.2.9"), InetPrefer.BOTH, "192.0.2.9")
    worse = MxHost("c.test", 20, failure="SERVFAIL")
    assert refusal(mx.reachable("d.test", [own, worse])) == (True, "5.4.6")


def test_a_loopback_exchanger_does_not_drop_the_others() -> None:
    loopback = host(NoData(LATER), addresses("127.0.0.1"))
    other = MxHost("c.test", 20, ((ip("192.0.2.3"),),))
    assert mx.reachable("d.test", [loopback, other]) == (other,)
    assert refusal(mx.reachable("d.test", [loopback])) == (True, "5.4.6")


def test_hosts_that_fail_defer_only_when_none_is_left() -> None:
    failed, good = MxHost("a.test", 5, failure="SERVFAIL"), MxHost("b.test", 10, ((ip("192.0.2.1"),),))
    assert mx.reachable("d.test", [failed, good]) == (good,)
    assert refusal(mx.reachable("d.test", [failed, MxHost("c.test", 10)])) == (False, "4.4.3")


def test_hosts_without_any_address_bounce() -> None:
    assert refusal(mx.reachable("d.test", [MxHost("a.test", 5), MxHost("b.test", 5)])) == (True, "5.4.4")
    assert refusal(mx.reachable("d.test", [MxHost("d.test", 0)])) == (True, "5.1.2")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("[ipv6:2001:db8::1]", "2001:db8::1"),
        ("[ipv6:::ffff:192.0.2.1]", "::ffff:192.0.2.1"),
    ],
)
def test_address_literals_are_read(text: str, address: str) -> None:
    assert mx.literal(text) == ip(address)


@pytest.mark.parametrize(
    "text",
    ["[]", "[", "[192.0.2.1", "[192.0.2.256]", "[192.0.2]", "[2001:db8::1]", "[ipv6:]", "[ipv6:fe80::1%eth0]", "[x:y]"],
)
def test_malformed_literals_bounce(text: str) -> None:
    assert refusal(mx.literal(text)) == (True, "5.1.3")


def test_a_domain_is_no_literal() -> None:
    assert mx.literal("example.test") is None


@given(st.text(max_size=40))
def test_no_text_in_brackets_makes_the_parser_fail(text: str) -> None:
    assert isinstance(mx.literal(f"[{text}]"), Unroutable | ipaddress.IPv4Address | ipaddress.IPv6Address)


@given(
    st.lists(
        st.builds(MxRecord, st.integers(0, 65535), st.sampled_from(["", "a.test", "b.test", "c.test", "bad name"])),
        min_size=1,
    )
)
def test_whatever_the_records_the_order_is_by_preference_and_names_are_usable(records: list[MxRecord]) -> None:
    found = mx.exchanges("d.test", Answer(tuple(records), LATER))
    if isinstance(found, Unroutable):
        assert found.permanent
        return
    assert list(found) == sorted(found)
    assert len({record.exchange for record in found}) == len(found)
    assert all(record.exchange.endswith(".test") for record in found)


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)

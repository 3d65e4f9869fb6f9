"""From which addresses mail comes: only what the resources say counts, and nothing that NAT may replace."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.outbound_config import resource

from mailboat_operator.observed import ObjectKey
from mailboat_operator.source_addresses import SourceAddressCache, SourceAddresses

Resource = dict[str, Any] | None


def sources(**relays: Resource) -> SourceAddresses:
    """Of mail of example.com and the OutboundConfigs with these names."""
    named = {ObjectKey("mail", name): resource for name, resource in relays.items()}
    return SourceAddressCache().addresses("example.com", named)


def found(spec: dict[str, Any], status: dict[str, Any] | None = None) -> tuple[list[str], str]:
    """Of one OutboundConfig: addresses, and why these may not be all."""
    addresses = sources(relay=resource({"targetRef": {"name": "relay"}, **spec}, status))
    return list(map(str, addresses.known)), addresses.unknown.removeprefix("OutboundConfig relay: ")


def per_pod(*addresses: str) -> dict[str, Any]:
    pods = [{"ordinal": number, "bindIPs": [address]} for number, address in enumerate(addresses)]
    return {"egress": {"mode": "PerPod", "pods": pods}}


def test_the_addresses_that_pods_bind_are_known() -> None:
    assert found(per_pod("192.0.2.9", "2001:db8::9", "192.0.2.10")) == (["192.0.2.9", "2001:db8::9", "192.0.2.10"], "")


def test_an_address_is_known_with_the_ehlo_name_that_the_resource_gives_it() -> None:
    pods = [{"ordinal": 0, "bindIPs": ["192.0.2.9", "2001:db8::9"], "ehlo": "out.example.com"}]
    named = {"mode": "PerPod", "pods": [*pods, {"ordinal": 1, "bindIPs": ["10.1.2.3"], "ehlo": "in.example.com"}]}
    spec = {"targetRef": {"name": "relay"}, "egress": named}

    hosts = sources(relay=resource(spec)).hosts

    assert [(host.name, str(host.address)) for host in hosts] == [
        ("out.example.com", "192.0.2.9"),
        ("out.example.com", "2001:db8::9"),
    ]
    assert sources(relay=resource({"targetRef": {"name": "relay"}, **per_pod("192.0.2.9")})).hosts == ()


PRIVATE = ["10.1.2.3", "172.31.0.1", "192.168.0.9", "100.64.0.9", "127.0.0.1", "169.254.0.1", "fd00::9", "fe80::9"]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_not_what_other_hosts_see(address: str) -> None:
    known, unknown = found(per_pod("192.0.2.9", address))

    assert known == ["192.0.2.9"]
    assert unknown == f"{address} is a private address, in place of which other hosts see another one"


def test_where_the_kernel_chooses_nothing_is_known() -> None:
    assert found({}) == ([], "the kernel chooses the source address (egress.mode Auto)")
    assert found({"egress": {"mode": "Auto", "ehlo": "mail.example.com"}})[0] == []


def test_in_mode_pod_ip_the_pods_say_their_addresses() -> None:
    pods = [{"name": "relay-0", "address": "192.0.2.9"}, {"name": "relay-1"}]
    spec = {"egress": {"mode": "PodIP"}}

    assert found(spec, {"relays": {"pods": pods}}) == (["192.0.2.9"], "")
    assert found(spec) == ([], "none of its pods has an address yet")


def test_of_a_network_only_one_with_a_single_address_is_known() -> None:
    def network(text: str) -> dict[str, Any]:
        return {"egress": {"mode": "Network", "networks": [text]}}

    assert found(network("192.0.2.9/32")) == (["192.0.2.9"], "")
    assert found(network("192.0.2.0/28")) == ([], "its pods have addresses in 192.0.2.0/28, which are not known")


ROUTES = [
    ({"domains": ["*"]}, True),
    ({"senders": ["example.com"]}, True),
    ({"domains": ["*"], "senders": ["example.com", "other.test"]}, True),
    ({"domains": ["big.test"]}, False),
    ({"domains": ["*"], "senders": ["other.test"]}, False),
]


@pytest.mark.parametrize(("route", "takes_all"), ROUTES)
def test_mail_that_all_leaves_through_a_smart_host_comes_from_its_addresses(
    route: dict[str, Any], takes_all: bool
) -> None:
    spec = per_pod("192.0.2.9") | {"routes": [{"name": "hub", "hosts": [{"host": "hub.test"}], **route}]}

    assert found(spec)[0] == ([] if takes_all else ["192.0.2.9"])
    assert found(spec)[1] == ("mail leaves through the smart host of its route hub" if takes_all else "")


def test_an_outbound_config_that_is_missing_or_wrong_is_named_and_the_others_count() -> None:
    good = resource({"targetRef": {"name": "relay"}, **per_pod("192.0.2.9")})
    wrong = resource({"egress": {"mode": "PerPod"}})

    missing = sources(a=good, b=None)
    invalid = sources(a=good, b=wrong, c=good)

    assert (len(missing.known), missing.unknown) == (1, "OutboundConfig b: it does not exist")
    assert (len(invalid.known), invalid.unknown) == (1, "OutboundConfig b: its spec is not valid")
    assert sources() == SourceAddresses((), "no pod has a source address")


def test_a_resource_is_read_again_once_it_is_another_one() -> None:
    cache, key = SourceAddressCache(), ObjectKey("mail", "relay")

    def known(resource: Resource) -> list[str]:
        return list(map(str, cache.addresses("example.com", {key: resource}).known))

    first = resource({"targetRef": {"name": "relay"}, **per_pod("192.0.2.9")})
    assert known(first) == known(first) == ["192.0.2.9"]
    assert known(None) == []
    assert known(resource({"targetRef": {"name": "relay"}, **per_pod("192.0.2.10")})) == ["192.0.2.10"]

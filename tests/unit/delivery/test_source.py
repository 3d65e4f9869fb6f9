"""Which `[bind]` entry applies, and which address it means."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from mailboat.config.settings import Bind, IPAddress, OutboundSettings, Settings
from mailboat.delivery.source import Source, SourceMissing, Sources
from mailboat.delivery.verdict import PeerTrouble
from mailboat.routing.answers import Target

V4, V6 = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")
TARGET4, TARGET6 = Target("mx", "198.51.100.1", 25), Target("mx", "2001:db8:ffff::1", 25)


def settings(*binds: tuple[str, Bind]) -> Settings:
    """Settings with these entries."""
    return Settings("/nowhere", "me.test", outbound=OutboundSettings(binds=binds))


@pytest.mark.parametrize(
    ("pod", "host", "expected"),
    [
        ("pod", "host", "pod.test"),
        ("other", "host", "host.test"),
        ("", "host", "host.test"),
        ("other", "other", "default.test"),
        ("", "", "default.test"),
    ],
)
def test_the_pods_entry_goes_before_the_hosts_before_default(pod: str, host: str, expected: str) -> None:
    entries = [(name, Bind(V4, ehlo=f"{name}.test")) for name in ("default", "host", "pod")]

    assert Sources(pod, host, tuple).pick(settings(*entries), TARGET4).ehlo == expected


def test_without_an_entry_the_system_chooses_and_the_name_is_this_hosts() -> None:
    assert Sources("pod", "host", tuple).pick(settings(("other", Bind(V4))), TARGET4) == Source("", "me.test")


def test_an_entry_with_only_a_name_leaves_the_address_to_the_system() -> None:
    assert Sources("", "", tuple).pick(settings(("default", Bind(ehlo="a.test"))), TARGET6) == Source("", "a.test")


def test_each_family_has_its_address() -> None:
    sources, both = Sources("", "", tuple), settings(("default", Bind(V4, V6)))

    assert sources.pick(both, TARGET4).address == "192.0.2.1"
    assert sources.pick(both, TARGET6).address == "2001:db8::1"


@pytest.mark.parametrize(("bind", "target"), [(Bind(V4), TARGET6), (Bind(v6=V6), TARGET4)])
def test_a_family_without_address_is_refused(bind: Bind, target: Target) -> None:
    with pytest.raises(PeerTrouble, match="has no IPv"):
        Sources("", "", tuple).pick(settings(("default", bind)), target)


def test_a_network_means_the_lowest_own_address_in_it_and_follows_changes() -> None:
    own: list[tuple[IPAddress, ...]] = [(V6, ipaddress.ip_address("10.0.0.9"), ipaddress.ip_address("10.0.0.5"))]
    sources = Sources("", "", lambda: own[0])
    within = settings(("default", Bind(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))))
    assert sources.pick(within, TARGET4).address == "10.0.0.5"
    assert sources.pick(within, TARGET6).address == "2001:db8::1"

    own[0] = (ipaddress.ip_address("10.7.7.7"),)
    assert sources.pick(within, TARGET4).address == "10.7.7.7"
    with pytest.raises(SourceMissing, match="2001:db8::/32") as missing:
        sources.pick(within, TARGET6)
    assert missing.value.source == "2001:db8::/32"


def test_new_settings_take_effect() -> None:
    sources = Sources("", "", tuple)
    sources.pick(settings(("default", Bind(V4, ehlo="old.test"))), TARGET4)

    assert sources.pick(settings(("default", Bind(V4, ehlo="new.test"))), TARGET4).ehlo == "new.test"


def test_what_the_target_says_goes_first_and_a_socket_has_no_address() -> None:
    sources, both = Sources("", "", tuple), settings(("default", Bind(V4, V6, "out.test")))

    assert sources.pick(both, replace(TARGET4, bind="192.0.2.9", ehlo="x.test")) == Source("192.0.2.9", "x.test")
    assert sources.pick(both, replace(TARGET4, ip="", path="/run/lmtp")) == Source("", "out.test")

"""Which `[bind]` entry applies, and which address it means."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.support import facts

from mailboat.config.settings import Bind, BindKind, IPAddress, OutboundSettings, Settings
from mailboat.delivery.source import BindSource, ChosenSource, SourceMissing, Sources, chosen_source, pod_ips
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
    assert Sources("pod", "host", tuple).pick(settings(("other", Bind(V4))), TARGET4) == BindSource("", "me.test")


def test_an_entry_with_only_a_name_leaves_the_address_to_the_system() -> None:
    assert Sources("", "", tuple).pick(settings(("default", Bind(ehlo="a.test"))), TARGET6) == BindSource("", "a.test")


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

    assert sources.pick(both, replace(TARGET4, bind="192.0.2.9", ehlo="x.test")) == BindSource("192.0.2.9", "x.test")
    assert sources.pick(both, replace(TARGET4, ip="", path="/run/lmtp")) == BindSource("", "out.test")


def test_pod_ip_means_what_the_environment_says() -> None:
    sources = Sources("", "", tuple, [V4, V6])
    pod = settings(("default", Bind(ehlo="a.test", kind=BindKind.POD_IP)))

    assert sources.pick(pod, TARGET4) == BindSource("192.0.2.1", "a.test")
    assert sources.pick(pod, TARGET6) == BindSource("2001:db8::1", "a.test")


def test_a_pod_without_an_address_of_the_family_is_refused() -> None:
    with pytest.raises(PeerTrouble, match="has no IPv6 address"):
        Sources("", "", tuple, [V4]).pick(settings(("default", Bind(kind=BindKind.POD_IP))), TARGET6)


@pytest.mark.parametrize(
    ("kind", "reason"), [(BindKind.POD_IP, "neither POD_IPS nor POD_IP is set"), (BindKind.NONE, "names no source")]
)
def test_without_any_source_deliveries_wait(kind: BindKind, reason: str) -> None:
    sources, entry = Sources("", "", tuple), settings(("default", Bind(kind=kind)))

    with pytest.raises(SourceMissing, match=reason):
        sources.pick(entry, TARGET4)
    assert all(reason in told for told in sources.missing(entry).values())
    assert sources.missing(entry).keys() == {4, 6}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"POD_IPS": "192.0.2.1,2001:db8::1", "POD_IP": "192.0.2.9"}, (V4, V6)),
        ({"POD_IP": "192.0.2.1"}, (V4,)),
        ({"POD_IPS": "", "POD_IP": "192.0.2.1"}, (V4,)),
        ({"POD_IP": "$(POD_IP)"}, ()),
        ({}, ()),
    ],
)
def test_the_pods_addresses_come_from_the_environment(environ: dict[str, str], expected: tuple[IPAddress, ...]) -> None:
    assert pod_ips(environ) == expected


@pytest.mark.parametrize(
    "bind",
    [
        Bind(V4, V6),
        Bind(ipaddress.ip_network("192.0.2.0/24")),
        Bind(v6=ipaddress.ip_network("2001:db8::/64")),
        Bind(kind=BindKind.POD_IP),
        Bind(ehlo="a.test"),
    ],
)
def test_nothing_is_missing_when_the_addresses_are_there(bind: Bind) -> None:
    assert Sources("", "", lambda: [V4, V6], [V4]).missing(settings(("default", bind))) == {}


@pytest.mark.parametrize(
    ("bind", "versions"),
    [
        (Bind(V4, V6), {6}),
        (Bind(v6=ipaddress.ip_network("2001:db8::/64")), {6}),
        (Bind(ipaddress.ip_network("198.51.100.0/24")), {4}),
        (Bind(kind=BindKind.POD_IP), {6}),
    ],
)
def test_a_source_that_is_not_on_this_machine_is_told(bind: Bind, versions: set[int]) -> None:
    missing = Sources("", "", lambda: [V4], [V4, V6]).missing(settings(("default", bind)))

    assert missing.keys() == versions
    assert all("does not have the source address" in reason for reason in missing.values())


def test_nothing_is_missing_where_nothing_is_configured() -> None:
    assert Sources("pod", "", tuple).missing(settings(("other", Bind(V4)))) == {}


@pytest.mark.parametrize(("bind", "target"), [("192.0.2.9", TARGET6), ("2001:db8::9", TARGET4), ("not an ip", TARGET4)])
def test_a_chosen_address_that_cannot_be_used_is_refused_and_no_other_is_taken(bind: str, target: Target) -> None:
    with pytest.raises(PeerTrouble, match=r"other family|no address"):
        Sources("", "", tuple).pick(settings(("default", Bind(V4, V6))), replace(target, bind=bind))


@pytest.mark.parametrize("name", ["a b", "a\r\nRCPT TO:<x@y>", "é.test", "x" * 256])
def test_a_chosen_name_that_would_be_another_command_is_refused(name: str) -> None:
    with pytest.raises(PeerTrouble, match="not a name for EHLO"):
        Sources("", "", tuple).pick(settings(), replace(TARGET4, ehlo=name))


def chosen(notes: Mapping[str, object]) -> ChosenSource | None:
    return chosen_source(facts.entry(of=replace(facts.message(), notes=notes)))


def test_notes_choose_the_address_unless_a_plugin_did_and_the_name_in_any_case() -> None:
    source = chosen({"outbound_ip": "192.0.2.7", "outbound_helo": "noted.test"})
    assert source is not None
    plugins, usual = (
        source.applied_to(replace(TARGET4, bind="192.0.2.9", ehlo="plugin.test")),
        source.applied_to(TARGET4),
    )
    assert (usual.bind, usual.ehlo) == ("192.0.2.7", "noted.test")
    assert (plugins.bind, plugins.ehlo) == ("192.0.2.9", "noted.test")


def test_one_note_leaves_the_other_part_of_the_source_as_it_is() -> None:
    source = chosen({"outbound_helo": "noted.test"})
    assert source is not None
    assert source.applied_to(replace(TARGET4, bind="192.0.2.9")).bind == "192.0.2.9"
    assert chosen({"other": 1}) is None


def test_each_source_makes_a_queue_of_its_own_of_a_destination() -> None:
    notes = [{"outbound_ip": "192.0.2.7"}, {"outbound_ip": "192.0.2.8"}, {"outbound_helo": "192.0.2.7"}]
    sources = [chosen(note) for note in notes]
    assert len({source.qualified("there.test") for source in sources if source is not None} | {"there.test"}) == 4

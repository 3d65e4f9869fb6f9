"""Which route takes a domain, and the hops it leads over."""

from __future__ import annotations

import pytest

from mailboat.config.settings import Protocol, Route, RouteHost, TlsLevel
from mailboat.model.address import NULL_SENDER, Address
from mailboat.routing.answers import Credentials
from mailboat.routing.route import Hop, RouteTable, hops


def table(*routes: tuple[str, tuple[str, ...]]) -> RouteTable:
    return RouteTable(Route(name, domains=domains, hosts=(RouteHost("hub.test"),)) for name, domains in routes)


ROUTES = table(
    ("all", ("*",)),
    ("below", (".example.test",)),
    ("deep", (".deep.example.test",)),
    ("exact", ("www.example.test", "Upper.Test", "[192.0.2.1]")),
)


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("www.example.test", "exact"),
        ("upper.test", "exact"),
        ("a.example.test", "below"),
        ("a.b.example.test", "below"),
        ("a.deep.example.test", "deep"),
        ("deep.example.test", "below"),
        ("example.test", "all"),
        ("notexample.test", "all"),
        ("other.test", "all"),
        ("[192.0.2.1]", "exact"),
        ("[192.0.2.2]", "all"),
    ],
)
def test_an_exact_name_beats_the_longest_suffix_beats_the_star(domain: str, name: str) -> None:
    found = ROUTES.find(domain)
    assert found is not None
    assert found.name == name


def from_(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain, domain.lower())


BY_SENDER = RouteTable(
    Route(name, domains=domains, senders=senders, hosts=(RouteHost("hub.test"),))
    for name, domains, senders in (
        ("all", ("*",), ()),
        ("one", ("*",), ("ann@shop.test",)),
        ("shop", ("*",), ("shop.test", ".eu.shop.test")),
        ("bounces", ("*",), ("<>",)),
        ("partner", ("partner.test",), ()),
        ("shop-to-club", (".club.test",), ("shop.test",)),
    )
)


@pytest.mark.parametrize(
    ("sender", "domain", "name"),
    [
        (from_("ann@shop.test"), "other.test", "one"),
        (from_("Ann@SHOP.test"), "other.test", "one"),
        (from_("bob@shop.test"), "other.test", "shop"),
        (from_("bob@a.eu.shop.test"), "other.test", "shop"),
        (from_("bob@eu.shop.test"), "other.test", "all"),
        (from_("bob@elsewhere.test"), "other.test", "all"),
        (NULL_SENDER, "other.test", "bounces"),
        (from_("ann@shop.test"), "partner.test", "partner"),
        (NULL_SENDER, "partner.test", "partner"),
        (from_("ann@shop.test"), "a.club.test", "shop-to-club"),
        (from_("ann@elsewhere.test"), "a.club.test", "all"),
    ],
)
def test_the_most_specific_domain_decides_and_then_the_most_specific_sender(
    sender: Address, domain: str, name: str
) -> None:
    found = BY_SENDER.find(domain, sender)
    assert found is not None
    assert found.name == name


def test_a_route_for_some_senders_takes_nobody_elses_mail() -> None:
    table = RouteTable([Route("shop", domains=("*",), senders=("shop.test",), hosts=(RouteHost("hub.test"),))])
    assert table.find("other.test", from_("ann@elsewhere.test")) is None
    assert table.find("other.test", NULL_SENDER) is None


def test_without_a_star_other_domains_go_by_mx() -> None:
    assert table(("below", (".example.test",))).find("other.test") is None
    assert RouteTable(()).find("other.test") is None


@pytest.mark.parametrize(
    ("protocol", "tls", "port"),
    [
        (Protocol.SMTP, TlsLevel.OPPORTUNISTIC, 2525),
        (Protocol.SMTP, TlsLevel.IMPLICIT, 465),
        (Protocol.LMTP, TlsLevel.OPPORTUNISTIC, 24),
        (Protocol.LMTP, TlsLevel.IMPLICIT, 24),
    ],
)
def test_the_port_is_the_protocols_own_unless_named(protocol: Protocol, tls: TlsLevel, port: int) -> None:
    hosts = (RouteHost("hub.test"), RouteHost("hub.test", 26), RouteHost("/run/lmtp.sock"))
    found = hops(Route("r", hosts=hosts, protocol=protocol, tls=tls), mx_port=2525)
    assert [hop.port for hop in found] == [port, 26, 0]
    assert [hop.path for hop in found] == ["", "", "/run/lmtp.sock"]


def test_a_hop_carries_what_the_route_says() -> None:
    route = Route("r", hosts=(RouteHost("hub.test", 26, 7),), protocol=Protocol.LMTP, tls=TlsLevel.REQUIRED)
    hop = Hop("hub.test", 26, protocol=Protocol.LMTP, priority=7, tls=TlsLevel.REQUIRED, route=route)
    assert hops(route, 25) == (hop,)


def test_credentials_belong_to_a_route_with_a_user() -> None:
    route = Route("r", hosts=(RouteHost("h"),), auth_user="u", auth_pass="p", auth_type="PLAIN", require_auth=True)
    assert hops(route, 25)[0].credentials == Credentials("u", "p", "PLAIN", required=True)
    assert hops(Route("r", hosts=(RouteHost("h"),)), 25)[0].credentials is None


def test_credentials_of_a_user_that_was_read_from_a_file_are_the_same() -> None:
    route = Route("r", hosts=(RouteHost("h"),), auth_user_file="/user", auth_user_read="u", auth_pass="p")
    assert hops(route, 25)[0].credentials == Credentials("u", "p")

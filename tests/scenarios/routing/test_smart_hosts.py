"""Routes over smart hosts, over a real DNS server."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.dns_server import Behaviour
from tests.support.routing import bench, ips, refusal

from mailboat.config.settings import InetPrefer, OAuthGrant, Protocol, Route, RouteHost, TlsLevel
from mailboat.model.address import Address
from mailboat.model.tls import MessageTls, PolicySource
from mailboat.routing.answers import Credentials, Targets, TlsRequirement
from mailboat.routing.route import Hop


def hub(*hosts: RouteHost, domains: tuple[str, ...] = ("*",), **more: Any) -> tuple[Route, ...]:
    """One route."""
    return (Route("hub", domains=domains, hosts=hosts, **more),)


async def test_all_mail_goes_to_the_hub_without_asking_for_mx() -> None:
    async with bench(routes=hub(RouteHost("hub.test", 2525))) as at:
        at.dns.zone.mx("hub.test", (10, "elsewhere.test"))
        at.dns.zone.a("hub.test", "192.0.2.1")
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        assert [(t.host, t.ip, t.port, t.protocol) for t in answer.targets] == [
            ("hub.test", "192.0.2.1", 2525, Protocol.SMTP)
        ]
        assert {query.type for query in at.dns.queries} == {"A", "AAAA"}
        assert at.router.destination("d.test") == "route:hub"


async def test_other_domains_go_by_mx() -> None:
    async with bench(routes=hub(RouteHost("192.0.2.9"), domains=(".inside.test",))) as at:
        at.dns.zone.a("d.test", "192.0.2.1")
        assert await at.ips("a.inside.test") == ["192.0.2.9"]
        assert await at.ips("d.test") == ["192.0.2.1"]
        assert at.router.destination("a.inside.test") == "route:hub"
        assert at.router.destination("d.test") == "d.test"


async def test_priority_is_kept_and_equals_take_turns() -> None:
    hosts = (RouteHost("192.0.2.3", priority=9), RouteHost("192.0.2.1", priority=1), RouteHost("192.0.2.2", priority=1))
    async with bench(routes=hub(*hosts)) as at:
        seen = {tuple(await at.ips("d.test")) for _ in range(40)}
        assert seen == {("192.0.2.1", "192.0.2.2", "192.0.2.3"), ("192.0.2.2", "192.0.2.1", "192.0.2.3")}


async def test_a_host_that_does_not_resolve_leaves_the_others() -> None:
    async with bench(routes=hub(RouteHost("gone.test"), RouteHost("192.0.2.9", priority=5))) as at:
        assert await at.ips("d.test") == ["192.0.2.9"]


async def test_without_any_address_mail_waits_and_never_bounces() -> None:
    async with bench(routes=hub(RouteHost("gone.test"))) as at:
        answer = await at.router.route("d.test")
        assert refusal(answer) == (False, "4.4.3")
        assert "route hub" in str(answer)
        assert "gone.test" in str(answer)
        at.dns.zone.behave("gone.test", Behaviour.SERVFAIL)
        at.clock.advance(120)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")


async def test_a_hub_on_this_machine_is_the_operators_wish() -> None:
    own = (ipaddress.ip_address("192.0.2.9"),)
    hosts = (RouteHost("127.0.0.1", 2526), RouteHost("192.0.2.9", priority=1), RouteHost("near.test", priority=2))
    async with bench(own, routes=hub(*hosts)) as at:
        at.dns.zone.a("near.test", "127.0.0.2")
        assert await at.ips("d.test") == ["127.0.0.1", "192.0.2.9", "127.0.0.2"]


async def test_localhost_is_loopback_by_itself() -> None:
    async with bench(routes=hub(RouteHost("localhost", 2526))) as at:
        assert await at.ips("d.test") == ["::1", "127.0.0.1"]
        assert at.dns.queries == []


RESOLV_CONF = "search mail.svc.cluster.test svc.cluster.test cluster.test\noptions ndots:5\n"
HOSTS = "127.0.0.1   localhost\n192.0.2.25  smarthost.intranet.test relay # of the pod's hostAliases\n"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The two files as a pod has them."""
    (tmp_path / "resolv.conf").write_text(RESOLV_CONF)
    (tmp_path / "hosts").write_text(HOSTS)
    return tmp_path


@pytest.mark.parametrize(
    ("host", "ip"),
    [
        ("mailpit.mail.svc.cluster.test", "192.0.2.24"),
        ("mailpit.mail.svc", "192.0.2.24"),
        ("mailpit.mail", "192.0.2.24"),
        ("mailpit", "192.0.2.24"),
        ("Mailpit", "192.0.2.24"),
        ("smarthost.intranet.test", "192.0.2.25"),
        ("relay", "192.0.2.25"),
    ],
)
async def test_a_routes_host_is_found_as_every_other_program_finds_it(etc: Path, host: str, ip: str) -> None:
    """By /etc/hosts, else the search list of /etc/resolv.conf."""
    async with bench(etc=etc, routes=hub(RouteHost(host, 25))) as at:
        at.dns.zone.a("mailpit.mail.svc.cluster.test", "192.0.2.24")
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        assert [(t.host, t.ip) for t in answer.targets] == [(host, ip)]


async def test_a_name_out_of_mx_records_is_never_completed_or_looked_up_in_hosts(etc: Path) -> None:
    async with bench(etc=etc) as at:
        at.dns.zone.mx("d.test", (10, "mailpit"), (20, "relay"))
        at.dns.zone.a("mailpit.mail.svc.cluster.test", "192.0.2.24")
        assert refusal(await at.router.route("d.test")) == (True, "5.4.4")


async def test_a_plugins_host_is_completed_where_the_plugin_says_so_only(etc: Path) -> None:
    async with bench(etc=etc) as at:
        at.dns.zone.a("mailpit.mail.svc.cluster.test", "192.0.2.24")
        assert ips(await at.router.via("d.test", (Hop("mailpit", 25, by_system=True),))) == ["192.0.2.24"]
        assert refusal(await at.router.via("d.test", (Hop("mailpit", 25, by_system=False),))) == (False, "4.4.3")


async def test_a_final_dot_keeps_a_routes_host_from_the_search_list(etc: Path) -> None:
    async with bench(etc=etc, routes=hub(RouteHost("mailpit.mail.", 25))) as at:
        at.dns.zone.a("mailpit.mail", "192.0.2.1")
        at.dns.zone.a("mailpit.mail.svc.cluster.test", "192.0.2.24")
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        assert [(t.host, t.ip) for t in answer.targets] == [("mailpit.mail", "192.0.2.1")]


async def test_a_name_with_dots_enough_is_first_asked_for_as_it_stands(etc: Path) -> None:
    (etc / "resolv.conf").write_text("search a.test b.test\n")
    async with bench(etc=etc, routes=hub(RouteHost("hub.x", 25))) as at:
        at.dns.zone.a("hub.x.b.test", "192.0.2.2")
        assert await at.ips("d.test") == ["192.0.2.2"]
        assert [query.name for query in at.dns.queries if query.type == "A"] == [
            "hub.x",
            "hub.x.a.test",
            "hub.x.b.test",
        ]


async def test_where_one_completed_name_cannot_be_looked_up_mail_waits_instead_of_going_to_the_next(etc: Path) -> None:
    async with bench(etc=etc, routes=hub(RouteHost("hub", 25))) as at:
        at.dns.zone.behave("hub.mail.svc.cluster.test", Behaviour.SERVFAIL)
        at.dns.zone.a("hub.svc.cluster.test", "192.0.2.66")
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")


async def test_a_line_that_is_added_to_hosts_is_followed(etc: Path) -> None:
    async with bench(etc=etc, routes=hub(RouteHost("late", 25))) as at:
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")
        (etc / "hosts").write_text(HOSTS + "192.0.2.77 late\n2001:db8::77 late\n")
        at.clock.advance(60)
        assert await at.ips("d.test") == ["2001:db8::77", "192.0.2.77"]


@pytest.mark.parametrize(
    ("own", "of_main", "used"),
    [
        (None, InetPrefer.V4_ONLY, ["192.0.2.1"]),
        (InetPrefer.V6_ONLY, InetPrefer.V4_ONLY, ["2001:db8::1"]),
        (InetPrefer.V4, InetPrefer.BOTH, ["192.0.2.1", "2001:db8::1"]),
    ],
)
async def test_a_route_has_its_own_address_families_or_those_of_main(
    own: InetPrefer | None, of_main: InetPrefer, used: list[str]
) -> None:
    async with bench(inet_prefer=of_main, routes=hub(RouteHost("hub.test"), inet_prefer=own)) as at:
        at.dns.zone.a("hub.test", "192.0.2.1")
        at.dns.zone.aaaa("hub.test", "2001:db8::1")
        assert await at.ips("d.test") == used


async def test_mail_goes_by_its_sender_and_its_limits_are_those_of_that_route() -> None:
    ann, bob = Address("ann", "shop.test", "shop.test"), Address("bob", "b.test", "b.test")
    routes = (
        Route("shop", domains=("*",), senders=("shop.test",), hosts=(RouteHost("192.0.2.1"),)),
        Route("rest", domains=("*",), hosts=(RouteHost("192.0.2.2"),)),
    )
    async with bench(routes=routes) as at:
        for _ in range(2):  # the second time from memory
            assert await at.ips("d.test", ann) == ["192.0.2.1"]
            assert await at.ips("d.test", bob) == ["192.0.2.2"]
            assert await at.ips("d.test") == ["192.0.2.2"]  # a bounce, from the null sender
        assert at.router.destination("d.test", ann) == "route:shop"
        assert at.router.destination("d.test", bob) == "route:rest"


async def test_lmtp_over_a_unix_socket_with_credentials() -> None:
    route = hub(RouteHost("/run/lmtp.sock"), protocol=Protocol.LMTP, auth_user="u", auth_pass="p")
    async with bench(routes=route) as at:
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        (target,) = answer.targets
        assert (target.path, target.ip, target.port, target.protocol) == ("/run/lmtp.sock", "", 0, Protocol.LMTP)
        assert target.credentials == Credentials("u", "p")
        assert "'p'" not in repr(target)


async def test_the_tls_of_the_route_reaches_the_target() -> None:
    async with bench(routes=hub(RouteHost("192.0.2.1"), tls=TlsLevel.IMPLICIT)) as at:
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        (target,) = answer.targets
        assert target.port == 465
        assert target.tls == TlsRequirement(
            TlsLevel.IMPLICIT, verify=True, reason="route hub", policy=PolicySource.ROUTE
        )


async def test_a_route_takes_address_literals_too() -> None:
    async with bench(routes=hub(RouteHost("192.0.2.1"))) as at:
        assert await at.ips("[198.51.100.1]") == ["192.0.2.1"]


async def test_hops_of_a_plugin_keep_their_order_and_are_looked_up() -> None:
    async with bench() as at:
        at.dns.zone.a("b.test", "192.0.2.2")
        hops = [Hop("b.test", 26, priority=9), Hop("192.0.2.1", 25, bind="198.51.100.7", ehlo="out.test")]
        answer = await at.router.via("d.test", hops, asked=MessageTls(forced=True))
        assert ips(answer) == ["192.0.2.2", "192.0.2.1"]
        assert isinstance(answer, Targets)
        assert answer.targets[1].bind == "198.51.100.7"
        assert answer.targets[1].ehlo == "out.test"
        assert {target.tls.level for target in answer.targets} == {TlsLevel.REQUIRED}


async def test_mail_that_asks_for_tls_is_refused_a_unix_socket_and_other_mail_is_not() -> None:
    async with bench(routes=hub(RouteHost("/run/lmtp"))) as at:
        for force_tls in (False, True):
            answer = await at.router.route("d.test", asked=MessageTls(forced=force_tls))
            assert isinstance(answer, Targets)
            assert ["unix socket" in target.tls.refusal for target in answer.targets] == [force_tls]


async def test_a_name_that_a_plugin_gave_and_that_leads_back_is_skipped_when_it_says_so() -> None:
    async with bench() as at:
        at.dns.zone.a("b.test", "127.0.0.1")
        assert ips(await at.router.via("d.test", [Hop("b.test", 25)])) == ["127.0.0.1"]
        for host in ("b.test", "127.0.0.1"):
            answer = await at.router.via("d.test", [Hop(host, 25, local_ok=False)])
            assert refusal(answer) == (False, "4.4.3")
            assert "127.0.0.1" in str(answer)


async def test_a_plugin_that_gives_no_hop_defers() -> None:
    async with bench() as at:
        assert refusal(await at.router.via("d.test", [])) == (False, "4.4.3")


async def test_a_next_hop_of_a_plugin_with_credentials_must_have_verified_tls() -> None:
    async with bench() as at:
        hop = Hop("192.0.2.1", 587, credentials=Credentials("u", "p"), ca="roots")
        for sent, expected in ((hop, TlsLevel.REQUIRED), (replace(hop, auth_without_tls=True), TlsLevel.OPPORTUNISTIC)):
            answer = await at.router.via("d.test", [sent])
            assert isinstance(answer, Targets)
            assert (answer.targets[0].tls.level, answer.targets[0].tls.ca) == (expected, "roots")


async def test_a_route_with_credentials_must_have_verified_tls() -> None:
    route = hub(RouteHost("192.0.2.1"), auth_user="u", auth_pass="p", ca_pem="roots")
    async with bench(routes=route) as at:
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        tls = answer.targets[0].tls
        assert (tls.level, tls.verify, tls.ca) == (TlsLevel.REQUIRED, True, "roots")


async def test_a_route_with_access_tokens_must_have_auth_and_verified_tls() -> None:
    oauth: dict[str, Any] = {"oauth_token_url": "https://t.test/", "oauth_client_id": "c", "oauth_client_secret": "s"}
    route = hub(RouteHost("192.0.2.1"), auth_user="u", auth_type="OAUTHBEARER", **oauth)
    async with bench(routes=route) as at:
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        target = answer.targets[0]
        assert (target.tls.level, target.tls.verify) == (TlsLevel.REQUIRED, True)
        grant = OAuthGrant("https://t.test/", "c", "s")
        assert target.credentials == Credentials("u", "", "OAUTHBEARER", required=True, grant=grant)


async def test_a_target_has_what_its_route_says_of_connections() -> None:
    route = hub(RouteHost("192.0.2.1"), connection_max_messages=10)
    async with bench(routes=route) as at:
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        assert [target.max_messages for target in answer.targets] == [10]

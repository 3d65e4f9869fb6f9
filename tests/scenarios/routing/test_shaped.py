"""What shaping.ini says of targets, over a real DNS server."""

from __future__ import annotations

import pytest
from tests.support.routing import Bench, bench, refusal

from mailboat.config.settings import InetPrefer, OutboundSettings, Route, RouteHost, TlsLevel
from mailboat.routing.answers import Site, Target, Targets
from mailboat.shaping.limits import WindowRange

PROVIDER = "[provider:p]\nmx[]=.p.test\nsample_mx[]=mx.p.test\n"


def both_families(at: Bench, domain: str, *hosts: str) -> None:
    """A domain whose MX hosts have an address of each family."""
    at.dns.zone.mx(domain, *enumerate(hosts))
    for host in hosts:
        at.dns.zone.a(host, "192.0.2.1")
        at.dns.zone.aaaa(host, "2001:db8::1")


async def target(at: Bench, domain: str) -> Target:
    """The first target of mail to a domain."""
    answer = await at.router.route(domain)
    assert isinstance(answer, Targets), answer
    return answer.targets[0]


async def test_a_provider_is_known_by_all_its_mx_hosts() -> None:
    text = f"{PROVIDER}inet=v4-only\nmessages_per_connection=7\nrecipients_per_message=3\nconnection_idle_timeout=0\n"
    async with bench(shaping=text) as at:
        both_families(at, "d.test", "a.p.test", "b.p.test")
        both_families(at, "mixed.test", "c.p.test", "c.q.test")
        assert set(await at.ips("d.test")) == {"192.0.2.1"}
        found = await target(at, "d.test")
        assert (found.max_messages, found.max_recipients, found.idle_timeout) == (7, 3, 0)
        assert "2001:db8::1" in await at.ips("mixed.test")
        assert (await target(at, "mixed.test")).max_messages is None


async def test_times_and_the_window_are_those_of_the_section() -> None:
    text = f"{PROVIDER}helo_timeout=7\nattempt_timeout=2m\nwindow=3-9\n"
    async with bench(shaping=text) as at:
        both_families(at, "d.test", "a.p.test")
        both_families(at, "e.test", "a.e.test")
        timed = (await target(at, "d.test")).timed(OutboundSettings())
        assert timed == OutboundSettings(helo_timeout=7, attempt_timeout=120)
        usual = OutboundSettings()
        assert (await target(at, "e.test")).timed(usual) is usual
        windows = [(await at.router.locate(domain)).where for domain in ("d.test", "e.test")]
        assert [at.window for at in windows if isinstance(at, Site)] == [WindowRange(3, 9), None]


async def test_domains_with_the_same_hosts_have_the_same_window() -> None:
    """They share the destination, whose window would begin anew each time that the other domain has its turn."""
    text = "[provider:q]\ndomain[]=d.test\nwindow=9\n[site:a.p.test]\ninet=v4\n"
    async with bench(shaping=text) as at:
        both_families(at, "d.test", "a.p.test")
        both_families(at, "e.test", "a.p.test")
        windows = [(await at.router.locate(domain)).where for domain in ("d.test", "e.test")]
        assert [at.window for at in windows if isinstance(at, Site)] == [None, None]


async def test_a_domain_says_more_than_its_provider() -> None:
    text = f"{PROVIDER}inet=v4-only\n[domain:d.test]\ninet=v6\n"
    async with bench(inet_prefer=InetPrefer.V4, shaping=text) as at:
        both_families(at, "d.test", "a.p.test")
        both_families(at, "e.test", "b.p.test")
        assert await at.ips("d.test") == ["2001:db8::1", "192.0.2.1"]
        assert await at.ips("e.test") == ["192.0.2.1"]


async def test_a_domain_without_an_address_of_its_only_family_bounces() -> None:
    async with bench(shaping="[domain:d.test]\ninet=v4-only\n") as at:
        at.dns.zone.mx("d.test", (1, "mx.d.test"))
        at.dns.zone.aaaa("mx.d.test", "2001:db8::1")
        assert refusal(await at.router.route("d.test"))[0]


async def test_tls_is_demanded_and_the_reason_names_the_section() -> None:
    async with bench(shaping=f"{PROVIDER}tls=required\n", enable_tls=False) as at:
        both_families(at, "d.test", "a.p.test")
        both_families(at, "e.test", "a.e.test")
        found = (await target(at, "d.test")).tls
        assert (found.level, found.verify, found.reason) == (TlsLevel.REQUIRED, True, "shaping.ini [provider:p]")
        assert (await target(at, "e.test")).tls.level is TlsLevel.DISABLED


@pytest.mark.parametrize(
    ("text", "messages", "level"),
    [
        ("", 5, TlsLevel.DISABLED),
        ("[default]\nmessages_per_connection=7\ntls=required\n", 5, TlsLevel.DISABLED),
        ("[route:hub]\nmessages_per_connection=7\ntls=required\n", 7, TlsLevel.REQUIRED),
    ],
)
async def test_a_route_is_changed_by_its_own_section_only(text: str, messages: int, level: TlsLevel) -> None:
    host = RouteHost("192.0.2.1")
    route = Route("hub", ("*",), hosts=(host,), tls=TlsLevel.DISABLED, connection_max_messages=5)
    async with bench(shaping=text, routes=(route,)) as at:
        found = await target(at, "d.test")
        assert (found.max_messages, found.tls.level) == (messages, level)


async def test_where_a_route_says_nothing_default_holds() -> None:
    route = Route("hub", ("*",), hosts=(RouteHost("192.0.2.1"),))
    async with bench(shaping="[default]\nmessages_per_connection=7\ntls=required\n", routes=(route,)) as at:
        found = await target(at, "d.test")
        assert (found.max_messages, found.tls.level) == (7, TlsLevel.REQUIRED)

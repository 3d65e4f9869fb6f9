"""What is known is not asked again, until it expires or the configuration changes."""

from __future__ import annotations

import asyncio

from tests.support.dns_server import Behaviour, DnsServer
from tests.support.routing import Bench, bench, ips, refusal

from mailboat.config.settings import Route, RouteHost
from mailboat.model.observer import DnsResult


def one_host(at: Bench) -> None:
    at.dns.zone.mx("d.test", (10, "mx.d.test"))
    at.dns.zone.a("mx.d.test", "192.0.2.1")


async def test_a_busy_domain_costs_three_queries() -> None:
    async with bench() as at:
        one_host(at)
        await asyncio.gather(*(at.ips("d.test") for _ in range(50)))
        first = await at.router.route("d.test")
        assert await at.router.route("d.test") is first
        assert len(at.dns.queries) == 3
        assert at.tally.results[-1] is DnsResult.CACHED


async def test_a_changed_record_is_seen_when_the_old_one_expires() -> None:
    async with bench() as at:
        at.dns.zone.ttl = 30
        one_host(at)
        assert await at.ips("d.test") == ["192.0.2.1"]
        at.dns.zone.forget("mx.d.test")
        at.dns.zone.a("mx.d.test", "192.0.2.2")
        at.clock.advance(29)
        assert await at.ips("d.test") == ["192.0.2.1"]
        at.clock.advance(1)
        assert await at.ips("d.test") == ["192.0.2.2"]


async def test_that_a_name_does_not_exist_is_remembered_too() -> None:
    async with bench() as at:
        for _ in range(3):
            assert refusal(await at.router.route("d.test")) == (True, "5.1.2")
        assert [query.type for query in at.dns.queries] == ["MX", "AAAA", "A"]
        one_host(at)
        at.clock.advance(at.dns.zone.negative_ttl)
        assert await at.ips("d.test") == ["192.0.2.1"]


async def test_a_host_whose_look_up_failed_is_asked_again_after_a_minute() -> None:
    async with bench() as at:
        one_host(at)
        at.dns.zone.behave("mx.d.test", Behaviour.SERVFAIL, "AAAA")
        at.dns.zone.aaaa("mx.d.test", "2001:db8::1")
        assert await at.ips("d.test") == ["192.0.2.1"]
        at.clock.advance(10)
        assert await at.ips("d.test") == ["192.0.2.1"]
        assert at.dns.asked_for("mx.d.test", "AAAA") == 1
        at.dns.zone.behaviours.clear()
        at.clock.advance(50)
        assert await at.ips("d.test") == ["2001:db8::1", "192.0.2.1"]


async def test_other_servers_are_asked_from_the_next_message_on() -> None:
    async with bench() as at, DnsServer.start() as other:
        one_host(at)
        assert await at.ips("d.test") == ["192.0.2.1"]
        other.zone.a("d.test", "192.0.2.77")
        at.configure(dns_servers=(other.endpoint,))
        assert await at.ips("d.test") == ["192.0.2.77"]


async def test_a_reload_forgets_ways_and_keeps_dns_answers() -> None:
    async with bench() as at:
        one_host(at)
        await at.ips("d.test")
        at.configure(routes=(Route("hub", domains=("*",), hosts=(RouteHost("192.0.2.50"),)),))
        assert await at.ips("d.test") == ["192.0.2.50"]
        at.configure()
        assert await at.ips("d.test") == ["192.0.2.1"]
        assert len(at.dns.queries) == 3


async def test_a_look_that_began_before_a_reload_does_not_outlive_it() -> None:
    async with bench() as at:
        one_host(at)
        at.dns.zone.behave("d.test", Behaviour.HELD)
        before = asyncio.create_task(at.router.route("d.test"))
        await at.dns.wait_for_query("d.test")
        at.configure(mx_port=2525)
        at.dns.release()
        assert ips(await before) == ["192.0.2.1"]
        answer = await at.router.route("d.test")
        assert {target.port for target in answer.targets} == {2525}  # type: ignore[union-attr]


async def test_a_second_server_answers_where_the_first_is_gone() -> None:
    async with bench() as at:
        one_host(at)
        async with DnsServer.start() as other:
            gone = other.endpoint
        at.configure(dns_servers=(gone, at.dns.endpoint))
        assert await at.ips("d.test") == ["192.0.2.1"]

"""Routes by MX, over a real DNS server."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.routing import HASTE, Bench, bench, ips, refusal

from mailboat.config.settings import InetPrefer, TlsLevel
from mailboat.model.observer import DnsResult
from mailboat.model.tls import MessageTls
from mailboat.routing.answers import Targets


def two_hosts(at: Bench) -> None:
    """`d.test`: mx1 (10) with both families, mx2 (20) with IPv4."""
    zone = at.dns.zone
    zone.mx("d.test", (20, "mx2.d.test"), (10, "mx1.d.test"))
    zone.a("mx1.d.test", "192.0.2.1")
    zone.aaaa("mx1.d.test", "2001:db8::1")
    zone.a("mx2.d.test", "192.0.2.2")


async def test_targets_come_by_preference_and_carry_the_mx_name() -> None:
    async with bench() as at:
        two_hosts(at)
        answer = await at.router.route("d.test")
        assert isinstance(answer, Targets)
        assert [(t.host, t.ip, t.port, t.priority) for t in answer.targets] == [
            ("mx1.d.test", "2001:db8::1", 25, 10),
            ("mx1.d.test", "192.0.2.1", 25, 10),
            ("mx2.d.test", "192.0.2.2", 25, 20),
        ]


async def test_the_preferred_family_never_crosses_preference() -> None:
    async with bench(inet_prefer=InetPrefer.V4) as at:
        two_hosts(at)
        at.dns.zone.aaaa("mx2.d.test", "2001:db8::2")
        assert await at.ips("d.test") == ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]


async def test_equal_hosts_take_turns_without_asking_again() -> None:
    async with bench() as at:
        at.dns.zone.mx("d.test", *((10, f"mx{n}.d.test") for n in range(3)))
        for n in range(3):
            at.dns.zone.a(f"mx{n}.d.test", f"192.0.2.{n}")
        firsts = {(await at.ips("d.test"))[0] for _ in range(60)}
        assert len(firsts) == 3
        assert at.dns.asked_for("d.test") == 1


async def test_a_domain_without_mx_is_its_own() -> None:
    async with bench() as at:
        at.dns.zone.a("d.test", "192.0.2.1")
        at.dns.zone.aaaa("d.test", "2001:db8::1")
        answer = await at.router.route("d.test")
        assert ips(answer) == ["2001:db8::1", "192.0.2.1"]
        assert isinstance(answer, Targets)
        assert answer.targets[0].host == "d.test"


async def test_a_hundred_mx_come_by_tcp_and_are_bounded() -> None:
    async with bench() as at:
        at.dns.zone.mx("d.test", *((n, f"a-rather-long-name-of-mx{n}.d.test") for n in range(100)))
        for n in range(100):
            at.dns.zone.a(f"a-rather-long-name-of-mx{n}.d.test", f"192.0.2.{n}")
        assert await at.ips("d.test") == [f"192.0.2.{n}" for n in range(12)]
        assert [query.transport for query in at.dns.queries[:2]] == ["udp", "tcp"]
        assert len(at.dns.queries) == 2 + 12 * 2


@pytest.mark.parametrize("mx", [[(0, "")], [(10, "")]])
async def test_a_null_mx_bounces(mx: list[tuple[int, str]]) -> None:
    async with bench() as at:
        at.dns.zone.mx("d.test", *mx)
        at.dns.zone.a("d.test", "192.0.2.1")
        assert refusal(await at.router.route("d.test")) == (True, "5.1.10")


async def test_a_domain_that_does_not_exist_bounces() -> None:
    async with bench() as at:
        assert refusal(await at.router.route("d.test")) == (True, "5.1.2")


@pytest.mark.parametrize("domain", ["a..test", f"{'x' * 64}.test", f"{'x.' * 200}test"])
async def test_a_domain_that_cannot_exist_bounces_without_a_query(domain: str) -> None:
    async with bench() as at:
        assert refusal(await at.router.route(domain)) == (True, "5.1.2")
        assert at.dns.queries == []


async def test_a_domain_whose_server_denies_it_for_mx_alone_is_delivered_to_by_its_address() -> None:
    """Name servers of container networks say NXDOMAIN for a type that they do not hold."""
    async with bench() as at:
        at.dns.zone.behave("app.test", Behaviour.NXDOMAIN, "MX")
        at.dns.zone.a("app.test", "192.0.2.30")
        assert await at.ips("app.test") == ["192.0.2.30"]


async def test_a_domain_that_is_denied_for_mx_waits_while_nobody_can_say_its_address() -> None:
    async with bench() as at:
        at.dns.zone.behave("app.test", Behaviour.NXDOMAIN, "MX")
        at.dns.zone.behave("app.test", Behaviour.SERVFAIL, "A")
        assert refusal(await at.router.route("app.test")) == (False, "4.4.3")


@pytest.mark.parametrize(("prefer", "ip"), [(InetPrefer.V4_ONLY, "192.0.2.1"), (InetPrefer.V6_ONLY, "2001:db8::1")])
async def test_only_the_family_that_is_asked_for_is_used_or_looked_up(prefer: InetPrefer, ip: str) -> None:
    async with bench(inet_prefer=prefer) as at:
        at.dns.zone.a("d.test", "192.0.2.1")
        at.dns.zone.aaaa("d.test", "2001:db8::1")
        assert await at.ips("d.test") == [ip]
        assert [query.type for query in at.dns.queries] == ["MX", "A" if ":" not in ip else "AAAA"]


@pytest.mark.parametrize("domain", ["d.test", "mx-only.test", "[IPv6:2001:db8::1]"])
async def test_a_domain_without_an_address_of_the_only_family_bounces_and_the_reason_names_the_setting(
    domain: str,
) -> None:
    async with bench(inet_prefer=InetPrefer.V4_ONLY) as at:
        at.dns.zone.aaaa("d.test", "2001:db8::1")
        at.dns.zone.mx("mx-only.test", (10, "d.test"))
        answer = await at.router.route(domain)
        assert refusal(answer)[0]
        assert "IPv4 address (inet_prefer=v4-only)" in str(answer)


async def test_a_domain_with_neither_mx_nor_address_bounces() -> None:
    async with bench() as at:
        at.dns.zone.add("d.test", "TXT", '"only words"')
        assert refusal(await at.router.route("d.test")) == (True, "5.1.2")


async def test_an_mx_without_address_bounces() -> None:
    async with bench() as at:
        at.dns.zone.mx("d.test", (10, "gone.d.test"))
        assert refusal(await at.router.route("d.test")) == (True, "5.4.4")


@pytest.mark.parametrize("behaviour", [Behaviour.SERVFAIL, Behaviour.REFUSED, Behaviour.REFERRAL, Behaviour.MALFORMED])
@pytest.mark.parametrize("rdtype", ["MX", "A", "AAAA"])
async def test_a_server_that_cannot_say_defers_whatever_it_was_asked(behaviour: Behaviour, rdtype: str) -> None:
    """The domain has no MX; where its address is not known for certain, nothing is (Haraka bounces here)."""
    async with bench() as at:
        at.dns.zone.add("d.test", "TXT", '"only words"')
        at.dns.zone.behave("d.test", behaviour, rdtype)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")


@pytest.mark.parametrize("behaviour", [Behaviour.SILENCE, Behaviour.GARBAGE])
async def test_a_server_that_is_silent_or_babbles_defers(behaviour: Behaviour) -> None:
    async with bench(patience=HASTE) as at:
        at.dns.zone.behave("d.test", behaviour)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")
        assert at.dns.asked_for("d.test") == 2
        assert at.tally.results == [DnsResult.TIMEOUT, DnsResult.TIMEOUT]


async def test_a_server_that_is_not_there_defers_at_once() -> None:
    async with bench() as before:
        gone = before.dns.endpoint
    async with bench(dns_servers=(gone,)) as at:
        answer = await at.router.route("d.test")
        assert refusal(answer) == (False, "4.4.3")
        assert "refused" in str(answer)


async def test_a_server_may_be_reached_by_ipv6() -> None:
    async with DnsServer.start(host="::1") as dns, bench(dns_servers=(dns.endpoint,)) as at:
        dns.zone.a("d.test", *(f"192.0.2.{n}" for n in range(200)))
        assert len(await at.ips("d.test")) == 5
        assert {query.transport for query in dns.queries if query.type == "A"} == {"udp", "tcp"}


async def test_one_host_whose_look_up_fails_leaves_the_other() -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("mx1.d.test", Behaviour.SERVFAIL)
        assert await at.ips("d.test") == ["192.0.2.2"]


async def test_one_family_whose_look_up_fails_leaves_the_other() -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("mx1.d.test", Behaviour.SERVFAIL, "AAAA")
        assert await at.ips("d.test") == ["192.0.2.1", "192.0.2.2"]


async def test_all_hosts_without_address_defer_when_one_only_failed() -> None:
    async with bench() as at:
        at.dns.zone.mx("d.test", (10, "gone.d.test"), (20, "mute.d.test"))
        at.dns.zone.behave("mute.d.test", Behaviour.SERVFAIL)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")


async def test_a_failure_is_looked_into_again_soon() -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("d.test", Behaviour.SERVFAIL)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")
        at.dns.zone.behaviours.clear()
        at.clock.advance(5)
        assert (await at.ips("d.test"))[0] == "2001:db8::1"


async def test_aliases_are_followed() -> None:
    async with bench() as at:
        zone = at.dns.zone
        zone.cname("d.test", "e.test")
        zone.mx("e.test", (10, "mx.e.test"))
        zone.cname("mx.e.test", "host.e.test")
        zone.a("host.e.test", "192.0.2.1")
        assert await at.ips("d.test") == ["192.0.2.1"]


async def test_an_alias_whose_server_tells_no_more_is_asked_on() -> None:
    async with bench() as at:
        at.dns.zone.cname("d.test", "gone.test")
        assert refusal(await at.router.route("d.test")) == (True, "5.1.2")
        assert at.dns.asked_for("gone.test", "MX") == 1


async def test_aliases_that_go_round_defer() -> None:
    async with bench() as at:
        at.dns.zone.cname("a.test", "b.test")
        at.dns.zone.cname("b.test", "a.test")
        assert refusal(await at.router.route("a.test")) == (False, "4.4.3")


async def test_forged_answers_are_passed_over() -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("d.test", Behaviour.FORGED_FIRST)
        assert (await at.ips("d.test"))[0] == "2001:db8::1"


async def test_a_server_older_than_edns_is_asked_without() -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("d.test", Behaviour.FORMERR_FOR_EDNS)
        assert (await at.ips("d.test"))[0] == "2001:db8::1"
        assert [query.edns for query in at.dns.queries[:2]] == [True, False]


async def test_an_answer_that_was_cut_short_is_fetched_by_tcp() -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("d.test", Behaviour.TRUNCATED)
        assert (await at.ips("d.test"))[0] == "2001:db8::1"


@pytest.mark.parametrize("behaviour", [Behaviour.TRUNCATED_AND_CLOSED, Behaviour.TRUNCATED_AND_HUGE])
async def test_an_answer_by_tcp_that_is_cut_or_endless_defers(behaviour: Behaviour) -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("d.test", behaviour)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")
        assert at.tally.results == [DnsResult.INVALID]


async def test_a_slow_domain_does_not_hold_back_another() -> None:
    async with bench() as at:
        two_hosts(at)
        at.dns.zone.behave("slow.test", Behaviour.HELD)
        at.dns.zone.a("slow.test", "192.0.2.7")
        slow = asyncio.create_task(at.ips("slow.test"))
        await at.dns.wait_for_query("slow.test")
        assert (await at.ips("d.test"))[0] == "2001:db8::1"
        assert not slow.done()
        at.dns.release()
        assert await slow == ["192.0.2.7"]


async def test_names_are_asked_for_as_they_are() -> None:
    """Never with a search list: `d` is `d.`, whatever resolv.conf says."""
    async with bench() as at:
        assert refusal(await at.router.route("d")) == (True, "5.1.2")
        assert {query.name for query in at.dns.queries} == {"d"}


async def test_literals_need_no_dns() -> None:
    async with bench(mx_port=2525) as at:
        answer = await at.router.route("[ipv6:2001:db8::1]")
        assert isinstance(answer, Targets)
        assert [(t.host, t.ip, t.port) for t in answer.targets] == [("2001:db8::1", "2001:db8::1", 2525)]
        assert await at.ips("[192.0.2.1]") == ["192.0.2.1"]
        assert at.dns.queries == []


async def test_a_malformed_literal_bounces() -> None:
    async with bench() as at:
        assert refusal(await at.router.route("[192.0.2.256]")) == (True, "5.1.3")


async def test_force_tls_of_one_message_does_not_touch_the_next() -> None:
    async with bench() as at:
        two_hosts(at)
        for force_tls in (False, True, False):
            answer = await at.router.route("d.test", asked=MessageTls(forced=force_tls))
            assert isinstance(answer, Targets)
            level = TlsLevel.REQUIRED if force_tls else TlsLevel.OPPORTUNISTIC
            assert {target.tls.level for target in answer.targets} == {level}


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "169.254.0.1", "192.0.2.9"])
async def test_an_mx_that_leads_back_is_skipped_unless_allowed(address: str) -> None:
    own = (ipaddress.ip_address("192.0.2.9"),)
    async with bench(own) as at:
        at.dns.zone.mx("d.test", (10, "mx.d.test"))
        at.dns.zone.a("mx.d.test", address)
        assert refusal(await at.router.route("d.test")) == (True, "5.4.6")
        assert refusal(await at.router.route(f"[{address}]")) == (True, "5.4.6")
        at.configure(local_mx_ok=True)
        assert await at.ips("d.test") == [address]
        assert await at.ips(f"[{address}]") == [address]


async def test_our_own_name_among_the_mx_drops_all_that_are_not_better() -> None:
    async with bench() as at:
        two_hosts(at)
        at.configure(me="MX2.d.test")
        assert await at.ips("d.test") == ["2001:db8::1", "192.0.2.1"]
        at.configure(me="mx1.d.test")
        assert refusal(await at.router.route("d.test")) == (True, "5.4.6")
        at.configure(me="mx1.d.test", local_mx_ok=True)
        assert len(await at.ips("d.test")) == 3


async def test_our_own_address_among_the_mx_drops_all_that_are_not_better() -> None:
    async with bench((ipaddress.ip_address("192.0.2.2"),)) as at:
        two_hosts(at)
        at.dns.zone.mx("d.test", (30, "mx3.d.test"))
        at.dns.zone.a("mx3.d.test", "192.0.2.3")
        assert await at.ips("d.test") == ["2001:db8::1", "192.0.2.1"]


@pytest.mark.parametrize("exchange", ["127.0.0.1", "localhost", "any.localhost"])
async def test_an_exchange_that_is_loopback_by_its_name_is_no_way_in(exchange: str) -> None:
    async with bench() as at:
        at.dns.zone.mx("d.test", (10, exchange), (20, "mx2.d.test"))
        at.dns.zone.a("mx2.d.test", "192.0.2.2")
        at.dns.zone.a(exchange, "127.0.0.1")
        assert await at.ips("d.test") == ["192.0.2.2"]


async def test_a_domain_that_looks_like_an_address_is_checked_like_one() -> None:
    async with bench() as at:
        at.dns.zone.a("127.0.0.1", "192.0.2.1")
        assert refusal(await at.router.route("127.0.0.1")) == (True, "5.4.6")

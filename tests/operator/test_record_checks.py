"""SPF and DMARC of a domain, asked of a real DNS server: only the resolver that is configured, and within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
from tests.support.dns_server import Behaviour, DnsServer

from mailboat_operator import names
from mailboat_operator.authority import Authority
from mailboat_operator.observed import ObjectKey
from mailboat_operator.record_checks import RecordChecks, RecordReport
from mailboat_operator.spf.check_host import SpfHost
from mailboat_operator.spf.record import SpfWord

KEY = ObjectKey("mail", "example-com", names.SENDING_KIND)
NINE, TEN = ip_address("192.0.2.9"), ip_address("192.0.2.10")


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """The resolver."""
    async with DnsServer.start() as it:
        yield it


async def report(server: DnsServer, *addresses: str) -> RecordReport:
    """What is found out about example.test."""
    checks = RecordChecks(Authority([(server.endpoint.host, server.endpoint.port)]), lambda: 0.0)
    checks.follow(KEY, "example.test", (), tuple(map(ip_address, addresses)))
    await checks(KEY)
    found = checks.report(KEY)
    assert found is not None
    return found


async def test_each_address_is_judged_by_the_records_that_an_include_leads_to(server: DnsServer) -> None:
    server.zone.add("example.test", "TXT", '"v=spf1 include:_spf" ".example.test mx -all"')
    server.zone.add("_spf.example.test", "TXT", '"v=spf1 a:out.example.test -all"')
    server.zone.a("out.example.test", "192.0.2.9")
    server.zone.mx("example.test", (20, "mx2.example.test"), (10, "mx1.example.test"))
    server.zone.a("mx1.example.test", "192.0.2.1")
    server.zone.aaaa("mx2.example.test", "2001:db8::9")

    found = await report(server, "192.0.2.9", "192.0.2.10", "2001:db8::9")

    assert [result.word for result in found.spf_results.values()] == [SpfWord.PASS, SpfWord.FAIL, SpfWord.PASS]
    assert found.spf == ("v=spf1 include:_spf.example.test mx -all",)


async def test_a_name_of_the_address_counts_where_it_leads_back(server: DnsServer) -> None:
    server.zone.add("example.test", "TXT", '"v=spf1 ptr -all"')
    server.zone.add("9.2.0.192.in-addr.arpa", "PTR", "out.example.test.")
    server.zone.add("10.2.0.192.in-addr.arpa", "PTR", "out.example.test.")
    server.zone.a("out.example.test", "192.0.2.9")

    found = await report(server, "192.0.2.9", "192.0.2.10")

    assert (found.spf_results[NINE].word, found.spf_results[TEN].word) == (SpfWord.PASS, SpfWord.FAIL)


async def test_an_ehlo_name_is_judged_by_its_own_record(server: DnsServer) -> None:
    server.zone.add("example.test", "TXT", '"v=spf1 ip4:192.0.2.9 -all"')
    server.zone.add("mail.example.net", "TXT", '"v=spf1 a -all"')
    server.zone.a("mail.example.net", "192.0.2.10")
    hosts = SpfHost("mail.example.net", NINE), SpfHost("mail.example.net", TEN), SpfHost("none.example.net", TEN)
    checks = RecordChecks(Authority([(server.endpoint.host, server.endpoint.port)]), lambda: 0.0)
    assert checks.follow(KEY, "example.test", (), (NINE,), hosts)

    await checks(KEY)

    found = checks.report(KEY)
    assert found is not None
    assert [found.hosts[host].word for host in hosts] == [SpfWord.FAIL, SpfWord.PASS, SpfWord.NONE]
    assert not checks.follow(KEY, "example.test", (), (NINE,), hosts)
    assert checks.follow(KEY, "example.test", (), (NINE,), (*hosts, SpfHost("new.example.net", NINE)))


async def test_where_the_dns_does_not_answer_for_an_ehlo_name_it_is_not_asked_for_the_others(
    server: DnsServer,
) -> None:
    server.zone.behave("a.example.net", Behaviour.SERVFAIL)
    hosts = SpfHost("a.example.net", NINE), SpfHost("b.example.net", TEN)
    checks = RecordChecks(Authority([(server.endpoint.host, server.endpoint.port)]), lambda: 0.0)
    checks.follow(KEY, "example.test", (), (), hosts)

    await checks(KEY)

    found = checks.report(KEY)
    assert found is not None
    assert {result.word for result in found.hosts.values()} == {SpfWord.TEMPERROR}
    assert server.asked_for("b.example.net") == 0
    assert not checks.follow(KEY, "example.test", (), (), hosts), "it would be asked again at once"


async def test_where_the_dns_does_not_answer_no_further_address_is_asked_for(server: DnsServer) -> None:
    server.zone.add("example.test", "TXT", '"v=spf1 include:_spf.example.test -all"')
    server.zone.behave("_spf.example.test", Behaviour.SERVFAIL)

    found = await report(server, "192.0.2.9", "192.0.2.10")

    assert {address: result.word for address, result in found.spf_results.items()} == {NINE: SpfWord.TEMPERROR}
    assert found.addresses == (NINE, TEN)


async def test_a_name_that_no_dns_message_can_carry_ends_nothing(server: DnsServer) -> None:
    server.zone.add("example.test", "TXT", f'"v=spf1 a:{"é" * 3}..test -all"', '"v=DMARC1; p=none"')
    server.zone.add("_dmarc.test", "TXT", '"v=DMARC1; p=none; psd=y"')

    found = await report(server, "192.0.2.9")

    assert found.spf_results[NINE].word is SpfWord.PERMERROR
    assert found.dmarc == ("v=DMARC1; p=none; psd=y",)


async def test_new_addresses_are_to_be_asked_for_and_old_ones_are_not(server: DnsServer) -> None:
    checks = RecordChecks(Authority([(server.endpoint.host, server.endpoint.port)]), lambda: 0.0)
    assert checks.follow(KEY, "example.test", (), (NINE,))
    await checks(KEY)

    assert not checks.follow(KEY, "example.test", (), (NINE,))
    assert checks.follow(KEY, "example.test", (), (NINE, TEN))

"""What else is published of a name: TXT, TLSA and CNAME records, and whether an answer is authenticated."""

from __future__ import annotations

import pytest
from tests.support.dns_server import Behaviour
from tests.support.routing import bench

from mailboat.routing.records import Answer, LookupFailure, NoData, NxDomain, TlsaRecord


async def test_the_strings_of_a_txt_record_are_one_text() -> None:
    async with bench() as at:
        at.dns.zone.add("_mta-sts.d.test", "TXT", '"v=STSv1; " "id=1"', '"another"')
        found = await at.resolver.texts("_mta-sts.d.test")
        assert isinstance(found, Answer)
        assert set(found.records) == {"v=STSv1; id=1", "another"}


async def test_tlsa_records_can_be_asked_for() -> None:
    async with bench() as at:
        at.dns.zone.add("_25._tcp.mx.test", "TLSA", f"3 1 1 {'ab' * 32}", "2 0 0 0123")
        found = await at.resolver.tlsa("_25._tcp.mx.test")
        assert isinstance(found, Answer)
        assert set(found.records) == {TlsaRecord(3, 1, 1, b"\xab" * 32), TlsaRecord(2, 0, 0, b"\x01\x23")}


async def test_an_alias_can_be_asked_for_and_is_not_followed_then() -> None:
    async with bench() as at:
        at.dns.zone.cname("a.test", "b.test")
        at.dns.zone.cname("b.test", "c.test")
        at.dns.zone.a("c.test", "192.0.2.1")
        found = await at.resolver.cname("a.test")
        assert isinstance(found, Answer)
        assert found.records == ("b.test",)
        assert isinstance(await at.resolver.cname("c.test"), NoData)


async def test_an_answer_names_the_aliases_that_led_to_it() -> None:
    async with bench() as at:
        at.dns.zone.cname("a.test", "b.test")
        at.dns.zone.cname("b.test", "c.test")
        at.dns.zone.a("c.test", "192.0.2.1")
        _, found = await at.resolver.families("a.test", (4,))
        assert isinstance(found, Answer)
        assert found.aliases == ("b.test", "c.test")
        _, plain = await at.resolver.families("c.test", (4,))
        assert isinstance(plain, Answer)
        assert plain.aliases == ()


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("cut", [True, False], ids=["tcp", "udp"])
async def test_an_answer_says_whether_it_is_authenticated(secure: bool, cut: bool) -> None:
    async with bench() as at:
        at.dns.zone.secure = secure
        at.dns.zone.a("a.test", "192.0.2.1")
        if cut:
            at.dns.zone.behave("a.test", Behaviour.TRUNCATED)
        no_data, answer = await at.resolver.families("a.test", (6, 4))
        _, no_name = await at.resolver.families("b.test", (4,))
        assert isinstance(answer, Answer)
        assert isinstance(no_data, NoData)
        assert isinstance(no_name, NxDomain)
        assert [answer.secure, no_data.secure, no_name.secure] == [secure] * 3


async def test_a_query_asks_whether_the_answer_is_authenticated_but_for_servers_older_than_edns() -> None:
    async with bench() as at:
        at.dns.zone.behave("d.test", Behaviour.FORMERR_FOR_EDNS)
        at.dns.zone.a("d.test", "192.0.2.1")
        await at.ips("d.test")
        assert {query.edns for query in at.dns.queries} == {True, False}
        assert all(query.asks_ad == query.edns for query in at.dns.queries)


async def test_a_failure_of_any_type_is_a_failure() -> None:
    async with bench() as at:
        at.dns.zone.behave("d.test", Behaviour.SERVFAIL)
        for found in (
            await at.resolver.texts("d.test"),
            await at.resolver.tlsa("d.test"),
            await at.resolver.cname("d.test"),
        ):
            assert isinstance(found, LookupFailure)

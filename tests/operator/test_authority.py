"""Authoritative servers are asked directly, all of them, and what is no answer of theirs is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from tests.support.dns_server import Behaviour, DnsServer, Zone

from mailboat_operator.authority import Authority, DnsSilence

NAME = "mb._domainkey.example.test"
KEY = '"v=DKIM1; k=rsa; " "p=AAAA"'
JOINED = "v=DKIM1; k=rsa; p=AAAA"


@pytest.fixture
async def servers() -> AsyncIterator[list[DnsServer]]:
    """Two name servers of example.test on one port; the first one is the resolver too."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(DnsServer.start(_zone()))
        second = await stack.enter_async_context(DnsServer.start(_zone(), "127.0.0.2", first.endpoint.port))
        yield [first, second]


def _zone() -> Zone:
    zone = Zone(ttl=300, authoritative=True)
    for domain in ("example.test", "keys.test"):
        zone.add(domain, "SOA", f"ns1.{domain}. hostmaster.{domain}. 1 3600 600 86400 900")
    zone.add("example.test", "NS", "ns1.example.test.", "ns2.example.test.")
    zone.add("keys.test", "NS", "ns2.example.test.")
    zone.a("ns1.example.test", "127.0.0.1")
    zone.a("ns2.example.test", "127.0.0.2")
    return zone


def authority(servers: list[DnsServer]) -> Authority:
    port = servers[0].endpoint.port
    return Authority([("127.0.0.1", port)], port)


async def test_every_server_says_what_it_has(servers: list[DnsServer]) -> None:
    servers[1].zone.add(NAME, "TXT", KEY)

    found = await authority(servers).texts(NAME)

    assert found.texts == {"ns1.example.test": (), "ns2.example.test": (JOINED,)}


async def test_caches_may_differ_for_the_longer_of_the_records_time_and_that_of_no_such_name(
    servers: list[DnsServer],
) -> None:
    found = await authority(servers).texts(NAME)
    assert found.wait == timedelta(seconds=300)  # the SOA's own TTL is less than its minimum (RFC 2308 5)

    for server in servers:
        server.zone.ttl = 7200
        server.zone.add(NAME, "TXT", KEY)
    assert (await authority(servers).texts(NAME)).wait == timedelta(seconds=7200)


async def test_an_alias_is_followed_to_the_servers_of_the_other_zone(servers: list[DnsServer]) -> None:
    for server in servers:
        server.zone.cname(NAME, "mb.keys.test")
    servers[1].zone.add("mb.keys.test", "TXT", KEY)

    found = await authority(servers).texts(NAME)

    assert set(found.texts.values()) == {(JOINED,)}


@pytest.mark.parametrize("behaviour", [Behaviour.REFUSED, Behaviour.SERVFAIL])
async def test_one_server_that_does_not_answer_leaves_it_open_and_is_named(
    servers: list[DnsServer], behaviour: Behaviour
) -> None:
    servers[0].zone.add(NAME, "TXT", KEY)
    servers[1].zone.behave(NAME, behaviour)

    with pytest.raises(DnsSilence, match=rf"ns2\.example\.test of example\.test answers {behaviour.name}"):
        await authority(servers).texts(NAME)


async def test_an_answer_without_aa_comes_from_a_cache_and_does_not_count(servers: list[DnsServer]) -> None:
    servers[1].zone.authoritative = False

    with pytest.raises(DnsSilence, match="without AA"):
        await authority(servers).texts(NAME)


async def test_an_answer_that_is_too_long_for_udp_comes_by_tcp(servers: list[DnsServer]) -> None:
    for server in servers:
        server.zone.add(NAME, "TXT", KEY)
        server.zone.behave(NAME, Behaviour.TRUNCATED, "TXT")

    assert set((await authority(servers).texts(NAME)).texts.values()) == {(JOINED,)}
    assert "tcp" in {query.transport for query in servers[1].queries}


async def test_no_more_queries_are_under_way_than_allowed_whoever_is_asked(servers: list[DnsServer]) -> None:
    """Of the resolver as of the zone's servers; the others wait for their turn."""
    (first, second), names = servers, [f"mb{number}._domainkey.example.test" for number in range(9)]
    port = first.endpoint.port
    asking = Authority([("127.0.0.1", port)], port, queries=3)
    for server in servers:
        for name in (*names, "a.keys.test"):
            server.zone.behave(name, Behaviour.HELD)
    found = [asyncio.create_task(asking.texts(name)) for name in names]
    found_too = [asyncio.create_task(asking.lookup(name, rdtype)) for name in names for rdtype in ("A", "MX")]
    for _ in range(3):
        await first.wait_for_query(names[0])
        # What had been sent before this query has come before it.
        await authority(servers).lookup("ns1.example.test", "A")

    first.release()
    second.release()
    await asyncio.gather(*found, *found_too)

    assert first.most_at_once <= 3 + 1  # with that of the test
    assert second.most_at_once <= 3


async def test_a_zone_that_names_no_servers_leaves_it_open(servers: list[DnsServer]) -> None:
    """And does not have a record count as shown by all of none."""
    for server in servers:
        del server.zone.records["example.test"]["NS"]

    with pytest.raises(DnsSilence, match=r"example\.test: the zone has no name servers"):
        await authority(servers).texts(NAME)

"""DANE (RFC 7672) through a whole relay: a DNS server that sets AD, hosts with certificates, and what gets there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import EXPIRED, Issued, Wanted, authority
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.relay_process import Relay, RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

from mailboat.routing.records import TlsaRecord

HOST = "mx.example.test"
LEAF = Wanted("elsewhere.test", valid=EXPIRED).issue()
"""No certificate that anybody takes without a TLSA record: self-signed, expired, and for another name."""
OTHER = Wanted(HOST).issue()
CA = authority()


class ByMx(RelayConfig):
    """A configuration without routes."""

    def route(self) -> list[str]:
        return []


@dataclass
class Domain:
    """`example.test`, with hosts on one port of different loopback addresses, and a relay that asks its DNS server."""

    dns: DnsServer
    mx: ScriptedMx
    directory: Path

    def host(self, name: str, ip: str, preference: int) -> None:
        """Add an MX host."""
        self.dns.zone.mx("example.test", (preference, name))
        self.dns.zone.a(name, ip)

    def at(self, name: str) -> str:
        """Where the TLSA records of a host are."""
        return f"_{self.mx.port}._tcp.{name}"

    def tlsa(self, name: str, *records: TlsaRecord) -> None:
        """Publish records for a host, instead of those before."""
        self.dns.zone.forget(self.at(name))
        texts = (f"{r.usage} {r.selector} {r.matching} {r.data.hex()}" for r in records)
        self.dns.zone.add(self.at(name), "TLSA", *texts)

    @contextlib.asynccontextmanager
    async def relay(self, *outbound: str, tls: str = "") -> AsyncIterator[Relay]:
        """The relay, with further lines of `outbound.ini`, and of `[outbound]` in `tls.ini`."""
        lines = [f"dns_servers={self.dns.endpoint}", f"mx_port={self.mx.port}", *outbound]
        config = ByMx(self.directory / "config", 9, outbound=lines)
        config.put("tls.ini", f"[outbound]\n{tls}\n")
        async with running(config) as relay:
            yield relay
            assert await relay.stop() == 0, "\n".join(relay.log)

    async def outcome(self, *outbound: str, tls: str = "") -> dict[str, Any]:
        """The first event of a delivery to the domain."""
        async with self.relay(*outbound, tls=tls) as relay:
            return await sent(relay)


async def sent(relay: Relay, number: int = 1) -> dict[str, Any]:
    """The event of the delivery of one more mail, whether it arrived or was deferred."""
    await relay.submit("bob@example.test")
    done = ("delivered", "deferred")
    await relay.until(lambda: sum(event["event"] in done for event in relay.events) >= number)
    return [event for event in relay.events if event["event"] in done][number - 1]


def words(event: dict[str, Any]) -> list[str]:
    return [event[word] for word in ("event", "tls_policy", "tls_level", "tls_verified")]


@pytest.fixture
async def domain(tmp_path: Path) -> AsyncIterator[Domain]:
    """One signed domain with one host."""
    async with DnsServer.start() as dns, ScriptedMx.start() as mx:
        dns.zone.secure = True
        found = Domain(dns, mx, tmp_path)
        found.host(HOST, mx.ip, 10)
        yield found


@pytest.fixture
async def backup(domain: Domain) -> AsyncIterator[ScriptedMx]:
    """A second host of it, `backup.example.test`, with a certificate that matches its record."""
    async with ScriptedMx.start(ip="127.0.0.2", port=domain.mx.port) as mx:
        domain.host("backup.example.test", mx.ip, 20)
        domain.tlsa("backup.example.test", OTHER.tlsa(3, 1, 1))
        mx.starttls(OTHER.server(domain.directory))
        yield mx


async def test_a_certificate_that_matches_is_taken_whatever_else_is_wrong_with_it(domain: Domain) -> None:
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, LEAF.tlsa(3, 1, 1))
    assert words(await domain.outcome()) == ["delivered", "dane", "verify", "dane-ee"]
    assert domain.mx.connections[0].sni == HOST


async def test_nothing_is_said_after_the_handshake_to_a_host_whose_certificate_does_not_match(
    domain: Domain, backup: ScriptedMx
) -> None:
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, OTHER.tlsa(3, 1, 1))
    event = await domain.outcome()
    assert (words(event), event["mx"]) == (["delivered", "dane", "verify", "dane-ee"], "backup.example.test")
    assert domain.mx.connections[0].verbs == ["EHLO", "STARTTLS"]
    assert len(backup.mails) == 1


async def test_mail_is_deferred_if_no_host_has_a_certificate_that_matches(domain: Domain) -> None:
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, OTHER.tlsa(3, 1, 1))
    async with domain.relay() as relay:
        event = await sent(relay)
        (waiting,) = await relay.queue()
    assert (event["event"], event["enhanced"], event["tls_policy"]) == ("deferred", "4.7.5", "dane")
    demand = f"(verified TLS is demanded: DANE: TLSA records of {HOST})"
    assert f"the certificate matches no TLSA record {demand}" in waiting["last_reply"]
    assert domain.mx.mails == []


@pytest.mark.parametrize(
    ("name", "result"),
    [(HOST, "delivered"), ("example.test", "delivered"), ("elsewhere.test", "deferred")],
)
async def test_the_certificate_of_a_private_ca_is_taken_for_the_host_or_the_domain_only(
    domain: Domain, name: str, result: str
) -> None:
    domain.mx.starttls(Wanted(name, by=CA).issue().server(domain.directory, CA))
    domain.tlsa(HOST, CA.tlsa(2, 0, 1))
    event = await domain.outcome()
    assert event["event"] == result
    if result == "delivered":
        assert event["tls_verified"] == "dane-ta"
    else:
        assert "the certificate is for another name" in event["reply"]


async def test_records_do_not_count_if_the_mx_answer_is_not_authenticated(domain: Domain) -> None:
    domain.dns.zone.insecure.add("example.test")
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, OTHER.tlsa(3, 1, 1))
    assert words(await domain.outcome()) == ["delivered", "none", "clear", "none"]
    assert domain.dns.asked_for(domain.at(HOST)) == 0


async def test_a_host_whose_records_cannot_be_looked_up_is_not_connected_to(domain: Domain, backup: ScriptedMx) -> None:
    domain.dns.zone.behave(domain.at(HOST), Behaviour.SERVFAIL)
    domain.dns.zone.forget(domain.at("backup.example.test"))
    event = await domain.outcome()
    assert (words(event), event["mx"]) == (["delivered", "none", "clear", "none"], "backup.example.test")
    assert (domain.mx.connections, len(backup.mails)) == ([], 1)


async def test_mail_is_deferred_if_the_records_of_no_host_can_be_looked_up(domain: Domain) -> None:
    domain.dns.zone.behave(domain.at(HOST), Behaviour.SERVFAIL)
    event = await domain.outcome()
    assert (event["event"], event["enhanced"]) == ("deferred", "4.7.5")
    assert f"DANE: TLSA look-up of {domain.at(HOST)} failed: SERVFAIL" in event["reply"]
    assert domain.mx.connections == []


@pytest.mark.parametrize("offers_tls", [True, False])
async def test_records_of_which_none_can_be_used_demand_tls_with_any_certificate(
    domain: Domain, offers_tls: bool
) -> None:
    if offers_tls:
        domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, OTHER.tlsa(1, 1, 1), OTHER.tlsa(0, 0, 2))
    event = await domain.outcome()
    result = "delivered" if offers_tls else "deferred"
    assert words(event) == [result, "dane", "encrypt", "none"]
    assert offers_tls or event["enhanced"] == "4.7.4"


async def test_a_host_that_hides_starttls_gets_nothing_in_plaintext(domain: Domain) -> None:
    domain.tlsa(HOST, LEAF.tlsa(3, 1, 1))
    event = await domain.outcome()
    assert (event["event"], event["enhanced"]) == ("deferred", "4.7.4")
    assert domain.mx.connections[0].verbs == ["EHLO"]


async def test_the_ad_bit_of_a_server_that_is_not_trusted_does_not_count(domain: Domain) -> None:
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, OTHER.tlsa(3, 1, 1))
    async with domain.relay("dns_trust_ad=none") as relay:
        assert words(await sent(relay)) == ["delivered", "none", "clear", "none"]
        metrics = await relay.metrics()
    assert metrics["mailboat_dane_available"] == 0
    assert sum("DANE is not available" in line for line in relay.log) == 1
    assert domain.dns.asked_for(domain.at(HOST)) == 0


async def test_dane_can_be_switched_off(domain: Domain) -> None:
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, OTHER.tlsa(3, 1, 1))
    assert words(await domain.outcome(tls="dane=false")) == ["delivered", "none", "clear", "none"]
    assert domain.dns.asked_for(domain.at(HOST)) == 0


async def test_the_records_of_an_alias_are_those_of_its_end(domain: Domain) -> None:
    end = "host.example.test"
    domain.dns.zone.forget(HOST)
    domain.dns.zone.cname(HOST, end)
    domain.dns.zone.a(end, domain.mx.ip)
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(end, LEAF.tlsa(3, 1, 1))
    assert words(await domain.outcome()) == ["delivered", "dane", "verify", "dane-ee"]
    assert domain.mx.connections[0].sni == end


async def test_a_domain_without_mx_is_its_own_host_if_that_is_authenticated(domain: Domain) -> None:
    domain.dns.zone.forget("example.test")
    domain.dns.zone.a("example.test", domain.mx.ip)
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa("example.test", LEAF.tlsa(3, 1, 1))
    assert words(await domain.outcome()) == ["delivered", "dane", "verify", "dane-ee"]


async def test_a_new_certificate_is_taken_as_soon_as_its_record_is_in_the_dns(domain: Domain) -> None:
    """Also while the old record is still in the caches of the relay."""
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, LEAF.tlsa(3, 1, 1))
    async with domain.relay("connection_idle_timeout=0") as relay:
        assert words(await sent(relay)) == ["delivered", "dane", "verify", "dane-ee"]
        domain.mx.starttls(OTHER.server(domain.directory))
        domain.tlsa(HOST, OTHER.tlsa(3, 1, 1))
        for number in (2, 3):
            assert words(await sent(relay, number)) == ["delivered", "dane", "verify", "dane-ee"]
    assert domain.dns.asked_for(domain.at(HOST)) == 2
    assert len(domain.mx.connections) == 4


def route(domain: Domain, issued: Issued) -> list[str]:
    """A route to the host, which shows this certificate."""
    domain.mx.starttls(issued.server(domain.directory))
    return ["[route:smart]", "domains=*", f"hosts={HOST}"]


@pytest.mark.parametrize(
    ("on", "found"),
    [("true", ["delivered", "dane", "verify", "dane-ee"]), ("false", ["delivered", "none", "clear", "none"])],
)
async def test_the_records_of_a_smart_host_count_if_its_route_says_so(
    domain: Domain, on: str, found: list[str]
) -> None:
    domain.tlsa(HOST, LEAF.tlsa(3, 1, 1))
    domain.dns.zone.insecure.add("example.test")
    assert words(await domain.outcome(*route(domain, LEAF), f"dane={on}")) == found


async def test_dane_costs_one_more_round_of_look_ups_for_a_new_host_and_none_for_one_that_is_known(
    domain: Domain,
) -> None:
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, LEAF.tlsa(3, 1, 1))
    async with domain.relay() as relay:
        for number in (1, 2):
            await sent(relay, number)
    about_dane = [(query.name, query.type) for query in domain.dns.queries if query.type in ("TLSA", "CNAME")]
    assert about_dane == [(domain.at(HOST), "TLSA")]
    for rdtype in ("A", "AAAA"):
        assert domain.dns.asked_for(HOST, rdtype) == 1


async def test_a_message_with_tls_required_no_is_delivered_where_the_certificate_matches_no_record(
    domain: Domain,
) -> None:
    """RFC 8689 5; the next message without the field is not."""
    domain.mx.starttls(LEAF.server(domain.directory))
    domain.tlsa(HOST, OTHER.tlsa(3, 1, 1))
    async with domain.relay() as relay:
        await relay.submit("bob@example.test", body=b"TLS-Required: No\r\nSubject: hi\r\n\r\nGood day.\r\n")
        (delivered,) = await relay.event("delivered")
        assert words(await sent(relay, 2)) == ["deferred", "dane", "verify", "none"]
    assert words(delivered) == ["delivered", "message", "clear", "none"]
    assert [mail.connection.tls for mail in domain.mx.mails] == [True]

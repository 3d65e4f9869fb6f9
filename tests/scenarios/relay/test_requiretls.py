"""REQUIRETLS (RFC 8689): taken inside TLS only, and passed on to verified hosts that offer it, or not at all."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.dns_server import DnsServer
from tests.support.pem import self_signed
from tests.support.relay_process import Relay, RelayConfig, running
from tests.support.scripted_mx import Mail, ScriptedMx
from tests.support.smtp_client import Client
from tests.support.sts_domain import MX2, NAME, StsDomain

BODY = b"Subject: order 66\r\n\r\nThe secret of it.\r\n"
TRUST = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUST.check_hostname, TRUST.verify_mode = False, ssl.CERT_NONE


class Net:
    """Two MX hosts of there.test with good certificates, the DNS that says so, and a relay that trusts them."""

    def __init__(self, directory: Path, dns: DnsServer, hosts: list[ScriptedMx]) -> None:
        self.dns, self.hosts = dns, hosts
        dns.zone.secure = True
        roots = b""
        for number, host in enumerate(hosts, 1):
            name = f"mx{number}.there.test"
            key, certificate = self_signed(name)
            roots += certificate
            (directory / f"{name}.pem").write_bytes(key + certificate)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(directory / f"{name}.pem")
            host.starttls(context)
            host.extensions_in_tls = ["PIPELINING", "8BITMIME", "REQUIRETLS"]
            dns.zone.mx("there.test", (10 * number, name))
            dns.zone.a(name, host.ip)
        dns.zone.mx("sender.test", (10, "mx1.there.test"))
        self.config = RelayConfig(directory / "config", 9)
        key, certificate = self_signed("relay.test")
        self.config.put("tls_key.pem", key.decode())
        self.config.put("tls_cert.pem", certificate.decode())
        self.config.put("roots.pem", roots.decode())
        self.tls()
        port = hosts[0].port
        lines = ["local_mx_ok=true", f"dns_servers={dns.endpoint}", f"mx_port={port}", "temp_fail_intervals=1h"]
        self.config.put("outbound.ini", "\n".join(lines) + "\n")

    def tls(self, *lines: str) -> None:
        """`tls.ini` `[outbound]` with these lines."""
        self.config.put("tls.ini", "\n".join(["[outbound]", "ca=roots.pem", *lines]) + "\n")


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    async with contextlib.AsyncExitStack() as stack:
        dns = await stack.enter_async_context(DnsServer.start())
        first = await stack.enter_async_context(ScriptedMx.start(ip="127.0.0.2"))
        second = await stack.enter_async_context(ScriptedMx.start(ip="127.0.0.3", port=first.port))
        yield Net(tmp_path, dns, [first, second])


async def client_of(relay: Relay, *, tls: bool = True) -> Client:
    client = await Client.connect(relay.config.smtp_port)
    await client.reply(enhanced=False)
    await client.ehlo()
    if tls:
        assert (await client.ask("STARTTLS")).startswith("220 ")
        await client.start_tls(TRUST)
    return client


async def submit(
    relay: Relay, *, body: bytes = BODY, parameters: str = " REQUIRETLS", to: str = "bob@there.test"
) -> None:
    client = await client_of(relay)
    assert "REQUIRETLS" in await client.ehlo()
    await client.begin(to, parameters=parameters)
    client.send(body + b".\r\n")
    assert (await client.reply()).startswith("250 ")
    await client.quit()


def report_in(mails: list[Mail]) -> tuple[bytes, str]:
    """The bounce among them: its octets, and the status in its block for the recipient."""
    [mail] = [mail for mail in mails if not mail.sender]
    parsed = email.parser.BytesParser(policy=email.policy.SMTP).parsebytes(mail.body)
    _, status, _ = parsed.iter_parts()
    return mail.body, str(list(status.iter_parts())[1]["Status"])


async def test_it_is_offered_inside_tls_only_and_refused_in_clear_with_a_value_and_twice(net: Net) -> None:
    async with running(net.config) as relay:
        client = await client_of(relay, tls=False)
        assert "REQUIRETLS" not in await client.ehlo()
        assert (await client.ask("MAIL FROM:<alice@sender.test> REQUIRETLS")).startswith("530 5.7.10 ")
        assert (await client.ask("STARTTLS")).startswith("220 ")
        await client.start_tls(TRUST)
        assert "REQUIRETLS" in await client.ehlo()
        for wrong in ("REQUIRETLS=yes", "REQUIRETLS REQUIRETLS"):
            assert (await client.ask(f"MAIL FROM:<alice@sender.test> {wrong}")).startswith("501 5.5.4 ")
        assert (await client.ask("MAIL FROM:<alice@sender.test> requiretls")).startswith("250 ")
        await client.quit()


async def test_off_neither_offers_nor_takes_it(net: Net) -> None:
    net.tls("requiretls=off")
    async with running(net.config) as relay:
        client = await client_of(relay)
        assert "REQUIRETLS" not in await client.ehlo()
        assert (await client.ask("MAIL FROM:<alice@sender.test> REQUIRETLS")).startswith("555 5.5.4 ")
        await client.quit()


async def test_it_is_passed_on_to_a_verified_host_that_was_found_securely(net: Net) -> None:
    async with running(net.config) as relay:
        await submit(relay)
        (delivered,) = await relay.event("delivered")
    (mail,) = net.hosts[0].mails
    assert "REQUIRETLS" in mail.params
    assert mail.connection.tls
    words = ("tls_policy", "tls_level", "tls_verified")
    assert [delivered[word] for word in words] == ["message", "verify", "pkix"]


async def test_it_survives_a_restart(net: Net) -> None:
    net.config.outbound = ()
    async with running(net.config) as relay:
        net.hosts[0].on("RCPT", "451 4.2.0 later", "250 2.1.5 ok")
        net.hosts[1].on("RCPT", "451 4.2.0 later")
        await submit(relay)
        await relay.event("deferred")
        assert await relay.stop() == 0
    async with running(net.config) as relay:
        await relay.http("/v1/queue/flush", "POST", {})
        await relay.event("delivered")
    assert "REQUIRETLS" in net.hosts[0].mails[0].params


async def test_no_host_that_offers_it_bounces_5_7_30_with_the_header_only(net: Net) -> None:
    for host in net.hosts:
        host.extensions_in_tls = ["8BITMIME"]
    async with running(net.config) as relay:
        await submit(relay)
        (bounced,) = await relay.event("bounced")
        await relay.event("delivered")
    assert bounced["enhanced"] == "5.7.30"
    body, status = report_in(net.hosts[0].mails)
    assert status == "5.7.30"
    assert b"order 66" in body
    assert b"The secret of it" not in body
    assert all("MAIL" not in c.verbs for c in net.hosts[1].connections)


async def test_a_later_host_that_offers_it_gets_the_mail(net: Net) -> None:
    net.hosts[0].extensions_in_tls = ["8BITMIME"]
    async with running(net.config) as relay:
        await submit(relay)
        await relay.event("delivered")
    assert not net.hosts[0].mails
    assert "REQUIRETLS" in net.hosts[1].mails[0].params


async def test_a_host_that_is_down_beside_one_that_does_not_offer_it_makes_it_a_deferral(net: Net) -> None:
    net.dns.zone.records["mx1.there.test"]["A"] = ["127.0.0.4"]
    net.hosts[1].extensions_in_tls = ["8BITMIME"]
    async with running(net.config) as relay:
        await submit(relay)
        await relay.event("deferred")
        assert not [event for event in relay.events if event["event"] == "bounced"]


@pytest.mark.parametrize("fault", ["no STARTTLS", "refused", "another name"])
async def test_hosts_without_verified_tls_bounce_5_7_10(net: Net, fault: str) -> None:
    for host in net.hosts:
        if fault == "no STARTTLS":
            host.extensions = ["8BITMIME"]
        elif fault == "refused":
            host.on("STARTTLS", "454 4.7.0 not now")
    if fault == "another name":
        net.config.put("roots.pem", self_signed("unrelated.test")[1].decode())
    async with running(net.config) as relay:
        await submit(relay)
        (bounced,) = await relay.event("bounced")
    assert (bounced["enhanced"], bounced["tls_policy"]) == ("5.7.10", "message")
    assert "REQUIRETLS" in bounced["reply"]
    assert not any(mail.sender for host in net.hosts for mail in host.mails)


async def test_hosts_that_were_found_insecurely_are_not_connected_to(net: Net) -> None:
    net.dns.zone.secure = False
    async with running(net.config) as relay:
        await submit(relay)
        (bounced,) = await relay.event("bounced")
    assert bounced["enhanced"] == "5.7.10"
    assert "mx2.there.test was found neither by DNSSEC nor by MTA-STS" in bounced["reply"]
    assert not any(connection.verbs for connection in net.hosts[1].connections)


async def test_a_host_that_mta_sts_names_counts_as_found_securely(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX2)
        config = domain.config(tmp_path / "config")
        for mx in (domain.mx1, domain.mx2):
            mx.extensions_in_tls = ["8BITMIME", "REQUIRETLS"]
        async with running(config) as relay:
            message = {"from": "a@sender.test", "to": f"bob@{NAME}", "content": BODY.decode(), "requiretls": True}
            assert (await relay.http("/v1/messages", "POST", message))[0] == 202
            (delivered,) = await relay.event("delivered")
        assert not domain.mx1.connections
        assert "REQUIRETLS" in domain.mx2.mails[0].params
    assert [delivered[word] for word in ("tls_policy", "tls_level", "tls_verified")] == ["sts", "verify", "pkix"]


async def test_a_configured_host_counts_as_found_securely(net: Net) -> None:
    net.dns.zone.secure = False
    lines = ["local_mx_ok=true", f"dns_servers={net.dns.endpoint}", "[route:hub]", "domains=*"]
    net.config.put("outbound.ini", "\n".join([*lines, f"hosts=mx1.there.test:{net.hosts[0].port}"]) + "\n")
    async with running(net.config) as relay:
        await submit(relay)
        (delivered,) = await relay.event("delivered")
    assert "REQUIRETLS" in net.hosts[0].mails[0].params
    assert (delivered["tls_policy"], delivered["tls_verified"]) == ("message", "pkix")


async def test_starttls_demands_tls_alone_and_passes_it_on_where_it_is_offered(net: Net) -> None:
    net.tls("requiretls=starttls")
    net.dns.zone.secure = False
    net.config.put("roots.pem", self_signed("unrelated.test")[1].decode())
    async with running(net.config) as relay:
        await submit(relay)
        await relay.event("delivered")
        net.hosts[0].extensions_in_tls = ["8BITMIME"]
        await relay.http("/v1/queue/flush", "POST", {})
        await submit(relay, to="bob@sender.test")
        (_, delivered) = await relay.event("delivered", 2)
    assert ["REQUIRETLS" in mail.params for mail in net.hosts[0].mails] == [True, True]
    assert (delivered["tls_level"], delivered["tls_verified"]) == ("encrypt", "none")


async def test_it_wins_over_tls_required_no(net: Net) -> None:
    for host in net.hosts:
        host.extensions = ["8BITMIME"]
    async with running(net.config) as relay:
        await submit(relay, body=b"TLS-Required: No\r\n" + BODY)
        (bounced,) = await relay.event("bounced")
    assert bounced["enhanced"] == "5.7.10"


async def test_programs_ask_for_it_as_well(net: Net) -> None:
    async with running(net.config) as relay:
        message = {"from": "alice@sender.test", "to": "bob@there.test", "content": BODY.decode(), "requiretls": True}
        status, _ = await relay.http("/v1/messages", "POST", message)
        assert status == 202
        await relay.event("delivered")
    assert "REQUIRETLS" in net.hosts[0].mails[0].params

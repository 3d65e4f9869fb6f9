"""DANE with signed zones that a real unbound validates, and Postfix as a second judge of the same hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import programs
from tests.support.certificates import EXPIRED, Issued, Wanted, authority
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.unbound import SignedZone, Unbound

from mailboat.routing.records import TlsaRecord

pytestmark = pytest.mark.interop

CA = authority()
LEAF = Wanted("leaf.test", valid=EXPIRED).issue()


class ByMx(RelayConfig):
    """A configuration without routes."""

    def route(self) -> list[str]:
        return []


@dataclass(frozen=True)
class Case:
    """One host `NAME.signed.test`: what it shows, and its record."""

    name: str
    chain: tuple[Issued, ...]
    record: TlsaRecord
    verified: str
    """How the certificate is verified; empty: it is refused."""
    alias: bool = False
    """The MX names an alias of the host."""


def named(name: str, *, by: Issued = CA) -> Issued:
    """A certificate for one of the hosts."""
    return Wanted(f"{name}.signed.test", by=by).issue()


CASES = [
    Case("key", (LEAF,), LEAF.tlsa(3, 1, 1), "dane-ee"),
    Case("whole", (LEAF,), LEAF.tlsa(3, 0, 2), "dane-ee"),
    Case("other", (LEAF,), CA.tlsa(3, 1, 1), ""),
    Case("ca", (named("ca"), CA), CA.tlsa(2, 0, 1), "dane-ta"),
    Case("misnamed", (named("somebody"), CA), CA.tlsa(2, 0, 1), ""),
    Case("unsent", (named("unsent"),), CA.tlsa(2, 0, 1), ""),
    Case("full", (named("full"),), CA.tlsa(2, 0, 0), "dane-ta"),
    Case("old", (Wanted("old.signed.test", by=CA, valid=EXPIRED).issue(), CA), CA.tlsa(2, 1, 1), ""),
    Case("end", (LEAF,), LEAF.tlsa(3, 1, 1), "dane-ee", alias=True),
]


@dataclass
class Net:
    """Hosts of every case on one port, and an unbound that validates their zone."""

    unbound: Unbound
    port: int
    hosts: dict[str, ScriptedMx]
    directory: Path

    def config(self) -> ByMx:
        """A relay's configuration that asks it."""
        lines = [f"dns_servers={self.unbound.address}", f"dns_trust_ad={self.unbound.address}", f"mx_port={self.port}"]
        return ByMx(self.directory / "config", 9, outbound=lines)

    async def posttls_finger(self, host: str) -> str:
        """What Postfix says of a host, with a resolv.conf that leads to the unbound."""
        resolv_conf = self.directory / "resolv.conf"
        resolv_conf.write_text(f"nameserver {self.unbound.address}\noptions trust-ad edns0\n")
        (self.directory / "main.cf").write_text("")
        finger = f"MAIL_CONFIG={self.directory} posttls-finger -c -l dane -L summary,certmatch '[{host}]:{self.port}'"
        inside = f"mount --bind {resolv_conf} $(readlink -f /etc/resolv.conf) && {finger}"
        return (await programs.run(programs.find("unshare"), "-m", "sh", "-c", inside)).output


def lines_of(case: Case, ip: str, port: int) -> str:
    """A domain with this host, in `signed.test`."""
    record = case.record
    tlsa = f"{record.usage} {record.selector} {record.matching} {record.data.hex()}"
    mx = f"alias-of-{case.name}" if case.alias else case.name
    return (
        f"to-{case.name} 300 IN MX 10 {mx}\n"
        + (f"{mx} 300 IN CNAME {case.name}\n" if case.alias else "")
        + f"{case.name} 300 IN A {ip}\n"
        + f"_{port}._tcp.{case.name} 300 IN TLSA {tlsa}\n"
    )


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    """The hosts, and a signed, a forged and an unsigned zone."""
    async with AsyncExitStack() as stack:
        hosts: dict[str, ScriptedMx] = {}
        port, text = 0, ""
        for number, case in enumerate(CASES, 2):
            mx = await stack.enter_async_context(ScriptedMx.start(ip=f"127.0.0.{number}", port=port))
            mx.starttls(case.chain[0].server(tmp_path, *case.chain[1:]))
            hosts[case.name], port = mx, mx.port
            text += lines_of(case, mx.ip, port)
        one = lines_of(CASES[0], hosts["key"].ip, port)
        zones = [
            SignedZone.signed("signed.test", text),
            SignedZone.signed("forged.test", one, forged="to-key.forged.test. 300 IN MX 10 other.signed.test."),
            SignedZone.unsigned("unsigned.test", lines_of(CASES[2], hosts["other"].ip, port)),
        ]
        unbound = await stack.enter_async_context(Unbound.start(tmp_path / "unbound", zones))
        yield Net(unbound, port, hosts, tmp_path)


async def test_each_host_is_judged_as_postfix_judges_it(net: Net) -> None:
    async with running(net.config()) as relay:
        for case in CASES:
            await relay.submit(f"bob@to-{case.name}.signed.test")
        judged = {}
        for case in CASES:
            kind = "delivered" if case.verified else "deferred"
            (event,) = await relay.event(kind, domain=f"to-{case.name}.signed.test")
            assert (event["tls_policy"], event["tls_level"]) == ("dane", "verify"), case.name
            judged[case.name] = event["tls_verified"] if case.verified else event["enhanced"]
        assert await relay.stop() == 0
    assert judged == {case.name: case.verified or "4.7.5" for case in CASES}

    by_postfix = await asyncio.gather(*(net.posttls_finger(f"{case.name}.signed.test") for case in CASES))
    for case, output in zip(CASES, by_postfix, strict=True):
        assert ("Verified TLS connection" in output) == (case.verified != ""), output


async def test_a_zone_whose_signatures_do_not_fit_defers_and_one_without_signatures_has_no_dane(net: Net) -> None:
    async with running(net.config()) as relay:
        await relay.submit("bob@to-key.forged.test")
        await relay.submit("bob@to-other.unsigned.test")
        (forged,) = await relay.event("deferred", domain="to-key.forged.test")
        (unsigned,) = await relay.event("delivered", domain="to-other.unsigned.test")
        assert await relay.stop() == 0
    assert forged["enhanced"] == "4.4.3"
    assert (unsigned["tls_policy"], unsigned["tls_level"]) == ("none", "clear")
    assert net.hosts["key"].connections == []

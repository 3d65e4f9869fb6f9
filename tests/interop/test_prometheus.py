"""A real Prometheus watches real relays: the dashboard shows data, the alerts stand on data, and promtool agrees."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import start_http_server
from tests.support import programs
from tests.support.dkim import add_key
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.monitoring import ALERT_TESTS, ALERTS, alerts, dashboard, expressions
from tests.support.pem import self_signed
from tests.support.prometheus_server import JOB, NAMESPACE, Prometheus, until
from tests.support.promql import selectors
from tests.support.relay_process import Relay, RelayConfig, running
from tests.support.scripted_mx import Drop, ScriptedMx

from mailboat.dkim.keys import Algorithm
from mailboat_operator.metrics import Metrics

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CHOICE = {"$namespace": ".*", "$job": JOB, "$pod": ".*", "$__rate_interval": "30s"}
"""What Grafana puts in the place of the variables, where the reader chose nothing."""
RECIPIENTS = ("bob@tls.test", "later@tls.test", "nobody@tls.test", "eve@plain.test", "ann@mx.test", "tom@gone.test")
CATS = [f"cat{number}@cut.test" for number in range(8)]
"""Of one host, which is left alone once it has hung up three times."""
BROKEN = [f"d{place}.broken.test" for place in range(40)]
"""Domains whose DNS servers fail."""

SELECTOR = "mb20260101e"
"""Of a DKIM key: its age is told by it."""


async def test_promtool_takes_the_rules() -> None:
    done = await programs.run(programs.find("promtool"), "check", "rules", "--lint=all", "--lint-fatal", ALERTS)
    assert done.status == 0, done.output


async def test_each_alert_fires_when_it_should_and_only_then() -> None:
    done = await programs.run(programs.find("promtool"), "test", "rules", ALERT_TESTS)
    assert done.status == 0, done.output


@dataclass
class Config(RelayConfig):
    """A relay whose sections of outbound.ini the test writes."""

    sections: list[str] = field(default_factory=list)

    def route(self) -> list[str]:
        return self.sections


def section(domain: str, port: int, *more: str) -> list[str]:
    """A route for one domain to a port of this machine."""
    return [f"[route:to-{port}]", f"domains={domain}", f"hosts=127.0.0.1:{port}", *more]


@dataclass
class World:
    """Where mail goes: hosts that take it by TLS and in plain text, that hang up, that know no password; and DNS."""

    tls: ScriptedMx
    plain: ScriptedMx
    cutter: ScriptedMx
    login: ScriptedMx
    dns: DnsServer

    def routes(self, secret: Path) -> list[str]:
        """How a relay finds them."""
        return [
            *section("tls.test", self.tls.port),
            *section("plain.test", self.plain.port),
            *section("cut.test", self.cutter.port),
            *section("login.test", self.login.port, "auth_user=relay", f"auth_pass_file={secret}", "auth_type=PLAIN"),
        ]

    def main(self) -> list[str]:
        """Keys of `[main]`; what is deferred is due again soon."""
        return [f"dns_servers={self.dns.endpoint}", f"mx_port={self.tls.port}", "temp_fail_intervals=5s*100"]


@pytest.fixture
def operator_port() -> Iterator[int]:
    """Where the metrics of an operator are that has nothing to do."""
    server, thread = start_http_server(0, "127.0.0.1", Metrics("1.2.3").registry)
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All of them, ready."""
    key, certificate = self_signed("mx.test")
    (tmp_path / "mx.pem").write_bytes(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "mx.pem")
    async with contextlib.AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(ScriptedMx.start()) for _ in range(4)]
        tls, plain, cutter, login = hosts
        dns = await stack.enter_async_context(DnsServer.start())
        tls.starttls(context)
        tls.on_rcpt("later@tls.test", "451 4.7.1 Later")
        tls.on_rcpt("nobody@tls.test", "550 5.1.1 Nobody")
        cutter.on(".", Drop())
        login.starttls(context)
        login.extensions_in_tls = ["AUTH PLAIN"]
        login.on("AUTH", "535 5.7.8 No")
        dns.zone.mx("mx.test", (10, "a.mx.test"))
        dns.zone.a("a.mx.test", "127.0.0.1")
        dns.zone.behaviours |= {(domain, "*"): Behaviour.SERVFAIL for domain in BROKEN}
        yield World(tls, plain, cutter, login, dns)


async def test_promtool_finds_no_fault_with_the_names_of_the_metrics(tmp_path: Path, world: World) -> None:
    async with running(Config(tmp_path / "relay", world.plain.port)) as relay:
        _, text = await relay.http("/metrics")
    done = await programs.run(programs.find("promtool"), "check", "metrics", stdin=text.encode())
    assert (done.status, done.output) == (0, "")


def give_a_faulty_plugin(config: RelayConfig) -> None:
    """One whose hook fails each time."""
    place = config.directory / "plugins.d"
    place.mkdir()
    (place / "faulty.py").write_text("def hook_delivered(hmail, params):\n    raise RuntimeError\n")
    config.put("plugins", "faulty\n")


@contextlib.asynccontextmanager
async def load(relay: Relay) -> AsyncIterator[None]:
    """Mail of every kind with a NUL octet in it, over and over, one message after the other."""

    enough = asyncio.Event()

    async def submit() -> None:
        while not enough.is_set():
            await relay.submit(*RECIPIENTS, body=b"Subject: hi\r\n\r\nGood day.\0\r\n")
            await nonsense(relay)

    # Asked to end, not cancelled: every message is whole, and no cancellation is lost in a client.
    async with asyncio.TaskGroup() as group:
        group.create_task(submit())
        try:
            yield
        finally:
            enough.set()


async def nonsense(relay: Relay) -> None:
    """A command that no client should send, and its refusal."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.config.smtp_port)
    await reader.readline()
    writer.write(b"MAIL FROM:<\r\n")
    assert (await reader.readline()).startswith(b"50")
    writer.close()


def chosen(expression: str) -> str:
    """An expression as Grafana sends it."""
    for variable, value in CHOICE.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


async def test_every_panel_shows_data_of_a_relay_under_load(tmp_path: Path, world: World, operator_port: int) -> None:
    config = Config(tmp_path / "relay", 0, outbound=world.main(), sections=world.routes(tmp_path / "none")[:6])
    give_a_faulty_plugin(config)
    add_key(config, Algorithm.ED25519, selector=SELECTOR)
    config.put("tlsrpt.ini", "organization=Example\ncontact=postmaster@example.com\n")
    config.put("tls.ini", f"key={tmp_path / 'mx.pem'}\ncert={tmp_path / 'mx.pem'}\n")
    async with (
        running(config) as relay,
        Prometheus.start(
            tmp_path / "prometheus", {"relay-0": config.admin_port, "operator-0": operator_port}
        ) as prometheus,
        load(relay),
    ):
        missing = {chosen(expression): title for title, expression in expressions()}

        async def all_seen() -> bool:
            for expression in tuple(missing):
                if await prometheus.has_data(expression):
                    del missing[expression]
            return not missing

        with contextlib.suppress(TimeoutError):
            await until(all_seen)
        assert missing == {}
        (build,) = await prometheus.query("mailboat_build_info")
        assert {variable["name"] for variable in dashboard()["templating"]["list"]} - {"datasource"} <= build[
            "metric"
        ].keys()
        outcomes = await prometheus.query("mailboat_deliveries_total > 0")
        assert {series["metric"]["outcome"] for series in outcomes} >= {"delivered", "deferred", "bounced"}
        versions = await prometheus.query("mailboat_tls_deliveries_total > 0")
        assert {series["metric"]["version"] for series in versions} == {"none", "TLSv1.3"}


PROVOKED = {
    "MailboatAmbiguousDeliveries",
    "MailboatBindFailures",
    "MailboatConfigDiffers",
    "MailboatConfigReloadFailed",
    "MailboatDnsFailing",
    "MailboatHookFailures",
    "MailboatUpstreamAuthRefused",
}


async def test_every_alert_stands_on_data_and_sees_the_trouble_that_is_there(
    tmp_path: Path, world: World, operator_port: int
) -> None:
    (tmp_path / "secret").write_text("wrong")
    config = Config(tmp_path / "relay-0", 0, outbound=world.main(), sections=world.routes(tmp_path / "secret"))
    astray = ["[bind]", "default=192.0.2.77", *section("*", world.plain.port)]
    other = Config(tmp_path / "relay-1", 0, sections=astray)
    give_a_faulty_plugin(config)
    add_key(config, Algorithm.ED25519, selector=SELECTOR)
    config.put("tlsrpt.ini", "organization=Example\ncontact=postmaster@example.com\n")
    for file, pem in zip(("tls_key.pem", "tls_cert.pem"), self_signed("relay.test"), strict=True):
        config.put(file, pem.decode())
    targets = {"relay-0": config.admin_port, "relay-1": other.admin_port, "operator-0": operator_port}
    async with (
        running(config) as relay,
        running(other) as stray,
        Prometheus.start(tmp_path / "prometheus", targets) as prometheus,
    ):
        for domain in BROKEN:
            await relay.submit("eve@plain.test", *CATS, "joe@login.test", f"lin@{domain}")
        other.put("outbound.ini", "concurrency_max=many\n")
        await begun(prometheus, PROVOKED)
        for alert in alerts():
            for selector in selectors(alert.expr):
                assert await prometheus.has_data(selector.text), (alert.name, selector.text)
        rules = await prometheus.alerts()
        assert rules.keys() == {alert.name for alert in alerts()}
        assert {rule["health"] for rule in rules.values()} == {"ok"}, rules
        (missing,) = rules["MailboatBindFailures"]["alerts"]
        assert (missing["labels"]["namespace"], missing["labels"]["pod"]) == (NAMESPACE, "relay-1")
        assert missing["annotations"]["description"].startswith("Relay relay-1 ")
        await stray.kill_all()
        await begun(prometheus, {"MailboatRelayDown"})


async def begun(prometheus: Prometheus, names: set[str]) -> None:
    """Wait until Prometheus sees the trouble of these alerts; each tells nobody before its time is over."""
    missing = set(names)

    async def seen() -> bool:
        rules = await prometheus.alerts()
        missing.difference_update(name for name, rule in rules.items() if rule["state"] in ("pending", "firing"))
        return not missing

    with contextlib.suppress(TimeoutError):
        await until(seen)
    assert missing == set()

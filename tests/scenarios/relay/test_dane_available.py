"""Whether DNS answers are validated, without which there is no DANE: what a whole relay says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.dns_server import DnsServer
from tests.support.relay_process import RelayConfig, running


@pytest.mark.parametrize(
    ("validates", "trust_ad", "available"),
    [(True, "loopback", True), (True, "none", False), (False, "loopback", False)],
)
async def test_metrics_and_configz_say_whether_a_trusted_server_validates_and_the_log_warns_once_if_not(
    validates: bool, trust_ad: str, available: bool, tmp_path: Path
) -> None:
    async with DnsServer.start() as dns:
        dns.zone.secure = validates
        settings = [f"dns_servers={dns.endpoint}", f"dns_trust_ad={trust_ad}"]
        async with running(RelayConfig(tmp_path / "config", 9, outbound=settings)) as relay:
            await relay.logged("DANE is available" if available else "DANE is not available: ")
            metrics = await relay.metrics()
            _, configz = await relay.http("/configz")
            assert await relay.stop() == 0
        assert dns.asked_for(".", "NS") == (trust_ad != "none")
    assert metrics["mailboat_dane_available"] == available
    assert configz["dane"] == ("available" if available else "unavailable")
    assert sum("DANE is not available" in line for line in relay.log) == (not available)


async def test_a_reload_that_names_the_server_as_trusted_makes_dane_available(tmp_path: Path) -> None:
    async with DnsServer.start() as dns:
        dns.zone.secure = True
        server = f"dns_servers={dns.endpoint}"
        async with running(RelayConfig(tmp_path / "config", 9, outbound=[server, "dns_trust_ad=none"])) as relay:
            await relay.logged("DANE is not available: no DNS server is trusted to validate: 127.0.0.1")
            relay.config.outbound_is(server, "dns_trust_ad=127.0.0.1")
            await relay.logged("DANE is available")
            await relay.poll(relay.metrics, lambda metrics: metrics["mailboat_dane_available"] == 1)


async def test_configz_says_off_where_no_setting_wants_dane(tmp_path: Path) -> None:
    config = RelayConfig(tmp_path / "config", 9)
    config.put("tls.ini", "[outbound]\ndane=false\n")
    async with running(config) as relay:
        _, configz = await relay.http("/configz")
        assert configz["dane"] == "off"
        config.outbound_is("[route:partner]", "domains=partner.example", "hosts=127.0.0.1:9", "dane=true")
        await relay.poll(lambda: relay.http("/configz"), lambda answer: answer[1]["dane"] == "unavailable")

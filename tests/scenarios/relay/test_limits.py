"""Limits of shaping.ini hold over all workers of a relay, cost no attempt, and say what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.counting_mx import CountingMx
from tests.support.dns_server import DnsServer
from tests.support.relay_process import Relay, RelayConfig, everybody_accepts, running


@pytest.fixture
async def mx() -> AsyncIterator[CountingMx]:
    """Where all mail goes."""
    async with CountingMx.start() as server:
        assert isinstance(server, CountingMx)
        yield server


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """Three domains with the same host."""
    async with DnsServer.start() as server:
        for n in range(8):
            server.zone.mx(f"d{n}.test", (10, "mx.provider.test"))
        server.zone.a("mx.provider.test", "127.0.0.1")
        yield server


class Shaped(RelayConfig):
    """Its mail waits until `outbound_is`."""

    by_mx = False

    def route(self) -> list[str]:
        """To the sink, or by MX."""
        return [] if self.by_mx else super().route()

    def shaped(self, *lines: str) -> None:
        """Write shaping.ini."""
        self.put("shaping.ini", "\n".join(lines) + "\n")

    async def fill(self, relay: Relay, at_least: int) -> int:
        """Both workers have mail; how much there is."""
        count = await everybody_accepts(relay, self.nodes)
        while count < at_least:
            await relay.submit(f"u{count}@d{count % 3}.test")
            count += 1
        return count


def shaped(directory: Path, mx: CountingMx, *lines: str) -> Shaped:
    """A relay of two workers with limits."""
    config = Shaped(directory / "config", mx.port, 2, outbound=["disabled=true"])
    config.shaped(*lines)
    return config


async def test_never_more_connections_than_the_limit_idle_ones_included(tmp_path: Path, mx: CountingMx) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "connections=2")
    async with running(config) as relay:
        count = await config.fill(relay, 60)
        config.outbound_is()
        events = await relay.event("delivered", count)
        assert {event["attempt"] for event in events} == {1}
        assert mx.most_open <= 2
        assert await relay.stop() == 0
    assert len(mx.mails) == count


async def test_no_window_holds_more_messages_than_the_rate_and_none_counts_as_an_attempt(
    tmp_path: Path, mx: CountingMx
) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "rate=8/1s")
    async with running(config) as relay:
        count = await config.fill(relay, 40)
        config.outbound_is()
        events = await relay.event("delivered", count)
        assert {event["attempt"] for event in events} == {1}
        assert mx.fullest(1.0) <= 8
        assert mx.times[-1] - mx.times[0] < 1.5 * count / 8
        held = [event for event in relay.events if event["event"] == "held"]
        assert held
        assert set(Counter(event["entry"] for event in held).values()) == {1}
        assert {event["held_by"] for event in held} == {"limit rate of route:sink"}
        assert await relay.stop() == 0


async def test_domains_of_one_provider_share_its_connections_and_take_turns(
    tmp_path: Path, mx: CountingMx, dns: DnsServer
) -> None:
    config = shaped(tmp_path, mx, "[provider:p]", "mx[]=.provider.test", "sample_mx[]=mx.provider.test")
    config.put(
        "shaping.ini",
        (config.directory / "shaping.ini").read_text() + "connections=2\n[domain:d1.test]\nconnections=1\n",
    )
    config.by_mx = True
    ways = (f"dns_servers={dns.endpoint}", f"mx_port={mx.port}", "inet_prefer=v4-only")
    config.outbound_is("disabled=true", *ways)
    async with running(config) as relay:
        count = await config.fill(relay, 60)
        config.outbound_is(*ways)
        events = await relay.event("delivered", count)
        assert {event["attempt"] for event in events} == {1}
        assert mx.most_open <= 2
        assert {event["domain"] for event in events[: count // 2]} >= {"d0.test", "d1.test", "d2.test"}
        assert await relay.stop() == 0

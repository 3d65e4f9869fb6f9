"""Limits of shaping.ini hold over all workers of a relay, cost no attempt, and say what they hold."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.support.counting_mx import CountingMx, fullest
from tests.support.dns_server import DnsServer
from tests.support.mx_conversation import Drop, Held
from tests.support.one_provider import one_provider
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
    async with one_provider() as server:
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
        assert fullest(mx.times, 1.0) <= 8
        assert mx.times[-1] - mx.times[0] < 1.5 * count / 8
        held = [event for event in relay.events if event["event"] == "held"]
        assert held
        assert set(Counter(event["entry"] for event in held).values()) == {1}
        assert {event["held_by"] for event in held} == {"limit rate of route:sink"}
        assert await relay.stop() == 0


async def test_domains_of_one_provider_share_its_connections_and_take_turns(
    tmp_path: Path, mx: CountingMx, dns: DnsServer
) -> None:
    provider = ("[provider:p]", "mx[]=.provider.test", "sample_mx[]=mx.provider.test", "connections=2")
    config = shaped(tmp_path, mx, *provider, "[domain:d1.test]", "connections=1")
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


async def test_a_killed_worker_gives_its_connections_back(tmp_path: Path, mx: CountingMx) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "connections=1")
    mx.on(".", Held("250 2.0.0 ok"))
    async with running(config) as relay:
        count = await config.fill(relay, 8)
        config.outbound_is()
        await mx.wait_for(lambda server: server.mails)
        for worker in relay.workers():
            os.kill(worker, signal.SIGKILL)
        await relay.logged("it is restarted", 2)
        mx.release()
        await relay.event("delivered", count)
        assert mx.most_open == 1


async def test_after_a_kill_nothing_leaves_early(tmp_path: Path, mx: CountingMx) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "rate=1/1h")
    config.outbound_is()
    async with running(config) as relay:
        await relay.submit("first@d.test")
        await relay.event("delivered")
        await relay.kill_all()
    async with running(config) as relay:
        id_ = await relay.submit("second@d.test")
        [held] = await relay.event("held")
        until, now = (datetime.fromisoformat(held[name]).timestamp() for name in ("until", "time"))
        assert 3500 < until - now < 3700
        [shown] = [entry for entry in await relay.queue() if entry["id"].startswith(id_)]
        assert (shown["held_by"], shown["attempts"]) == ("limit rate of route:sink", 0)
        assert abs(datetime.fromisoformat(shown["held_until"]).timestamp() - until) < 1
        assert await relay.stop() == 0
    assert len(mx.mails) == 1


async def test_a_limit_that_comes_with_a_reload_counts_connections_that_were_idle_before(
    tmp_path: Path, mx: CountingMx
) -> None:
    config = shaped(tmp_path, mx, "[main]")
    config.outbound_is()
    async with running(config) as relay:
        await relay.submit("first@d.test")
        await relay.event("delivered")
        assert not mx.connections[0].closed
        _, before = await relay.http("/configz")
        config.shaped("[route:sink]", "connections=1")
        # It is the configuration of the last worker.
        await relay.poll(lambda: relay.http("/configz"), lambda answer: answer[1]["hash"] != before["hash"])
        await mx.wait_for(lambda server: server.connections[0].closed)
        count = await config.fill(relay, 8)
        await relay.event("delivered", 1 + count)
        assert mx.most_open == 1
        config.shaped("[main]")
        await relay.event("config", 2)
        await relay.submit("last@d.test")
        await relay.event("delivered", 2 + count)
        assert await relay.stop() == 0


async def test_recipients_are_counted_by_their_own_rate(tmp_path: Path, mx: CountingMx) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "recipient_rate=8/1s")
    async with running(config) as relay:
        for n in range(12):
            await relay.submit(f"a{n}@d.test", f"b{n}@d.test")
        config.outbound_is()
        events = await relay.event("delivered", 12)
        assert {(event["attempt"], len(event["recipients"])) for event in events} == {(1, 2)}
        assert 2 * fullest(mx.times, 1.0) <= 8
        assert await relay.stop() == 0


async def test_connections_are_begun_no_faster_than_their_rate(tmp_path: Path, mx: CountingMx) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "connection_rate=5/1s", "messages_per_connection=1")
    async with running(config) as relay:
        count = await config.fill(relay, 16)
        config.outbound_is()
        events = await relay.event("delivered", count)
        assert {event["attempt"] for event in events} == {1}
        assert len(mx.accepted) == count
        assert fullest(mx.accepted, 1.0) <= 5
        assert await relay.stop() == 0


async def test_connections_that_fail_or_break_are_given_back(tmp_path: Path, mx: CountingMx) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "connections=1")
    mx.on("CONNECT", "421 4.3.2 busy", "220 mx.test ESMTP")
    mx.on("DATA", Drop(), "354 go ahead")
    async with running(config) as relay:
        count = await config.fill(relay, 8)
        config.outbound_is("temp_fail_intervals=5s*20")
        await relay.event("delivered", count)
        await mx.hang_up()
        for n in range(4):
            await relay.submit(f"late{n}@d{n}.test")
        await relay.event("delivered", count + 4)
        assert mx.most_open == 1
        assert await relay.stop() == 0


async def test_mail_that_comes_while_limits_are_reached_is_all_delivered(tmp_path: Path, mx: CountingMx) -> None:
    config = shaped(tmp_path, mx, "[route:sink]", "connections=2", "rate=60/1s burst 20")
    config.outbound_is()
    async with running(config) as relay:
        for n in range(150):
            await relay.submit(f"u{n}@d{n % 8}.test")
        await relay.event("delivered", 150)
        assert mx.most_open <= 2
        assert fullest(mx.times, 1.0) <= 60
        assert not [line for line in relay.log if "Traceback" in line or "restarted" in line]
        assert await relay.stop() == 0

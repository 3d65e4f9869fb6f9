"""What waits in a relay of two workers is seen, with what holds it and until when."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.counting_mx import CountingMx
from tests.support.dns_server import DnsServer
from tests.support.mx_conversation import Held
from tests.support.one_provider import one_provider
from tests.support.relay_process import Relay, RelayConfig, everybody_accepts, running

METRIC = "mailboat_shaping_waiting_entries"


@pytest.fixture
async def mx() -> AsyncIterator[CountingMx]:
    """Where all mail goes."""
    async with CountingMx.start() as server:
        assert isinstance(server, CountingMx)
        yield server


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """Eight domains of one provider."""
    async with one_provider() as server:
        yield server


class ByMx(RelayConfig):
    """Mail goes by MX."""

    def route(self) -> list[str]:
        return []


def by_mx(directory: Path, mx: CountingMx, dns: DnsServer, *lines: str) -> ByMx:
    ways = [f"dns_servers={dns.endpoint}", f"mx_port={mx.port}", "inet_prefer=v4-only"]
    config = ByMx(directory / "config", mx.port, 2, outbound=ways)
    provider = ["[provider:p]", "mx[]=.provider.test", "sample_mx[]=mx.provider.test", *lines]
    config.put("shaping.ini", "\n".join(provider) + "\n")
    return config


async def fill(relay: Relay, config: RelayConfig, at_least: int) -> int:
    """Both workers have mail; how much there is."""
    count = await everybody_accepts(relay, config.nodes)
    while count < at_least:
        await relay.submit(f"u{count}@d{count % 8}.test")
        count += 1
    return count


async def rows(relay: Relay, **query: str) -> list[dict[str, Any]]:
    status, answer = await relay.http("/v1/destinations?" + "&".join(f"{k}={v}" for k, v in query.items()))
    assert status == 200
    return list(answer["destinations"])


async def run(*arguments: str) -> tuple[int, str]:
    """A `mailboat` command: its exit status, and its standard output."""
    command = (sys.executable, "-c", "from mailboat.cli import main; main()", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_the_mail_that_a_rate_holds_is_shown_with_its_limit(
    tmp_path: Path, mx: CountingMx, dns: DnsServer
) -> None:
    config = by_mx(tmp_path, mx, dns, "rate=1/1h")
    async with running(config) as relay:
        count = await fill(relay, config, 12)
        await mx.wait_for(lambda server: server.mails)
        [site] = await relay.poll(
            lambda: rows(relay, by="site"),
            lambda found: len(found) == 1 and found[0]["waiting"] == count - 1 and found[0]["held_by"],
        )
        assert site["destination"] == "mx.provider.test"
        assert (site["provider"], site["source"], site["rate"]) == ("p", "default", "1/1h")
        assert site["held_by"] == "limit rate of provider:p"
        until = datetime.fromisoformat(site["next_attempt_at"]).timestamp()
        assert 3000 < until - time.time() < 3700
        domains = await rows(relay, by="domain", sort="oldest")
        assert {row["destination"] for row in domains} >= {"d0.test", "d1.test", "d2.test"}
        assert sum(row["waiting"] for row in domains) == count - 1
        assert domains[0]["oldest"] == max(row["oldest"] for row in domains)
        for by, name in (("tenant", "default"), ("source", "default")):
            [row] = await rows(relay, by=by)
            assert (row["destination"], row["waiting"]) == (name, count - 1)

        series = f"{METRIC}{{cause=rate}}{{provider=p}}"
        metrics = await relay.poll(relay.metrics, lambda found: found.get(series) == count - 1)
        assert [name for name, number in metrics.items() if name.startswith(METRIC) and number] == [series]

        status, printed = await run("shaping", "explain", "d1.test", "--json", "--config", str(config.directory))
        told = json.loads(printed)
        assert (told["provider"], told["held_by"], told["until"] is None) == ("p", "limit rate of provider:p", False)

        status, printed = await run("top", "--once", "--by", "site", "--config", str(config.directory))
        assert status == 0
        assert [line.split()[:3] for line in printed.splitlines()] == [
            ["DESTINATION", "PROVIDER", "WAITING"],
            ["mx.provider.test", "p", str(count - 1)],
        ]
        assert "limit rate of provider:p" in printed
        status, printed = await run("top", "--json", "--by", "tenant", "--config", str(config.directory))
        assert json.loads(printed)["destinations"][0]["waiting"] == count - 1
        assert await relay.stop() == 0


async def test_the_mail_that_waits_for_a_host_is_held_by_its_window(
    tmp_path: Path, mx: CountingMx, dns: DnsServer
) -> None:
    config = by_mx(tmp_path, mx, dns)
    mx.on(".", Held("250 2.0.0 ok"))
    async with running(config) as relay:
        count = await fill(relay, config, 20)

        def all_wait(found: list[dict[str, Any]]) -> bool:
            return len(found) == 1 and found[0]["connections"] == 4 and found[0]["held_by"] == "window"

        [site] = await relay.poll(lambda: rows(relay, by="site"), all_wait)
        assert (site["waiting"], site["window"]) == (count, 4)
        assert "window" in {entry["held_by"] for entry in await relay.queue()}
        mx.release()
        await relay.event("delivered", count)
        await relay.poll(lambda: rows(relay), lambda found: not found)
        assert await run("top", "--config", str(config.directory)) == (0, "nothing waits\n")
        assert await relay.stop() == 0

"""Every `mailboat queue` verb, on a running relay, and the reading ones on a stopped one."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx


async def queue(relay: Relay, *words: str, code: int = 0) -> str:
    """Run a verb; what it printed."""
    status, out, err = await command("queue", *words, "--config", str(relay.config.directory))
    assert status == code, err
    return out


async def listed(relay: Relay, *words: str) -> Sequence[dict[str, Any]]:
    """The entries of `queue list --json`."""
    return [json.loads(line) for line in (await queue(relay, "list", "--json", *words)).splitlines()]


@pytest.mark.parametrize("nodes", [0, 2])
async def test_verbs_change_a_running_relay(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    for name in ("a@one.test", "b@two.test", "c@two.test"):
        mx.on_rcpt(name, "450 4.2.0 later", "250 2.1.5 ok")
    async with running(RelayConfig(tmp_path / "config", mx.port, nodes)) as relay:
        ids = await asyncio.gather(*(relay.submit(name) for name in ("a@one.test", "b@two.test", "c@two.test")))
        await relay.event("deferred", 3)
        await relay.poll(relay.queue, lambda entries: [e["state"] for e in entries] == ["deferred"] * 3)

        assert {entry["id"].partition(".")[0] for entry in await listed(relay)} == set(ids)
        assert [e["domain"] for e in await listed(relay, "--domain", "one.test")] == ["one.test"]
        assert "450 4.2.0 later" in await queue(relay, "show", ids[0])
        assert "3" in await queue(relay, "stats")

        await queue(relay, "hold", "--domain", "two.test")
        assert [e["domain"] for e in await listed(relay, "--state", "held")] == ["two.test"] * 2
        await queue(relay, "flush", "--domain", "one.test")
        await relay.event("delivered", recipients=["a@one.test"])
        await queue(relay, "delete", ids[2])
        assert len(await relay.poll(relay.queue, lambda entries: len(entries) == 1)) == 1
        await queue(relay, "release", ids[1])
        await relay.event("delivered", recipients=["b@two.test"])
        await relay.settled()
    assert sorted(mail.recipients[0] for mail in mx.mails) == ["a@one.test", "b@two.test"]


async def test_reading_verbs_work_on_a_stopped_relay_and_changing_ones_say_why_not(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port, 2, outbound=["disabled=true"])) as relay:
        ids = {await relay.submit(f"u{n}@d{n}.test") for n in range(6)}
        assert await relay.stop() == 0
        assert {entry["id"].partition(".")[0] for entry in await listed(relay)} == ids
        name = min(ids)
        assert name in await queue(relay, "show", name)
        assert "6" in await queue(relay, "stats")
        await queue(relay, "flush", code=69)


@pytest.mark.parametrize("nodes", [0, 2])
async def test_sighup_tries_all_deferred_mail_now(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    people = [f"u{n}@d{n}.test" for n in range(5)]
    for name in people:
        mx.on_rcpt(name, "450 4.2.0 later", "250 2.1.5 ok")
    async with running(RelayConfig(tmp_path / "config", mx.port, nodes)) as relay:
        for name in people:
            await relay.submit(name)
        await relay.event("deferred", 5)
        await relay.poll(relay.queue, lambda entries: [e["attempts"] for e in entries] == [1] * 5)
        relay.signal(signal.SIGHUP)
        await relay.event("delivered", 5)
        await relay.settled()
        assert relay.process.returncode is None
    assert len(mx.mails) == 5


@pytest.mark.parametrize("nodes", [0, 2])
async def test_a_page_goes_on_where_the_last_one_ended(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes, outbound=["disabled=true"])
    async with running(config) as relay:
        ids = {await relay.submit(f"u{n}@d{n}.test") for n in range(10)}
        found: list[str] = []
        after = ""
        while True:
            status, page = await relay.http(f"/v1/queue?limit=3&after={after}")
            assert status == 200, page
            assert len(page["messages"]) <= 3
            found += [entry["id"].partition(".")[0] for entry in page["messages"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert len(found) == 10
        assert set(found) == ids
        for nonsense in ("x", "0:x", "7:", "0:9:9:9", "%C2%B2:"):
            status, _ = await relay.http(f"/v1/queue?after={nonsense}")
            assert status in (200, 400), nonsense

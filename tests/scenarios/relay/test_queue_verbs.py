"""Every `mailboat queue` verb, on a running relay, and the reading ones on a stopped one."""

from __future__ import annotations

import asyncio
import json
import os
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


async def test_verbs_work_on_a_stopped_relay_but_for_flush_which_says_why_not(tmp_path: Path, mx: ScriptedMx) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port, 2, outbound=["disabled=true"])) as relay:
        ids = {await relay.submit(f"u{n}@d{n}.test") for n in range(6)}
        assert await relay.stop() == 0
        assert {entry["id"].partition(".")[0] for entry in await listed(relay)} == ids
        name = min(ids)
        assert name in await queue(relay, "show", name)
        assert "6" in await queue(relay, "stats")
        await queue(relay, "flush", code=69)
        assert "1 held" in await queue(relay, "hold", name)
        assert "6 deleted" in await queue(relay, "delete", "--all")
        assert await listed(relay) == []


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


async def test_sighup_is_an_attempt_like_another_and_leaves_held_mail_alone(tmp_path: Path, mx: ScriptedMx) -> None:
    """Also where a terminal sends it to every process of the relay: the supervisor alone acts on it."""
    mx.on_rcpt("a@one.test", "450 4.2.0 later")
    mx.on_rcpt("b@two.test", "450 4.2.0 later")
    async with running(RelayConfig(tmp_path / "config", mx.port, 2)) as relay:
        await relay.submit("a@one.test")
        await relay.submit("b@two.test")
        await relay.event("deferred", 2)
        await queue(relay, "hold", "--domain", "two.test")
        os.killpg(relay.process.pid, signal.SIGHUP)
        deferred = await relay.event("deferred", 3)
        assert (deferred[2]["domain"], deferred[2]["attempt"]) == ("one.test", 2)
        entries = await relay.poll(relay.queue, lambda entries: sorted(e["attempts"] for e in entries) == [1, 2])
        assert {entry["domain"]: entry["state"] for entry in entries} == {"one.test": "deferred", "two.test": "held"}
        assert await relay.stop() == 0
    assert sum("are attempted now" in line for line in relay.log) == 1
    assert len([event for event in relay.events if event["event"] == "deferred"]) == 3


async def test_mail_flushed_by_domain_is_delivered_once_and_never_heard_of(tmp_path: Path, mx: ScriptedMx) -> None:
    """The time that it was to be tried at comes and goes: a later message that waits as long says when."""
    mx.on_rcpt("a@one.test", "450 4.2.0 later", "250 2.1.5 ok")
    mx.on_rcpt("b@two.test", "450 4.2.0 later", "250 2.1.5 ok")
    config = RelayConfig(tmp_path / "config", mx.port, outbound=["temp_fail_intervals=20s"])
    async with running(config) as relay:
        await relay.submit("a@one.test")
        await relay.event("deferred")
        await relay.poll(relay.queue, lambda entries: [e["attempts"] for e in entries] == [1])
        assert await relay.http("/v1/queue/flush", "POST", {"domain": "one.test"}) == (200, {"count": 1})
        await relay.event("delivered")
        await relay.submit("b@two.test")
        await relay.event("delivered", 2)
        await relay.settled()
        kinds = [(event["event"], event["domain"]) for event in relay.events if "domain" in event]
    assert kinds.count(("delivered", "one.test")) == 1
    assert [kind for kind, domain in kinds if domain == "one.test" and kind != "attempt"] == ["deferred", "delivered"]
    assert [mail.recipients for mail in mx.mails] == [["a@one.test"], ["b@two.test"]]


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

"""`mailboat queue suspend`, `resume` and `suspensions` on a relay with two workers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx


async def queue(relay: Relay, *words: str, code: int = 0) -> Any:
    """Run a verb; what it printed, or its error."""
    status, out, err = await command("queue", *words, "--config", str(relay.config.directory))
    assert status == code, err
    return out.strip() if code == 0 else err


@pytest.fixture
def config(tmp_path: Path, mx: ScriptedMx) -> RelayConfig:
    return RelayConfig(tmp_path / "config", mx.port, 2)


async def suspended(relay: Relay, count: int) -> list[dict[str, Any]]:
    """Wait until so many entries are suspended."""
    entries: list[dict[str, Any]] = await relay.poll(
        relay.queue, lambda found: len(found) == count and all(e["last_reply"].startswith("suspended") for e in found)
    )
    return entries


async def test_suspended_mail_waits_and_leaves_when_it_is_resumed(config: RelayConfig, mx: ScriptedMx) -> None:
    """Mail that comes is not attempted, by no worker; other mail is; after kill -9 it still holds."""
    async with running(config) as relay:
        name = await queue(relay, "suspend", "--domain", "shut.test", "--for", "15m", "--reason", "they move")
        (one,) = [json.loads(line) for line in (await queue(relay, "suspensions", "--json")).splitlines()]
        assert (one["id"], one["domain"], one["reason"]) == (name, "shut.test", "they move")
        await asyncio.gather(*(relay.submit(f"u{n}@shut.test") for n in range(8)), relay.submit("u@open.test"))
        await relay.event("delivered", recipients=["u@open.test"])
        for entry in await suspended(relay, 8):
            assert (entry["held_by"], entry["held_until"]) == (f"suspension {name}", one["until"])
            assert entry["attempts"] == 0
            assert f"by suspension {name}: they move" in entry["last_reply"]
        await queue(relay, "flush")
        await suspended(relay, 8)
        await relay.kill_all()
    async with running(config) as relay:
        assert (await queue(relay, "suspensions")).startswith(name)
        await relay.submit("u8@shut.test")
        await suspended(relay, 9)
        assert len(mx.mails) == 1
        await queue(relay, "resume", name)
        await relay.settled()
        assert await queue(relay, "suspensions") == ""
        assert "no suspension" in await queue(relay, "resume", name, code=1)
    assert len(mx.mails) == 10


async def test_only_the_mail_of_a_sender_is_suspended(config: RelayConfig, mx: ScriptedMx) -> None:
    """Others' mail to the same hosts goes on."""
    async with running(config) as relay:
        await queue(relay, "suspend", "--sender", "shop.test", "--for", "1h", "--reason", "a campaign that went wrong")
        await asyncio.gather(
            *(relay.submit(f"u{n}@there.test", sender="a@shop.test") for n in range(4)),
            *(relay.submit(f"v{n}@there.test") for n in range(4)),
        )
        await relay.event("delivered", 4)
        await suspended(relay, 4)
    assert sorted(mail.recipients[0] for mail in mx.mails) == [f"v{n}@there.test" for n in range(4)]


async def test_a_suspension_needs_mail_a_time_and_a_reason(config: RelayConfig) -> None:
    async with running(config) as relay:
        for body, fault in (
            ({"for": "1h", "reason": "x"}, "give at least one of"),
            ({"domain": "a.test", "reason": "x"}, "for: "),
            ({"domain": "a.test", "for": "1 year", "reason": "x"}, "for: "),
            ({"domain": "a.test", "for": "1h"}, "reason: "),
        ):
            status, problem = await relay.http("/v1/suspensions", "POST", body)
            assert status == 400
            assert problem["detail"].startswith(fault)

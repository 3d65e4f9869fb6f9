"""`mailboat queue bounce` and `reroute` on a relay with two workers, and the admin API behind them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.scripted_mx import Held, ScriptedMx


async def queue(relay: Relay, *words: str, code: int = 0) -> Any:
    """Run a verb with `--json`; what it printed, or its error."""
    status, out, err = await command("queue", *words, "--json", "--config", str(relay.config.directory))
    assert status == code, err
    return json.loads(out) if code == 0 else err


@pytest.fixture
def config(tmp_path: Path, mx: ScriptedMx) -> RelayConfig:
    mx.on("MAIL", "450 4.3.2 later")
    return RelayConfig(tmp_path / "config", mx.port, 2, outbound=["temp_fail_intervals=1h, 1h"])


async def deferred(relay: Relay, *recipients: str, sender: str = "alice@sender.test") -> None:
    """Queue a message for each, and have its first attempt fail."""
    before = len(await relay.queue())
    await asyncio.gather(*(relay.submit(to, sender=sender) for to in recipients))
    count = before + len(recipients)
    await relay.poll(relay.queue, lambda entries: [e["state"] for e in entries] == ["deferred"] * count)


async def test_bounced_mail_leaves_the_queue_with_a_bounce_message_each(config: RelayConfig, mx: ScriptedMx) -> None:
    async with running(config) as relay:
        await deferred(relay, *(f"u{n}@gone.test" for n in range(12)), "u@there.test", "u@sub.gone.test")
        bounce = ("bounce", "--domain", "gone.test", "--reason", "the domain is closed")
        assert await queue(relay, *bounce) == {"count": 12}
        left = await relay.queue()
        own = sorted(e["recipients"][0] for e in left if e["sender"])
        assert own == ["u@sub.gone.test", "u@there.test"]
        assert [e["recipients"] for e in left if not e["sender"]] == [["alice@sender.test"]] * 12
        events = await relay.event("bounced", 12)
        assert {e["domain"] for e in events} == {"gone.test"}
        assert await queue(relay, *bounce) == {"count": 0}


async def test_the_bounce_message_tells_the_reason(config: RelayConfig, mx: ScriptedMx) -> None:
    async with running(config) as relay:
        await deferred(relay, "u@gone.test")
        mx.on("MAIL", "250 2.1.0 ok")
        await queue(relay, "bounce", "--sender", "alice@sender.test", "--reason", "the domain is closed")
        await relay.settled()
    (mail,) = mx.mails
    assert mail.recipients == ["alice@sender.test"]
    assert b"Status: 5.7.1" in mail.body
    assert b"the domain is closed" in mail.body


async def test_without_dsn_nobody_is_told(config: RelayConfig) -> None:
    async with running(config) as relay:
        await deferred(relay, "u@gone.test", "v@gone.test")
        assert await queue(relay, "bounce", "--domain", "gone.test", "--reason", "closed", "--no-dsn") == {"count": 2}
        assert await relay.queue() == []
        await relay.event("dropped", 2)


async def test_a_bounce_to_the_domain_that_is_bounced_stays(config: RelayConfig) -> None:
    """Else the bounce message of mail within a domain would vanish with it."""
    async with running(config) as relay:
        await deferred(relay, "u@gone.test", sender="alice@gone.test")
        assert await queue(relay, "bounce", "--domain", "gone.test", "--reason", "closed") == {"count": 1}
        assert [e["recipients"] for e in await relay.queue()] == [["alice@gone.test"]]


async def test_mail_that_is_being_attempted_is_bounced_when_the_attempt_has_failed(
    config: RelayConfig, mx: ScriptedMx
) -> None:
    async with running(config) as relay:
        mx.on("MAIL", Held("450 4.3.2 later"))
        await relay.submit("u@gone.test")
        await relay.event("attempt")
        assert await queue(relay, "bounce", "--domain", "gone.test", "--reason", "closed") == {"count": 0}
        mx.release()
        await relay.event("deferred")
        await relay.event("bounced")


async def test_rerouted_mail_goes_by_the_route_at_once_and_after_a_restart(config: RelayConfig, mx: ScriptedMx) -> None:
    async with ScriptedMx.start() as other:
        other.on("MAIL", "450 4.3.2 later")
        route = ["[route:other]", "domains=other.test", f"hosts=127.0.0.1:{other.port}"]
        config.outbound_is("temp_fail_intervals=1h, 1h, 1h", *route)
        async with running(config) as relay:
            await deferred(relay, *(f"u{n}@gone.test" for n in range(6)), "u@there.test")
            words = ("reroute", "--domain", "gone.test", "--route", "other", "--reason", "their hosts are down")
            assert await queue(relay, *words) == {"count": 6}
            await relay.event("deferred", 13)
            await relay.kill_all()
        other.on("MAIL", "250 2.1.0 ok")
        async with running(config) as relay:
            await queue(relay, "flush", "--domain", "gone.test")
            await relay.event("delivered", 6)
        assert sorted(mail.recipients[0] for mail in other.mails) == [f"u{n}@gone.test" for n in range(6)]
        assert not mx.mails


async def test_what_cannot_be_selected_is_refused_and_named(config: RelayConfig) -> None:
    async with running(config) as relay:
        why = ("--reason", "x")
        assert "at least one of" in await queue(relay, "bounce", *why, code=64)
        assert "domain: " in await queue(relay, "bounce", "--domain", "a b", *why, code=64)
        assert "provider: there is no provider nosuch" in await queue(
            relay, "bounce", "--provider", "nosuch", *why, code=64
        )
        assert "[route:nosuch]" in await queue(
            relay, "reroute", "--tenant", "default", "--route", "nosuch", *why, code=64
        )
        status, problem = await relay.http("/v1/queue/bounce", "POST", {"domain": "a.test", "reason": " "})
        assert (status, problem["detail"]) == (400, "reason: must be a string that is not empty")

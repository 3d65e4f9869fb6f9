"""Plugins that sleep, raise, leak tasks or answer garbage at each point of delivery: mail flows, and it is counted."""

from __future__ import annotations

import pytest
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import running
from tests.support.scripted_mx import ScriptedMx

POINTS = {
    "send_email": "hmail",
    "get_mx": "hmail, domain",
    "deferred": "hmail, info",
    "bounce": "hmail, error",
    "delivered": "hmail, params",
}
HABITS = {
    "raises": ("raised", "raise RuntimeError('a bug')"),
    "leaves": ("raised", "raise SystemExit(3)"),
    "sleeps": ("timeout", "await asyncio.sleep(3600)"),
    "talks nonsense": ("nonsense", "return 'nonsense'"),
    "leaks": ("", "tasks.append(asyncio.create_task(asyncio.sleep(3600)))"),
    "swallows cancellation": ("timeout", "await stubborn()"),
    "blocks a thread": ("timeout", "time.sleep(3600)"),
}


def domain_of(point: str) -> str:
    """Where the hook of this point misbehaves, and no other."""
    return f"{point.replace('_', '-')}.test"


STUBBORN = """
import asyncio, time
tasks = []
async def stubborn():
    for _ in range(3):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""


@pytest.mark.parametrize("habit", HABITS)
async def test_mail_flows_and_the_failure_is_counted(config: PluginConfig, mx: ScriptedMx, habit: str) -> None:
    """For each point a domain: one recipient is taken, one put off, one refused, as without the plugin."""
    reason, code = HABITS[habit]
    define = "def" if habit == "blocks a thread" else "async def"
    hooks = "\n".join(
        f"{define} hook_{point}({parameters}):\n    if hmail.todo.domain == '{domain_of(point)}':\n        {code}"
        for point, parameters in POINTS.items()
    )
    config.plug("p", f"{STUBBORN}\n{hooks}\n")
    config.put("plugin_timeout", "0.2\n")
    for point in POINTS:
        mx.on_rcpt(f"grey@{domain_of(point)}", "450 4.7.1 grey")
        mx.on_rcpt(f"bad@{domain_of(point)}", "550 5.1.1 no such user")
    async with running(config) as relay:
        for point in POINTS:
            await relay.submit(*(f"{who}@{domain_of(point)}" for who in ("ok", "grey", "bad")))
        for domain in (domain_of(point) for point in POINTS if point != "get_mx" or not reason):
            await relay.event("delivered", recipients=[f"ok@{domain}"])
            await relay.event("deferred", recipients=[f"grey@{domain}"])
            await relay.event("bounced", recipients=[f"bad@{domain}"])
        if reason:
            (put_off,) = await relay.event("deferred", domain=domain_of("get_mx"))
            assert put_off["attempt"] == 0
            names = [f"mailboat_hook_failures_total{{point={point}}}{{reason={reason}}}" for point in POINTS]
            await relay.poll(relay.metrics, lambda metrics: [metrics.get(name) for name in names] == [1] * 5)
            assert any("plugin p" in line for line in relay.log)
        assert await relay.stop() == 0
    assert [mail for mail in mx.mails if not mail.sender and mail.recipients != ["alice@sender.test"]] == []


@pytest.mark.parametrize("point", POINTS)
async def test_a_hook_that_hangs_does_not_keep_the_relay_from_ending(
    config: PluginConfig, mx: ScriptedMx, point: str
) -> None:
    mx.on_rcpt("grey@there.test", "450 4.7.1 grey")
    mx.on_rcpt("bad@there.test", "550 5.1.1 no such user")
    config.plug(
        "p",
        f"""
        import asyncio
        async def hook_{point}({POINTS[point]}):
            print("here", file=__import__("sys").stderr, flush=True)
            await asyncio.sleep(3600)
        """,
    )
    async with running(config, options=["--drain-timeout", "0.5"]) as relay:
        await relay.submit("ok@there.test", "grey@there.test", "bad@there.test")
        await relay.logged("here")
        assert await relay.stop() == 0
    took = [mail for mail in mx.mails if mail.recipients == ["ok@there.test"]]
    async with running(config) as relay:
        entries = await relay.queue(domain="there.test")
    left = {address for entry in entries for address in entry["recipients"]}
    if took:
        assert "ok@there.test" not in left, "who has it does not get it twice"
    assert "grey@there.test" in left


@pytest.mark.parametrize("point", ["delivered", "deferred", "bounce"])
async def test_a_kill_while_a_hook_runs_after_an_attempt_delivers_nothing_twice(
    config: PluginConfig, mx: ScriptedMx, point: str
) -> None:
    """Who has the message is on stable storage before the hook is called; who was put off or refused is tried again."""
    mx.on_rcpt("grey@there.test", "450 4.7.1 grey", "250 2.1.5 ok")
    mx.on_rcpt("bad@there.test", "550 5.1.1 no such user")
    config.plug(
        "p",
        f"""
        import asyncio, sys
        async def hook_{point}({POINTS[point]}):
            print("here", file=sys.stderr, flush=True)
            await asyncio.sleep(3600)
        """,
    )
    async with running(config) as relay:
        await relay.submit("ok@there.test", "grey@there.test", "bad@there.test")
        # Behind `delivered` the bounce is on its way too: killed between reply and record of it, it comes twice.
        await relay.logged("here", times=2 if point == "delivered" else 1)
        await relay.kill_all()
    config.put("plugins", "")
    async with running(config) as relay:
        await relay.http("/v1/queue/flush", "POST", {"domain": "there.test"})
        await mx.wait_for(lambda mx: len(mx.mails) == 3)
        await relay.settled()
    received = sorted(address for mail in mx.mails for address in mail.recipients)
    assert received == ["alice@sender.test", "grey@there.test", "ok@there.test"]

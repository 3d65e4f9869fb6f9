"""Rules from replies suspend mail over all workers of a relay, over a kill, and let one connection try first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.scenarios.relay.test_limits import Shaped
from tests.support.counting_mx import CountingMx
from tests.support.relay_process import everybody_accepts, running

SLOW = "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred"
RULE = (
    "[rule:slow]",
    "on=route:sink",
    "stage=mail",
    "reply[]=421 4.7.0 [TSS#] *",
    f"sample[]={SLOW}",
    "action[]=suspend",
    "action[]=alert",
)


@pytest.fixture
async def mx() -> AsyncIterator[CountingMx]:
    """Where all mail goes."""
    async with CountingMx.start() as server:
        assert isinstance(server, CountingMx)
        yield server


def ruled(directory: Path, mx: CountingMx, *lines: str) -> Shaped:
    """A relay of two workers with a rule."""
    config = Shaped(directory / "config", mx.port, 2)
    config.shaped(*RULE, *lines)
    config.outbound_is()
    return config


async def test_what_fires_a_rule_suspends_mail_for_both_workers_and_after_a_kill(
    tmp_path: Path, mx: CountingMx
) -> None:
    config = ruled(tmp_path, mx, "trigger=2/1h", "for=2h, 4h")
    mx.on("MAIL", SLOW)
    async with running(config) as relay:
        await relay.submit("one@d1.test")
        await relay.event("deferred")
        await relay.submit("two@d2.test")
        (begun,) = await relay.event("shaping.override", result="begin")
        assert (begun["scope"], begun["action"], begun["why"]) == ("route:sink", "suspend", "rule slow")
        assert (begun["matches"], begun["reply"]) == (2, SLOW)
        until, now = (datetime.fromisoformat(begun[name]).timestamp() for name in ("until", "time"))
        assert 7190 < until - now < 7210
        await relay.logged("[rule:slow]")
        mx.on("MAIL", "250 2.1.0 ok")
        seen = len(mx.times)
        count = await everybody_accepts(relay, config.nodes)
        held = await relay.event("deferred", count, held_by="rule slow")
        assert all(" by rule slow: 421 4.7.0 [TSS04] " in event["reply"] for event in held)
        assert {event["attempt"] for event in held} == {0}
        await relay.kill_all()
    async with running(config) as relay:
        await relay.submit("three@d3.test")
        await relay.event("deferred", held_by="rule slow")
        assert len(mx.times) == seen
        assert not mx.mails
        (one,) = (await relay.http("/v1/shaping"))[1]["overrides"]
        assert (one["id"], one["scope"], one["why"], one["reason"]) == (begun["id"], "route:sink", "rule slow", SLOW)
        assert await relay.http(f"/v1/shaping/{one['id']}", "DELETE") == (200, {"count": 1})
        await relay.event("shaping.override", result="end")
        assert (await relay.http("/v1/shaping"))[1] == {"overrides": []}
        # What was put off is due again with a flush. Each worker is told by itself that the suspension is over.
        await relay.poll(
            lambda: relay.http("/v1/queue/flush", "POST", {"all": True}),
            lambda _: any(event["event"] == "delivered" for event in relay.events),
        )


async def test_rules_change_what_replies_mean_for_their_message(tmp_path: Path, mx: CountingMx) -> None:
    config = Shaped(tmp_path / "config", mx.port, 2)
    config.shaped(
        *("[rule:listed]", "reply[]=550 5.7.1 *", "sample[]=550 5.7.1 listed", "action[]=defer", "action[]=retry 2h"),
        *("[rule:full]", "reply[]=452 4.2.2 *", "sample[]=452 4.2.2 full", "action[]=fail"),
    )
    config.outbound_is()
    mx.on_rcpt("listed@d.test", "550 5.7.1 listed")
    mx.on_rcpt("full@d.test", "452 4.2.2 full")
    async with running(config) as relay:
        await relay.submit("listed@d.test")
        (deferred,) = await relay.event("deferred")
        assert (deferred["enhanced"], deferred["attempt"], deferred["retry_in"]) == ("4.7.1", 1, 7200.0)
        await relay.submit("full@d.test")
        (bounced,) = await relay.event("bounced")
        assert (bounced["enhanced"], bounced["code"]) == ("5.2.2", 452)

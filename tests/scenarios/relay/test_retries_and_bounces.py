"""What becomes of mail that is not taken at once, end to end."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx


async def test_a_temporary_failure_is_tried_again_after_its_interval(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on_rcpt("bob@there.test", "450 4.2.0 later", "250 2.1.5 ok")
    config = RelayConfig(tmp_path / "config", mx.port, outbound=["temp_fail_intervals=5s"])
    async with running(config) as relay:
        await relay.submit()
        (deferred,) = await relay.event("deferred")
        (entry,) = await relay.queue()
        assert (entry["state"], entry["attempts"]) == ("deferred", 1)
        assert "450 4.2.0 later" in entry["last_reply"]
        (delivered,) = await relay.event("delivered")
        await relay.settled()
        metrics = await relay.metrics()
    assert (deferred["attempt"], delivered["attempt"]) == (1, 2)
    assert metrics["mailboat_deliveries_total{outcome=deferred}"] == 1
    assert metrics["mailboat_deliveries_total{outcome=delivered}"] == 1
    assert len(mx.mails) == 1


async def test_the_thirteenth_failure_bounces(tmp_path: Path, mx: ScriptedMx) -> None:
    """The twelve deferrals in between are cut short by an operator, so that nobody waits two days."""
    mx.on_rcpt("bob@there.test", "450 4.2.0 later")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await relay.submit()
        for failures in range(1, 13):
            await relay.event("deferred", failures)
            await relay.poll(relay.queue, partial(has_failed, failures))
            status, answer = await relay.http("/v1/queue/flush", "POST", {"domain": "there.test"})
            assert (status, answer["count"]) == (200, 1)
        (bounced,) = await relay.event("bounced")
        await mx.wait_for(lambda mx: mx.mails)
        await relay.settled()
        metrics = await relay.metrics()
    delays = [event["delay"] for event in relay.events if event["event"] == "deferred"]
    assert len(delays) == 12
    assert bounced["attempt"] == 13
    assert metrics["mailboat_deliveries_total{outcome=deferred}"] == 12
    assert metrics["mailboat_bounce_messages_total{result=queued}"] == 1
    assert b"Too many failures" in mx.mails[0].body
    assert b"Status: 4.2.0\r\nRemote-MTA" in mx.mails[0].body, "the peer's, and not as if it had refused"


def has_failed(times: int, entries: list[dict[str, Any]]) -> bool:
    """Whether the one entry has so many failed attempts."""
    return len(entries) == 1 and entries[0]["attempts"] == times


async def test_a_refused_recipient_comes_back_to_the_sender_as_a_report(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on_rcpt("nobody@there.test", "550 5.1.1 no such user")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await relay.submit("nobody@there.test", "bob@there.test", sender="alice@sender.test")
        await mx.wait_for(lambda mx: len(mx.mails) == 2)
        await relay.settled()
        metrics = await relay.metrics()
    report = next(mail for mail in mx.mails if mail.sender == "")
    assert report.recipients == ["alice@sender.test"]
    assert b"Final-Recipient: rfc822;nobody@there.test" in report.body.replace(b"; ", b";")
    assert b"Status: 5.1.1" in report.body
    assert b"bob@there.test" not in report.body.split(b"message/delivery-status")[1].split(b"--")[0]
    assert metrics["mailboat_deliveries_total{outcome=bounced}"] == 1
    assert metrics["mailboat_deliveries_total{outcome=delivered}"] == 2
    assert metrics["mailboat_bounce_messages_total{result=queued}"] == 1


async def test_mail_from_the_null_sender_is_dropped_and_counted(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on_rcpt("nobody@there.test", "550 5.1.1 no such user")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await relay.submit("nobody@there.test", sender="")
        (dropped,) = await relay.event("dropped")
        await relay.settled()
        metrics = await relay.metrics()
    assert dropped["recipients"] == ["nobody@there.test"]
    assert metrics["mailboat_deliveries_total{outcome=dropped}"] == 1
    assert metrics["mailboat_bounce_messages_total{result=suppressed}"] == 1
    assert mx.mails == []

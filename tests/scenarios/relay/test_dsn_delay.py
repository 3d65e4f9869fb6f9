"""Senders are told once that their mail is late (RFC 3461 4.1): who asked after 4 h, others after `delay_warning`."""

from __future__ import annotations

import contextlib
import email.utils
import signal
import sqlite3
from pathlib import Path

from tests.scenarios.relay.test_dsn import parts, report_in, submit
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx

LATER = "450 4.2.1 mailbox busy"
PEOPLE = ("bob", "carol", "dave")


def waited(config: RelayConfig, hours: float) -> None:
    """Make the queue of a stopped relay older, and its mail due."""
    with contextlib.closing(sqlite3.connect(config.directory / "queue" / "queue-0.db")) as db:
        db.execute("UPDATE message SET queued_at = queued_at - ?", (hours * 3600,))
        db.execute("UPDATE entry SET next_attempt = 0 WHERE next_attempt IS NOT NULL")
        db.commit()


def relay_for(tmp_path: Path, mx: ScriptedMx, *outbound: str, name: str = "config") -> RelayConfig:
    """A configuration with retries by the hour, for a host that defers all recipients but the sender."""
    for person in PEOPLE:
        mx.on_rcpt(f"{person}@there.test", LATER)
    return RelayConfig(tmp_path / name, mx.port, outbound=["temp_fail_intervals=1h*100", *outbound])


async def deferred_once(config: RelayConfig, *recipients: str, parameters: str = "") -> None:
    """Hand a message in and stop after its first attempt."""
    async with running(config) as relay:
        await submit(relay, *recipients, parameters=parameters)
        await relay.event("deferred")
        assert await relay.stop() == 0


async def attempted_again(relay: Relay, attempts: int) -> float:
    """Wait for another attempt on all mail; the reports of delays that were queued so far."""
    relay.signal(signal.SIGHUP)
    await relay.event("deferred", attempts)
    return (await relay.metrics())["mailboat_dsn_total{action=delayed}"]


async def test_who_asked_is_told_of_a_delay_once_after_4_h_whatever_restarts(tmp_path: Path, mx: ScriptedMx) -> None:
    config = relay_for(tmp_path, mx)
    await deferred_once(
        config,
        "<bob@there.test> NOTIFY=DELAY,FAILURE ORCPT=rfc822;Bob+2Bx@there.test",
        "<carol@there.test> NOTIFY=FAILURE",
        "<dave@there.test>",
        parameters=" RET=FULL ENVID=QQ+2B1",
    )
    waited(config, 3.9)
    async with running(config) as relay:
        await relay.event("deferred")
        assert await attempted_again(relay, 2) == 0, "4 h are not over"
        assert await relay.stop() == 0
    waited(config, 0.11)
    async with running(config) as relay:
        await relay.event("deferred")
        await relay.event("delivered")
        assert await attempted_again(relay, 2) == 1
        assert await relay.stop() == 0
    waited(config, 5)
    async with running(config) as relay:
        await relay.event("deferred")
        assert await attempted_again(relay, 2) == 0
    report = report_in(mx.mails)
    text, [about, *blocks], original = parts(report)
    assert about["Original-Envelope-Id"] == "QQ+1"
    [bob] = blocks
    assert bob["Original-Recipient"] == "rfc822; Bob+x@there.test"
    assert (bob["Final-Recipient"], bob["Action"], bob["Status"]) == ("rfc822; bob@there.test", "delayed", "4.2.1")
    assert "mailbox busy" in bob["Diagnostic-Code"]
    until, last = (email.utils.parsedate_to_datetime(bob[name]) for name in ("Will-Retry-Until", "Last-Attempt-Date"))
    assert 90 < (until - last).total_seconds() / 3600 < 100
    assert report["Subject"] == "Your mail is delayed"
    assert bob["Will-Retry-Until"] in text
    assert ("bob@there.test" in text, "dave@there.test" in text) == (True, False)
    assert original.get_content_type() == "text/rfc822-headers", "RFC 3461 6.2: whatever RET says"


async def test_with_delay_warning_all_are_told_but_who_excluded_it(tmp_path: Path, mx: ScriptedMx) -> None:
    config = relay_for(tmp_path, mx, "delay_warning=1h")
    await deferred_once(config, "<bob@there.test> NOTIFY=DELAY", "<carol@there.test> NOTIFY=NEVER", "<dave@there.test>")
    waited(config, 1)
    async with running(config) as relay:
        await relay.event("delivered")
        await relay.event("deferred")
        assert await attempted_again(relay, 2) == 1, "one report, with two recipients"
    _, [_, *blocks], _ = parts(report_in(mx.mails))
    assert [(block["Final-Recipient"], block["Action"]) for block in blocks] == [
        ("rfc822; bob@there.test", "delayed"),
        ("rfc822; dave@there.test", "delayed"),
    ]


async def test_mail_that_moves_to_another_relay_is_not_reported_as_late_again(tmp_path: Path, mx: ScriptedMx) -> None:
    old, new = (relay_for(tmp_path, mx, name=name) for name in ("old", "new"))
    archive = str(tmp_path / "queue.tar")
    await deferred_once(old, "<bob@there.test> NOTIFY=DELAY")
    waited(old, 4)
    async with running(old) as relay:
        await relay.event("delivered")
        await relay.event("deferred")
        status, _, fault = await command("queue", "export", archive, "--remove", "--config", str(old.directory))
        assert status == 0, fault
    async with running(new) as relay:
        status, _, fault = await command("queue", "import", archive, "--config", str(new.directory))
        assert status == 0, fault
        assert await attempted_again(relay, 1) == 0
    report_in(mx.mails)

"""What a sender asked to be told (RFC 3461) is kept whatever becomes of the queue: it restarts, its entries are split,
it moves to another relay."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.relay.test_dsn import parts, report_in, submit
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx

BOB = "<bob@there.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@there.test"
CAROL = "<carol@there.test> NOTIFY=NEVER"
DAVE = "<dave@elsewhere.test> NOTIFY=FAILURE ORCPT=utf-8;d\\x{E4}ve@elsewhere.test"
ERIN = "<erin@elsewhere.test>"
EVERYBODY = (BOB, CAROL, DAVE, ERIN)
MAIL = " RET=HDRS ENVID=QQ+2B1"
LATER = "450 4.2.0 later"


def relay_for(tmp_path: Path, mx: ScriptedMx, *outbound: str, nodes: int = 0, name: str = "config") -> RelayConfig:
    """A relay whose only host has DSN, and takes nobody at first."""
    mx.extensions = ["PIPELINING", "8BITMIME", "DSN"]
    for recipient in EVERYBODY:
        mx.on_rcpt(recipient.partition(">")[0][1:], LATER, "250 2.1.5 ok")
    return RelayConfig(tmp_path / name, mx.port, nodes, outbound=["temp_fail_intervals=1d*3", *outbound])


async def deferred(relay: Relay, entries: int) -> None:
    """Hand the message in, and wait until its first attempts are recorded."""
    await submit(relay, *EVERYBODY, parameters=MAIL)
    await relay.poll(relay.queue, lambda queue: [entry["attempts"] for entry in queue] == [1] * entries)


async def delivered(relay: Relay, mx: ScriptedMx, mails: int) -> None:
    """Attempt all of it now; what the host is told is what the sender said."""
    status, _ = await relay.http("/v1/queue/flush", "POST", {})
    assert status == 200
    await relay.settled()
    assert len(mx.mails) == mails
    commands = [line for connection in mx.connections for line in connection.lines]
    for recipient in EVERYBODY:
        assert commands.count(f"RCPT TO:{recipient}") == 2, recipient
    assert all(mail.params[-2:] == MAIL.split() for mail in mx.mails)


async def moved(old: RelayConfig, new: RelayConfig, archive: Path) -> None:
    """Export the queue of one relay and import it into another."""
    for config, words in ((old, ("export", str(archive), "--remove")), (new, ("import", str(archive)))):
        status, _, fault = await command("queue", *words, "--config", str(config.directory))
        assert status == 0, fault


async def test_a_restart_keeps_it(tmp_path: Path, mx: ScriptedMx) -> None:
    config = relay_for(tmp_path, mx)
    async with running(config) as relay:
        await deferred(relay, 2)
        assert await relay.stop() == 0
    async with running(config) as relay:
        await delivered(relay, mx, 2)


async def test_a_crash_keeps_it(tmp_path: Path, mx: ScriptedMx) -> None:
    config = relay_for(tmp_path, mx)
    async with running(config) as relay:
        await deferred(relay, 2)
        await relay.kill_all()
    async with running(config) as relay:
        await delivered(relay, mx, 2)


async def test_always_split_keeps_that_of_each_recipient(tmp_path: Path, mx: ScriptedMx) -> None:
    async with running(relay_for(tmp_path, mx, "always_split=true")) as relay:
        await deferred(relay, 4)
        await delivered(relay, mx, 4)


@pytest.mark.parametrize(("nodes", "runs"), [(0, True), (2, False)], ids=["running", "workers, stopped"])
async def test_export_and_import_keep_it(tmp_path: Path, mx: ScriptedMx, nodes: int, runs: bool) -> None:
    old, new = (relay_for(tmp_path, mx, nodes=nodes, name=name) for name in ("old", "new"))
    async with running(old) as first, running(new) as second:
        await deferred(first, 2)
        if runs:
            await moved(old, new, tmp_path / "queue.tar")
            await delivered(second, mx, 2)
            return
        assert [await relay.stop() for relay in (first, second)] == [0, 0]
    await moved(old, new, tmp_path / "queue.tar")
    async with running(new) as relay:
        await delivered(relay, mx, 2)


async def test_a_host_that_takes_few_recipients_at_once_is_told_that_of_each(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.extensions = ["DSN", "LIMITS RCPTMAX=1"]
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(relay, *EVERYBODY, parameters=MAIL)
        await relay.settled()
    commands = [line for connection in mx.connections for line in connection.lines]
    assert [commands.count(f"RCPT TO:{recipient}") for recipient in EVERYBODY] == [1] * 4
    assert [mail.params[-2:] for mail in mx.mails] == [MAIL.split()] * 4


async def test_a_recipient_that_is_left_over_keeps_its_own(tmp_path: Path, mx: ScriptedMx) -> None:
    """One is delivered, one fails, one is left: after a restart in another relay it still has what was said of it."""
    old, new = (RelayConfig(tmp_path / name, mx.port, outbound=["temp_fail_intervals=1d*3"]) for name in ("old", "new"))
    mx.on_rcpt("no@there.test", "550 5.1.1 no such user")
    mx.on_rcpt("bob@there.test", LATER, "250 2.1.5 ok")
    async with running(old) as relay:
        await submit(relay, "<no@there.test> NOTIFY=NEVER", CAROL, BOB, parameters=MAIL)
        await relay.poll(relay.queue, lambda queue: [e["recipients"] for e in queue] == [["bob@there.test"]])
        assert await relay.stop() == 0
    await moved(old, new, tmp_path / "queue.tar")
    async with running(new) as relay:
        await relay.http("/v1/queue/flush", "POST", {})
        await mx.wait_for(lambda mx: len(mx.mails) == 3)
        await relay.settled()
    _, [about, *blocks], _ = parts(report_in(mx.mails))
    assert about["Original-Envelope-Id"] == "QQ+1"
    assert [(block["Original-Recipient"], block["Action"]) for block in blocks] == [
        ("rfc822; Bob+x@there.test", "relayed")
    ]

"""A report of success that cannot be written at once is written later, and the mail is not delivered again for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.relay.test_dsn import parts, report_in
from tests.support.relay_process import RelayConfig, command, running
from tests.support.scripted_mx import Held, ScriptedMx
from tests.support.smtp_client import Client

BODY = (b"0123456789abcdef" * 4 + b"\r\n") * 8000
LARGE = b"Subject: large\r\n\r\n" + BODY


async def submit(config: RelayConfig) -> None:
    client = await Client.connect(config.smtp_port)
    await client.reply(enhanced=False)
    await client.ehlo()
    assert (await client.ask("MAIL FROM:<alice@sender.test> ENVID=QQ")).startswith("250 ")
    rcpt = "RCPT TO:<bob@there.test> NOTIFY=SUCCESS ORCPT=rfc822;Bob+2Bx@there.test"
    assert (await client.ask(rcpt)).startswith("250 ")
    assert (await client.ask("DATA")).startswith("354 ")
    client.send(LARGE + b".\r\n")
    assert (await client.reply()).startswith("250 ")
    await client.quit()


@pytest.mark.parametrize("moves", [False, True], ids=["restart", "export and import"])
async def test_a_success_is_reported_once_its_original_can_be_read_again(
    tmp_path: Path, mx: ScriptedMx, moves: bool
) -> None:
    mx.on(".", Held("250 2.0.0 taken"), "250 2.0.0 taken")
    old, new = (RelayConfig(tmp_path / name, mx.port) for name in ("old", "new"))
    async with running(old) as relay:
        await submit(old)
        await mx.wait_for(lambda mx: mx.mails)
        (file,) = (
            path for path in (old.directory / "queue").rglob("*") if path.is_file() and BODY in path.read_bytes()
        )
        away = file.rename(tmp_path / "away")
        mx.release()
        await relay.event("delivered")
        (entry,) = await relay.poll(relay.queue, lambda queue: queue and not queue[0]["recipients"])
        metrics = await relay.metrics()
        away.rename(file)
        await relay.kill_all()
    assert (entry["state"], entry["attempts"], entry["last_mx"]) == ("deferred", 0, "127.0.0.1")
    assert "the report of it cannot be written yet" in entry["last_reply"]
    assert metrics["mailboat_dsn_total{action=relayed}"] == 0
    if moves:
        for config, verb in ((old, "export"), (new, "import")):
            status, _, fault = await command("queue", verb, str(tmp_path / "tar"), "--config", str(config.directory))
            assert status == 0, fault
    async with running(new if moves else old) as relay:
        await relay.http("/v1/queue/flush", "POST", {})
        await relay.settled()
        metrics = await relay.metrics()
    assert len(mx.mails) == 2, "the mail, which is not delivered again, and the report"
    assert metrics["mailboat_dsn_total{action=relayed}"] == 1
    _, [about, bob], _ = parts(report_in(mx.mails))
    assert about["Original-Envelope-Id"] == "QQ"
    assert bob["Original-Recipient"] == "rfc822; Bob+x@there.test"
    assert (bob["Final-Recipient"], bob["Action"], bob["Status"]) == ("rfc822; bob@there.test", "relayed", "2.0.0")
    assert bob["Diagnostic-Code"] == "smtp; 250 2.0.0 taken"
    assert bob["Remote-MTA"] == "dns; 127.0.0.1"

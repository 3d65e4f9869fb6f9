"""Recipients beyond ASCII (RFC 6531) beside others, and a host that does not take them."""

from __future__ import annotations

from pathlib import Path

from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.smtp_client import TEXT, Client


async def test_only_those_who_need_smtputf8_fail_at_a_host_without_it(tmp_path: Path, mx: ScriptedMx) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        client = await Client.connect(relay.config.smtp_port)
        await client.reply(enhanced=False)
        assert "SMTPUTF8" in await client.ehlo()
        await client.begin("bob@there.test", "bübli@there.test", parameters=" SMTPUTF8")
        client.send(TEXT + b".\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.quit()
        (bounced,) = await relay.event("bounced")
        await relay.settled()
    mail, report = sorted(mx.mails, key=lambda mail: mail.sender, reverse=True)
    assert (mail.sender, mail.recipients) == ("alice@sender.test", ["bob@there.test"])
    assert "SMTPUTF8" not in mail.params
    assert (bounced["recipients"], bounced["enhanced"]) == (["bübli@there.test"], "5.6.7")
    assert report.recipients == ["alice@sender.test"]
    assert (b"Status: 5.6.7" in report.body, b"Action: failed" in report.body) == (True, True)

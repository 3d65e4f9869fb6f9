"""The plugin `relay` in a whole relay: whose mail is taken, and which way it goes. It never opens the relay."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

from tests.support.relay_process import RelayConfig, launch, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.smtp_client import TEXT


def send(port: int, *recipients: str) -> dict[str, int]:
    """Send a mail; the code that each refused recipient was told."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        try:
            refused = client.sendmail("alice@here.test", recipients, TEXT)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        return {recipient: code for recipient, (code, _) in refused.items()}


async def test_strangers_reach_the_listed_domains_by_their_way(tmp_path: Path, mx: ScriptedMx) -> None:
    async with ScriptedMx.start() as other:
        config = RelayConfig(tmp_path / "config", mx.port)
        config.put("relay_acl_allow", "192.0.2.0/24\n")
        config.put("plugins", "relay\n")
        config.put("relay.ini", "[relay]\ndest_domains=true\n")
        config.put(
            "relay_dest_domains.ini",
            f'[domains]\nway.test={{"action": "accept", "nexthop": "127.0.0.1:{other.port}"}}\n'
            'usual.test={"action": "continue"}\nnever.test={"action": "deny"}\n',
        )
        async with running(config) as relay:
            everybody = ["a@way.test", "b@usual.test", "c@never.test", "d@unlisted.test"]
            refused = await asyncio.to_thread(send, config.smtp_port, *everybody)
            assert refused == {"c@never.test": 550, "d@unlisted.test": 550}
            await relay.event("delivered", 2)
            # Seen before the change: mail that was taken by the old rules may still leave by the new ones.
            assert {recipient for mail in mx.mails for recipient in mail.recipients} == {"b@usual.test"}
            config.put("relay_dest_domains.ini", '[domains]\nway.test={"action": "deny"}\n')
            while not await asyncio.to_thread(send, config.smtp_port, "a@way.test"):
                pass  # the change is taken within a second
        assert {recipient for mail in other.mails for recipient in mail.recipients} == {"a@way.test"}


async def test_an_open_relay_does_not_start(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("plugins", "relay\n")
    config.put("relay.ini", "[relay]\nall=true\n")
    relay = await launch(config)
    assert await relay.exit_code() == 78
    assert any("relay.ini:2: [relay] all: would let everybody relay" in line for line in relay.log)

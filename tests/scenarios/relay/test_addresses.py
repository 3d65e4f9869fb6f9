"""Addresses through a whole relay: one mailbox in several spellings, and local parts of more than 64 octets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

SPELLINGS = ["r@example.net", "r@example.net", "r@EXAMPLE.NET", "r@example.net."]
VERP = "bounces+20481024-7f3a-customer.service=partner-mail.example=aaaaaaaaaaaaaaa@example.org"
TICKET = "reply+4f9c0d6a1b2e3c5d7f80918273645546372819f0e1d2c3b4a5968778695a4b3c2d1e0f12@example.net"


@pytest.mark.parametrize("split", ["false", "true"], ids=["together", "always_split"])
async def test_a_mailbox_named_in_four_spellings_gets_one_copy(tmp_path: Path, mx: ScriptedMx, split: str) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port, outbound=[f"always_split={split}"])) as relay:
        await relay.submit(*SPELLINGS, "R@example.net")
        status, _ = await relay.http(
            "/v1/messages", "POST", {"from": "a@sender.test", "to": SPELLINGS, "content": "Subject: by HTTP\n\nhi\n"}
        )
        assert status == 202
        received = await relay.event("received", 2)
        await relay.settled()
    assert [fact["recipients"] for fact in received] == [["r@example.net", "R@example.net"], ["r@example.net"]]
    recipients = sorted(recipient for mail in mx.mails for recipient in mail.recipients)
    assert recipients == ["R@example.net", "r@example.net", "r@example.net"]


async def test_a_bounce_names_a_mailbox_once_and_reaches_a_sender_with_a_long_local_part(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    mx.on_rcpt(TICKET, "550 5.1.1 no such user")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await relay.submit(TICKET, TICKET.removesuffix("net") + "NET", sender=VERP)
        await mx.wait_for(lambda mx: mx.mails)
    [mail] = mx.mails
    assert (mail.sender, mail.recipients) == ("", [VERP])
    assert mail.body.count(b"Final-Recipient: ") == 1

"""The header of a queued message: a Received field (RFC 5321 4.4), Date and Message-ID only where they are missing."""

from __future__ import annotations

import re

import pytest
from tests.support.ingress import serving
from tests.support.smtp_client import TEXT

from mailboat.config.settings import OutboundSettings

OURS = b"Received: (Mailboat outbound); Mon, 12 Jan 1970 13:46:40 +0000\r\n"


async def test_the_trace_names_client_protocol_id_recipient_and_time() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        reply = await client.mail()
        await client.quit()

        [mail] = await rig.mails()
        queue_id = reply.split("(")[1].rstrip(")")
        assert mail.body == (
            OURS + b"Received: from client.test ([127.0.0.1])\r\n"
            b"\tby relay.test (Mailboat) with ESMTP\r\n"
            b"\tid " + queue_id.encode() + b"\r\n"
            b"\tfor <bob@there.test>; Mon, 12 Jan 1970 13:46:40 +0000\r\n" + TEXT
        )


async def test_several_recipients_are_not_disclosed_to_each_other() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.mail(TEXT, "bob@there.test", "hidden@there.test")
        await client.quit()
        [mail] = await rig.mails()
        assert b"for <" not in mail.received
        assert b"hidden" not in mail.body


@pytest.mark.parametrize("name", ["evil.test)\t(", "a" * 255, "<script>", "ünïcode.test", "[127.0.0.1]"])
async def test_what_a_client_calls_itself_cannot_harm_the_header(name: str) -> None:
    async with serving() as rig:
        client = await rig.client()
        reply = await client.ask(f"EHLO {name}")
        if reply.startswith("250"):
            await client.mail()
            [mail] = await rig.mails()
            assert re.match(rb"Received: from [!-'*-~]+ \(\[127\.0\.0\.1\]\)\r\n\tby ", mail.received)
        else:
            assert reply.startswith("501 5.5.4 ")
        await client.quit()


@pytest.mark.parametrize(
    ("header", "added"),
    [
        (b"Subject: x\r\n", {b"Message-ID", b"Date"}),
        (b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n", {b"Message-ID"}),
        (b"message-id: <1@client.test>\r\n", {b"Date"}),
        (b"MESSAGE-ID: <1@client.test>\r\nDATE: Mon, 1 Jan 2024 00:00:00 +0000\r\n", set()),
        (b"", {b"Message-ID", b"Date"}),
    ],
)
async def test_only_what_is_missing_is_added(header: bytes, added: set[bytes]) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.mail(header + b"\r\nDate: this is text\r\n")
        await client.quit()
        [mail] = await rig.mails()
        head, _, text = mail.body.partition(b"\r\n\r\n")
        ours = head.partition(b"+0000\r\n")[2].partition(b"+0000\r\n")[2] if header else head
        names = [line.partition(b":")[0] for line in ours.split(b"\r\n")]
        sent = [line.partition(b":")[0] for line in header.splitlines()]
        assert {name for name in names if name not in sent} - {b""} >= added
        assert sum(name.lower() == b"date" for name in names) == 1
        assert sum(name.lower() == b"message-id" for name in names) == 1
        assert text == b"Date: this is text\r\n"


async def test_the_outbound_trace_can_be_switched_off() -> None:
    async with serving(outbound=OutboundSettings(received_header="disabled")) as rig:
        client = await rig.greeted()
        await client.mail()
        await client.quit()
        [mail] = await rig.mails()
        assert mail.body.startswith(b"Received: from client.test ")
        assert mail.body.count(b"Received:") == 1


@pytest.mark.parametrize(("hops", "reply"), [(100, "250 2.0.0 "), (101, "554 5.4.6 ")])
@pytest.mark.parametrize("text", [b"x\r\n", b"x" * 998 + b"\r\n"], ids=["small", "large"])
async def test_more_than_a_hundred_hops_are_a_loop(hops: int, reply: str, text: bytes) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        body = b"Received: by a.test; x\r\nReceived: (from b)\r\n\tby c.test; x\r\n" * (hops // 2)
        body += b"received : by odd.test; x\r\n" * (hops % 2)
        assert (await client.mail(body + b"\r\n" + text * (1 if len(text) < 99 else 400))).startswith(reply)
        assert (await client.ask("NOOP")).startswith("250 ")
        await client.quit()
        assert len(await rig.mails()) == (hops == 100)

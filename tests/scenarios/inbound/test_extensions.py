"""8BITMIME (RFC 6152) and SMTPUTF8 (RFC 6531): what is declared is remembered, octets are never touched."""

from __future__ import annotations

import pytest
from tests.support.ingress import serving
from tests.support.smtp_client import TEXT

from mailboat.smtp.extensions.smtputf8 import needs_smtputf8

BODY = {"BODY": "8BITMIME"}
EIGHT_BIT = TEXT + bytes(range(128, 256)) + b"\r\n"


@pytest.mark.parametrize(
    ("parameters", "stored"),
    [
        ("", BODY),
        (" BODY=7BIT", BODY),
        (" BODY=8BITMIME", BODY),
        (" body=8bitmime SIZE=99", BODY),
        (" SMTPUTF8", {"SMTPUTF8": "", **BODY}),
        (" BODY=8BITMIME SMTPUTF8", {"SMTPUTF8": "", **BODY}),
    ],
)
async def test_what_mail_declares_and_that_content_is_8_bit_goes_with_the_message(
    parameters: str, stored: dict[str, str]
) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.begin(parameters=parameters)
        client.send(EIGHT_BIT + b".\r\n")
        await client.reply()
        await client.quit()
        [mail] = await rig.mails()
        assert mail.entry.message.parameters == stored
        assert mail.body.endswith(EIGHT_BIT)


async def test_7_bit_content_is_8bitmime_only_where_the_client_says_so() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        for parameters in ("", " BODY=7BIT", " BODY=8BITMIME"):
            await client.begin(parameters=parameters)
            client.send(TEXT + b".\r\n")
            await client.reply()
        await client.quit()
        assert [mail.entry.message.parameters for mail in await rig.mails()] == [{}, {}, BODY]


async def test_addresses_of_any_script_need_smtputf8() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        assert (await client.ask("MAIL FROM:<jürgen@sender.test>")).startswith("553 5.6.7 ")
        assert (await client.ask("MAIL FROM:<alice@sender.test>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<用户@there.test>")).startswith("553 5.6.7 ")
        assert (await client.ask("RCPT TO:<bob@bücher.test>")).startswith("553 5.6.7 ")
        await client.ask("RSET")
        assert (await client.ask("MAIL FROM:<jürgen@sender.test> SMTPUTF8")).startswith("250 ")
        assert (await client.ask("RCPT TO:<用户@bücher.test>")).startswith("250 ")
        assert (await client.ask("DATA")).startswith("354 ")
        client.send("Subject: grüß\r\n\r\n.\r\n".encode())
        assert (await client.reply()).startswith("250 ")
        await client.quit()
        [mail] = await rig.mails()
        assert (mail.recipients, mail.entry.domain) == (["用户@bücher.test"], "xn--bcher-kva.test")
        assert mail.sender == "jürgen@sender.test"
        assert b" with UTF8SMTP\r\n" in mail.received


async def test_our_trace_fields_make_no_message_need_smtputf8() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.ask("EHLO bücher.example")
        assert (await client.ask("MAIL FROM:<shop@sender.test> SMTPUTF8")).startswith("250 ")
        assert (await client.ask("RCPT TO:<info@bücher.test>")).startswith("250 ")
        assert (await client.ask("DATA")).startswith("354 ")
        client.send(TEXT + b".\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.quit()
        [mail] = await rig.mails()
        assert b"for <info@xn--bcher-kva.test>" in mail.received
        assert not needs_smtputf8(mail.entry.message, mail.received + mail.body)


async def test_addresses_that_are_no_utf8_are_refused() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        assert (await client.ask(b"MAIL FROM:<j\xfcrgen@sender.test> SMTPUTF8")).startswith("501 5.5.4 ")
        await client.quit()

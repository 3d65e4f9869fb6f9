"""Each command gets the right reply, with an enhanced code (RFC 2034): the client of these tests checks each one."""

from __future__ import annotations

import pytest
from tests.support.ingress import serving

LONG = "x" * 5000


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("NOOP", "250 2.0.0"),
        ("NOOP whatever comes", "250 2.0.0"),
        ("noop", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("HELP", "214 2.0.0"),
        ("HELP MAIL", "214 2.0.0"),
        ("VRFY bob@there.test", "252 2.5.2"),
        ("VRFY", "501 5.5.4"),
        ("EXPN staff", "502 5.5.1"),
        ("STARTTLS", "502 5.5.1"),
        ("RCPT TO:<bob@there.test>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("TURN", "500 5.5.2"),
        ("AUTH PLAIN AGEAYg==", "502 5.5.1"),
        ("", "500 5.5.2"),
        (LONG, "500 5.5.2"),
        ("MAIL FROM:<" + LONG + "@sender.test>", "500 5.5.2"),
        ("MAIL FROM:<" + LONG[:244] + "@sender.test>", "501 5.1.7"),
        ("MAIL FROM:alice@sender.test", "250 2.1.0"),
        ("MAIL FROM:Alice <alice@sender.test>", "501 5.5.4"),
        ("MAIL FROM:<alice@sender.test> " + LONG[:4000], "555 5.5.4"),
        ("MAIL FROM:<alice@sender.test> SIZE=1 SIZE=1", "501 5.5.4"),
        ("MAIL FROM:<alice@sender.test>", "250 2.1.0"),
        ("MAIL FROM:<>", "250 2.1.0"),
        ("mail from:<alice@sender.test>", "250 2.1.0"),
        ("QUIT", "221 2.0.0"),
    ],
    ids=lambda text: text[:30],
)
async def test_each_command_has_its_reply(command: str, reply: str) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        assert (await client.ask(command)).startswith(reply)
        client.close()


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("MAIL FROM:<alice@sender.test>", "503 5.5.1"),
        ("EHLO again.test", "250-relay.test"),
        ("STARTTLS", "503 5.5.1"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:<bob@there.test> BY=120;R", "555 5.5.4"),
        ("RCPT TO:<bob@[127.0.0.300]>", "501 5.1.3"),
        ("RCPT TO:<bob@there.test>", "250 2.1.5"),
        ("RCPT TO:<@old.test,@older.test:bob@there.test>", "250 2.1.5"),
        ("DATA now", "501 5.5.4"),
        ("DATA", "354 "),
        ("VRFY bob", "252 2.5.2"),
        ("QUIT", "221 2.0.0"),
    ],
)
async def test_each_command_has_its_reply_within_a_transaction(command: str, reply: str) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.ask("MAIL FROM:<alice@sender.test>")
        await client.ask("RCPT TO:<carol@there.test>")
        assert (await client.ask(command)).startswith(reply)
        client.close()


@pytest.mark.parametrize("command", ["MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA", "STARTTLS"])
async def test_mail_needs_a_hello_first(command: str) -> None:
    async with serving() as rig:
        client = await rig.client()
        assert (await client.ask(command)).startswith("503 5.5.1 ")
        assert (await client.ask("NOOP")).startswith("250 2.0.0 ")
        client.close()


@pytest.mark.parametrize("hello", ["EHLO again.test", "HELO again.test", "RSET"])
async def test_a_hello_or_reset_ends_the_transaction(hello: str) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.ask("MAIL FROM:<alice@sender.test>")
        await client.ask("RCPT TO:<bob@there.test>")
        assert (await client.ask(hello)).startswith("250")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("503 5.5.1 MAIL first")
        assert (await client.mail(b"\r\n")).startswith("250 2.0.0 ")
        await client.quit()
        assert len(await rig.mails()) == 1


async def test_helo_is_enough_for_mail() -> None:
    async with serving() as rig:
        client = await rig.client()
        assert await client.ask("HELO old.test") == "250 relay.test"
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        [mail] = await rig.mails()
        assert b" with SMTP\r\n" in mail.received


async def test_postmaster_without_a_domain_is_this_hosts() -> None:
    """RFC 5321 4.5.1 wants it accepted; as in Postfix it is completed with our own name."""
    async with serving() as rig:
        client = await rig.greeted()
        assert (await client.mail(b"x\r\n", "Postmaster")).startswith("250 2.0.0 ")
        assert (await client.ask("MAIL FROM:<postmaster>")).startswith("501 5.1.7 ")
        await client.quit()
        [mail] = await rig.mails()
        assert mail.recipients == ["Postmaster@relay.test"]

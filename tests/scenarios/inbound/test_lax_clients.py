"""What clients send that the RFCs do not allow, and that is taken, or removed, where that harms nobody."""

from __future__ import annotations

import pytest
from tests.support.ingress import serving
from tests.support.smtp_client import TEXT

BCC = b"Bcc: secret@example.net,\r\n\tother@example.net\r\nRESENT-BCC: third@example.net\r\n"


@pytest.mark.parametrize("strict", [False, True], ids=["lax", "strict_rfc1869"])
@pytest.mark.parametrize("path", ["FROM:scanner@example.org", "FROM: scanner@example.org SIZE=100"])
async def test_angle_brackets_may_be_left_out_by_clients_that_may_relay(strict: bool, path: str) -> None:
    async with serving(strict_rfc1869=strict) as rig:
        client = await rig.client()
        assert (await client.ask("HELO printer")).startswith("250 ")
        said = await client.ask(f"MAIL {path}")
        if strict:
            assert said.startswith("501 5.5.4 ")
        else:
            assert said.startswith("250 2.1.0 ")
            assert (await client.ask("RCPT TO:you@example.com")).startswith("250 2.1.5 ")
            await client.ask("DATA")
            client.send(TEXT + b".\r\n")
            assert (await client.reply()).startswith("250 2.0.0 ")
            [mail] = await rig.mails()
            assert (mail.sender, mail.recipients) == ("scanner@example.org", ["you@example.com"])
        await client.quit()


@pytest.mark.parametrize(
    "argument", ["FROM:", "FROM: ", "FROM:scanner", "FROM:Me <a@b.test>", "FROM:a@b.test>", "FROM:a b@c.test"]
)
async def test_what_is_no_address_stays_501(argument: str) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        assert (await client.ask(f"MAIL {argument}")).startswith("501 ")
        await client.quit()


async def test_strangers_must_write_the_brackets() -> None:
    async with serving(acl=()) as rig:
        client = await rig.greeted()
        assert (await client.ask("MAIL FROM:scanner@example.org")).startswith("501 5.5.4 ")
        await client.quit()


@pytest.mark.parametrize("lines", [0, 400], ids=["in-memory", "in-a-file"])
async def test_header_fields_that_are_not_for_others_eyes_are_removed_where_it_is_asked_for(lines: int) -> None:
    text = BCC + TEXT + (b"x" * 998 + b"\r\n") * lines + BCC
    for drop, expected in ((("bcc", "resent-bcc"), text.removeprefix(BCC)), ((), text)):
        async with serving(message_drop_headers=drop) as rig:
            client = await rig.greeted()
            assert (await client.mail(text)).startswith("250 2.0.0 ")
            await client.quit()
            [mail] = await rig.mails()
            assert mail.body.endswith(b"+0000\r\n" + expected)


async def test_a_header_too_long_to_look_for_them_is_refused() -> None:
    async with serving(message_drop_headers=("bcc",)) as rig:
        client = await rig.greeted()
        long = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 900) for n in range(400))
        assert (await client.mail(long + BCC + TEXT)).startswith("552 5.3.4 ")
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert len(await rig.mails()) == 1

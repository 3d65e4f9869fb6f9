"""A message ends at CRLF.CRLF and nowhere else, and what lies behind another ending is never taken for commands.

The endings are those by which messages were smuggled past other servers (CVE-2023-51764 and its kin).
"""

from __future__ import annotations

import pytest
from tests.support.ingress import serving
from tests.support.smtp_client import Client

from mailboat.config.settings import BareNewline
from mailboat.model.observer import RejectReason

FALSE_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r.\n", b"\n.\r", b"\r\n.\r", b"\r\r\n.\r\n",
    b"\r\n.\r\r\n", b"\r\n.\x00\r\n", b"\r\n\x00.\r\n", b"\x00\r.\r\n", b"\r\n. \r\n", b"\n\n.\n\n", b"\r\n.\r.\r\n",
    b"\xc2\x85.\xc2\x85", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\x0b.\x0b", b"\x0c\n.\x0c\n",
]  # fmt: skip
SMUGGLED = b"MAIL FROM:<admin@sender.test>\r\nRCPT TO:<victim@there.test>\r\nDATA\r\nsmuggled\r\n.\r\n"


async def finish(client: Client) -> bytes:
    """What the client hears before the relay closes; it stops sending itself."""
    client.half_close()
    return await client.rest()


@pytest.mark.parametrize("one_by_one", [False, True], ids=["at once", "octet by octet"])
@pytest.mark.parametrize("end", FALSE_ENDS, ids=repr)
async def test_a_false_end_never_ends_a_message_and_nothing_behind_it_is_run(end: bytes, one_by_one: bool) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.begin()
        octets = b"Subject: x\r\n\r\ntext" + end + SMUGGLED
        if one_by_one:
            await client.drip(octets[place : place + 1] for place in range(len(octets)))
        else:
            client.send(octets)
        heard = await finish(client)
        client.close()

        replies = heard.split(b"\r\n")[:-1]
        mails = await rig.mails()
        assert "admin@sender.test" not in {mail.sender for mail in mails}
        assert len(replies) == 1, "one message, one reply"
        if b"\r" in end.replace(b"\r\n", b"") or b"\n" in end.replace(b"\r\n", b""):
            assert replies[0].startswith(b"550 5.6.0 ")
            assert mails == []
        else:  # no newline at all, so it is text, and the smuggled commands are too
            assert replies[0].startswith(b"250 2.0.0 ")
            assert b"DATA\r\nsmuggled\r\n" in mails[0].body


@pytest.mark.parametrize("end", FALSE_ENDS, ids=repr)
async def test_normalising_takes_no_false_end_either(end: bytes) -> None:
    async with serving(bare_newline=BareNewline.NORMALIZE) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(b"Subject: x\r\n\r\ntext" + end + b"behind\r\n.\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        client.close()
        [mail] = await rig.mails()
        body = mail.body
        assert body.count(b"\r\n") == body.count(b"\r") == body.count(b"\n")
        if end != b"\r\r\n.\r\n":  # which holds CRLF.CRLF
            assert b"behind\r\n" in body


async def test_a_bare_newline_is_refused_at_the_true_end_and_the_session_goes_on() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        for text in (b"a\nb\r\n", b"a\rb\r\n", b"Subject: a\n\r\n", b"\n\r\n", b"\ra\r\n"):
            await client.begin()
            client.send(text + b".\r\n")
            said = await client.reply()
            assert said == "550 5.6.0 Message holds a CR or LF alone; the server takes it with bare_newline=normalize"
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert len(await rig.mails()) == 1
        assert rig.facts.reasons == [RejectReason.BARE_NEWLINE] * 5


async def test_bare_newlines_become_crlf_where_that_is_configured() -> None:
    async with serving(bare_newline=BareNewline.NORMALIZE) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(b"Message-ID: <1@client.test>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\na\rb\n.c\r\n..d\r\n.\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        await client.quit()
        [mail] = await rig.mails()
        assert mail.body.endswith(b"00 +0000\r\n\r\na\r\nb\r\n.c\r\n.d\r\n")


async def test_a_command_with_a_bare_newline_is_no_command() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        for command in (b"NOOP\n", b"MAIL FROM:<alice@sender.test>\nRCPT TO:<bob@there.test>\r\n", b"NO\rOP\r\n"):
            client.send(command)
        replies = await client.replies(4)
        assert [reply[:10] for reply in replies] == ["500 5.5.2 "] * 2 + ["503 5.5.1 ", "500 5.5.2 "]
        await client.quit()


async def test_a_line_over_the_limit_is_refused() -> None:
    async with serving(data_line_length=1000) as rig:
        client = await rig.greeted()
        assert (await client.mail(b"x" * 998 + b"\r\n")).startswith("250 2.0.0 ")
        assert (await client.mail(b"x" * 999 + b"\r\n")).startswith("550 5.6.0 ")
        assert (await client.mail(b"x" * 2**20 + b"\r\n")).startswith("550 5.6.0 ")
        await client.quit()
        assert len(await rig.mails()) == 1
        assert rig.facts.reasons == [RejectReason.LINE_TOO_LONG] * 2

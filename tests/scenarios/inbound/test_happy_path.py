"""A client hands over a message: what it is told, and what lies in the queue."""

from __future__ import annotations

from tests.support.ingress import serving
from tests.support.smtp_client import TEXT

from mailboat.config.settings import OutboundSettings
from mailboat.model.envelope import State


async def test_a_message_is_queued_as_sent_and_the_client_is_told_its_id() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        reply = await client.mail(TEXT, "bob@there.test", "carol@elsewhere.test")
        await client.quit()

        mails = await rig.mails()
        assert [mail.recipients for mail in mails] == [["bob@there.test"], ["carol@elsewhere.test"]]
        assert {mail.entry.message.id for mail in mails} == {reply.split("(")[1].rstrip(")")}
        assert all(mail.body.endswith(TEXT) for mail in mails)
        assert {mail.sender for mail in mails} == {"alice@sender.test"}
        assert {mail.entry.state for mail in mails} == {State.ACTIVE}
        [fact] = rig.facts.mails
        assert (fact.recipients, fact.client) == (["bob@there.test", "carol@elsewhere.test"], "127.0.0.1")


async def test_ehlo_names_what_is_supported() -> None:
    async with serving(databytes=123_456, max_recipients=77) as rig:
        client = await rig.client()
        assert await client.ehlo() == [
            "PIPELINING",
            "SIZE 123456",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "DSN",
            "LIMITS RCPTMAX=77",
            "HELP",
        ]
        await client.quit()


async def test_a_whole_session_in_one_write_is_answered_in_order() -> None:
    """Pipelining (RFC 2920), and bolder than it allows: the client did not even wait for the greeting."""
    async with serving() as rig:
        client = await rig.stranger()
        client.send(
            b"EHLO client.test\r\n"
            b"MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@there.test>\r\nRCPT TO:<nobody>\r\nDATA\r\n"
            + TEXT
            + b".\r\nMAIL FROM:<>\r\nRCPT TO:<carol@there.test>\r\nDATA\r\n"
            + TEXT
            + b".\r\nQUIT\r\n"
        )
        await client.reply(enhanced=False)
        await client.reply(enhanced=False)
        codes = [reply[:9] for reply in await client.replies(9)]
        assert codes == [
            "250 2.1.0", "250 2.1.5", "501 5.1.3", "354 End d", "250 2.0.0",
            "250 2.1.0", "250 2.1.5", "354 End d", "250 2.0.0",
        ]  # fmt: skip
        assert (await client.reply()).startswith("221 2.0.0 ")
        assert await client.rest() == b""
        client.close()
        assert [mail.sender for mail in await rig.mails()] == ["alice@sender.test", ""]


async def test_many_messages_go_over_one_connection() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        replies = [await client.mail() for _ in range(150)]
        await client.quit()

        assert all(reply.startswith("250 2.0.0 Message Queued (") for reply in replies)
        assert len(set(replies)) == 150


async def test_always_split_queues_each_recipient_by_itself() -> None:
    async with serving(outbound=OutboundSettings(always_split=True)) as rig:
        client = await rig.greeted()
        await client.mail(TEXT, "bob@there.test", "carol@there.test")
        await client.quit()
        assert [mail.recipients for mail in await rig.mails()] == [["bob@there.test"], ["carol@there.test"]]

"""What one client may do: recipients, errors, idle talk, and how many clients there may be."""

from __future__ import annotations

import pytest
from tests.support.ingress import Rig, serving
from tests.support.plugins import answering, chain
from tests.support.smtp_client import Client

from mailboat.hooks import DENYSOFT, Point
from mailboat.ingress.policy_gate import MAX_IDLE_COMMANDS
from mailboat.model.observer import RejectReason


async def test_recipients_over_the_limit_are_452_and_the_others_get_the_message() -> None:
    async with serving(max_recipients=3) as rig:
        client = await rig.greeted()
        await client.ask("MAIL FROM:<alice@sender.test>")
        replies = [await client.ask(f"RCPT TO:<r{n}@there.test>") for n in range(5)]
        assert [reply[:10] for reply in replies] == ["250 2.1.5 "] * 3 + ["452 4.5.3 "] * 2
        await client.ask("DATA")
        client.send(b"x\r\n.\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        await client.quit()
        [mail] = await rig.mails()
        assert mail.recipients == ["r0@there.test", "r1@there.test", "r2@there.test"]
        assert rig.facts.reasons == [RejectReason.TOO_MANY_RECIPIENTS] * 2


async def test_too_many_errors_end_the_connection_with_421() -> None:
    async with serving(max_errors=5) as rig:
        client = await rig.greeted()
        client.send(b"NONSENSE\r\n" * 50)
        assert [reply[:10] for reply in await client.replies(6)] == ["500 5.5.2 "] * 5 + ["421 4.7.0 "]
        assert await client.rest() == b""
        client.close()
        assert rig.facts.reasons == [RejectReason.SYNTAX] * 5 + [RejectReason.TOO_MANY_ERRORS]


async def test_refused_recipients_are_errors_too() -> None:
    async with serving(max_errors=3, acl=()) as rig:
        client = await rig.greeted()
        await client.ask("MAIL FROM:<alice@sender.test>")
        for n in range(3):
            assert (await client.ask(f"RCPT TO:<r{n}@there.test>")).startswith("550 5.7.1 ")
        assert (await client.reply()).startswith("421 4.7.0 ")
        assert await client.rest() == b""
        client.close()


async def test_trouble_of_ours_is_no_error_of_the_client() -> None:
    async with serving(max_errors=2) as rig:
        rig.load.memory_full = True
        client = await rig.greeted()
        for _ in range(10):
            assert (await client.ask("MAIL FROM:<alice@sender.test>")).startswith("451 4.3.2 ")
        await client.quit()


@pytest.mark.parametrize(
    ("busy", "expected"),
    [(True, ["451", "503", "503", "503", "250"]), (False, ["250", "450", "450", "503", "250"])],
    ids=["MAIL", "RCPT"],
)
async def test_what_follows_our_temporary_refusal_in_a_pipeline_is_no_error_of_the_client(
    busy: bool, expected: list[str]
) -> None:
    """Nor is its RSET an idle command, however often the client tries again."""
    pipeline = b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<b@there.test>\r\nRCPT TO:<c@there.test>\r\nDATA\r\nRSET\r\n"
    async with serving(max_errors=2, hooks=chain({Point.RCPT: answering(DENYSOFT, sync=True)})) as rig:
        rig.load.memory_full = busy
        client = await rig.greeted()
        for _ in range(MAX_IDLE_COMMANDS + 5):
            client.send(pipeline)
            assert [reply[:3] for reply in await client.replies(len(expected))] == expected
        assert (await client.ask("NOOP")).startswith("250 ")
        await client.quit()


@pytest.mark.parametrize("end", ["RSET", "EHLO client.test"])
async def test_a_wrong_sequence_behind_the_end_of_a_refused_transaction_is_an_error_again(end: str) -> None:
    async with serving(max_errors=2) as rig:
        client = await rig.greeted()
        rig.load.memory_full = True
        assert (await client.ask("MAIL FROM:<alice@sender.test>")).startswith("451 ")
        assert (await client.ask(end)).startswith("250")
        assert [(await client.ask("DATA"))[:4] for _ in range(2)] == ["503 "] * 2
        assert (await client.reply()).startswith("421 4.7.0 Too many errors")
        assert await client.rest() == b""
        client.close()


@pytest.mark.parametrize("command", ["NOOP", "RSET", "VRFY bob", "HELP", "EHLO again.test"])
async def test_commands_that_move_no_mail_become_errors_when_they_are_too_many(command: str) -> None:
    """As Postfix's junk commands: a hundred are free, the message that comes makes them forgotten."""
    async with serving(max_errors=3) as rig:
        client = await rig.greeted()
        for _ in range(MAX_IDLE_COMMANDS - 1):
            assert (await client.ask(command))[0] == "2"
        assert (await client.mail()).startswith("250 2.0.0 ")
        for _ in range(MAX_IDLE_COMMANDS + 3):
            assert (await client.ask(command))[0] == "2"
        assert (await client.reply()).startswith("421 4.7.0 ")
        assert await client.rest() == b""
        client.close()


async def turned_away(client: Client) -> str:
    """What a client hears that may not stay."""
    reply = await client.reply()
    assert await client.rest() == b""
    client.close()
    return reply


async def leave(rig: Rig, *clients: Client) -> None:
    """QUIT, and wait until the relay has seen all of them go."""
    here = rig.facts.here
    for client in clients:
        await client.quit()
    await rig.facts.until(lambda facts: facts.here == here - len(clients))


async def test_a_connection_over_the_limit_is_told_421_and_room_comes_back() -> None:
    async with serving(max_connections=2) as rig:
        first, second = await rig.greeted(), await rig.greeted()
        assert (await turned_away(await rig.stranger())).startswith("421 4.3.2 ")
        await leave(rig, first)
        third = await rig.greeted()
        await leave(rig, second, third)
        assert rig.facts.reasons == [RejectReason.TOO_MANY_CONNECTIONS]


async def test_one_address_cannot_take_all_connections() -> None:
    async with serving(max_connections_per_client=2) as rig:
        mine = [await rig.greeted(source="127.0.0.2") for _ in range(2)]
        assert (await turned_away(await rig.stranger(source="127.0.0.2"))).startswith("421 4.7.0 ")
        other = await rig.greeted(source="127.0.0.3")
        await leave(rig, other, *mine)
        await leave(rig, await rig.greeted(source="127.0.0.2"))

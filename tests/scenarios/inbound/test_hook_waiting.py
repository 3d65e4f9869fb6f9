"""While a plugin waits: only its own client waits, in order and in bounds, and nothing is left when it goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.scenarios.inbound.test_large_bodies import spooling
from tests.support.ingress import Rig, serving
from tests.support.plugins import Gate, chain
from tests.support.smtp_client import TEXT, Client
from tests.support.stores import files_in, until

from mailboat.hooks import DENY, Point
from mailboat.ingress.dialogue import MAX_BUFFERED
from mailboat.model.observer import RejectReason
from mailboat.queue.body_writer import SPOOL_THRESHOLD

ALL = (
    b"EHLO client.test\r\nMAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n"
    + TEXT
    + b".\r\nNOOP\r\n"
)
POINTS = [
    Point.CONNECT,
    Point.EHLO,
    Point.MAIL,
    Point.RCPT,
    Point.DATA_POST,
    Point.QUEUE_OUTBOUND,
    Point.PRE_SEND_TRANS_EMAIL,
    Point.QUEUE_OK,
]
BEFORE_QUEUE = POINTS[:-1]


async def silent(client: Client) -> None:
    """Nothing is said to the client now."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.readexactly(1), 0.03)


async def waiting_at(rig: Rig, gate: Gate, octets: bytes = ALL) -> Client:
    """A client that has said everything, and whose hook waits; what was said to it before is read."""
    client = await rig.stranger()
    client.send(octets)
    await until(lambda: gate.waiting == 1)
    return client


async def heard(client: Client) -> list[str]:
    """The codes of all replies from the greeting to that to NOOP."""
    return [(await client.reply(enhanced=False))[:3] for _ in range(7)]


@pytest.mark.parametrize("point", POINTS)
async def test_pipelined_commands_wait_and_others_go_on(point: Point) -> None:
    gate = Gate()
    async with serving(hooks=chain({point: gate.hook})) as rig:
        client = await waiting_at(rig, gate)
        other = await rig.stranger()
        other.send(ALL)
        await until(lambda: gate.waiting == 2)
        gate.open()
        assert await heard(client) == ["220", "250", "250", "250", "354", "250", "250"]
        assert await heard(other) == ["220", "250", "250", "250", "354", "250", "250"]
        await client.quit()
        await other.quit()
        assert len(await rig.mails()) == 2


@pytest.mark.parametrize("point", POINTS)
async def test_a_client_that_sends_no_more_still_gets_its_replies(point: Point) -> None:
    gate = Gate()
    async with serving(hooks=chain({point: gate.hook})) as rig:
        client = await waiting_at(rig, gate)
        client.half_close()
        [connection] = rig.connections
        await until(lambda: connection._eof)
        gate.open()
        assert await heard(client) == ["220", "250", "250", "250", "354", "250", "250"]
        assert await client.rest() == b""
        client.close()


@pytest.mark.parametrize("point", BEFORE_QUEUE)
async def test_a_client_that_is_gone_is_decided_about_no_more(point: Point) -> None:
    gate = Gate(DENY)
    async with serving(hooks=chain({point: gate.hook})) as rig:
        client = await waiting_at(rig, gate)
        client.reset()
        await until(lambda: gate.cancelled == 1)
        await rig.facts.until(lambda facts: facts.here == 0)
        gate.open()
        assert await rig.mails() == []
        assert rig.facts.reasons == []
        assert rig.facts.failures == []


async def test_what_is_queued_is_told_to_plugins_though_the_client_is_gone() -> None:
    gate = Gate()
    async with serving(hooks=chain({Point.QUEUE_OK: gate.hook})) as rig:
        client = await waiting_at(rig, gate)
        client.reset()
        await rig.facts.until(lambda facts: facts.here == 0)
        gate.open()
        await until(lambda: gate.done == 1)
        assert len(await rig.mails()) == 1
        assert len(rig.facts.mails) == 1


@pytest.mark.parametrize("point", [Point.DATA_POST, Point.QUEUE_OUTBOUND, Point.PRE_SEND_TRANS_EMAIL])
async def test_a_large_body_whose_client_is_gone_leaves_no_file(point: Point, tmp_path: Path) -> None:
    gate = Gate()
    async with spooling(tmp_path, hooks=chain({point: gate.hook})) as rig:
        large = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n"
        client = await waiting_at(rig, gate, ALL.replace(TEXT, large + (b"y" * 70 + b"\r\n") * (SPOOL_THRESHOLD // 60)))
        assert len(files_in(tmp_path / "incoming")) == 1
        client.reset()
        await until(lambda: gate.cancelled == 1)
        await until(lambda: files_in(tmp_path / "incoming") == [])


@pytest.mark.parametrize("point", BEFORE_QUEUE)
async def test_the_deadline_counts_on(point: Point) -> None:
    """A plugin that never ends, without a limit of its own, keeps no connection for ever."""
    gate = Gate()
    async with serving(hooks=chain({point: gate.hook}, timeout=0), inactivity_timeout=300) as rig:
        client = await waiting_at(rig, gate)
        rig.later(299)
        assert rig.facts.here == 1
        assert gate.waiting == 1
        rig.later(2)
        assert (await client.rest()).splitlines()[-1].startswith(b"421 4.3.2 ")
        client.close()
        await until(lambda: gate.cancelled == 1)
        assert rig.facts.reasons == [RejectReason.TIMEOUT]
        assert await rig.mails() == []


async def test_what_waits_is_bounded() -> None:
    gate = Gate()
    async with serving(hooks=chain({Point.MAIL: gate.hook})) as rig:
        client = await rig.greeted()
        client.send(b"MAIL FROM:<>\r\n" + b"NOOP\r\n" * 300_000)
        await until(lambda: gate.waiting == 1)
        [connection] = rig.connections
        await until(lambda: not connection._reading)
        await silent(client)
        assert connection.session.buffered < 4 * MAX_BUFFERED + 2**20
        rig.later(301)
        await until(lambda: gate.cancelled == 1)
        client.reset()


@pytest.mark.parametrize("point", POINTS)
async def test_draining_lets_a_message_that_is_being_decided_finish(point: Point) -> None:
    gate = Gate()
    async with serving(hooks=chain({point: gate.hook})) as rig:
        client = await waiting_at(rig, gate)
        rig.load.draining = True
        await rig.listener.close()
        if point is Point.CONNECT:  # nothing has begun
            assert (await client.rest()).startswith(b"421 4.3.2 ")
            await until(lambda: gate.cancelled == 1)
        else:
            gate.open()
            said = (await client.rest()).decode().splitlines()
            queued = [line for line in said if "Message Queued" in line]
            assert len(queued) == len(await rig.mails()) == 1
            assert said[-1].startswith("421 4.3.2 ")
        client.close()


async def test_the_end_of_the_grace_cancels_what_is_left() -> None:
    gate = Gate()
    async with serving(hooks=chain({Point.MAIL: gate.hook})) as rig:
        client = await waiting_at(rig, gate)
        await rig.listener.close()
        await rig.listener.finish(0.05)
        await until(lambda: gate.cancelled == 1)
        client.close()


async def test_a_hook_that_waits_in_implicit_tls_or_after_starttls_holds_back_what_comes_early() -> None:
    """The greeting waits for `connect`, so EHLO that comes before it is answered after it."""
    gate = Gate()
    async with serving(hooks=chain({Point.CONNECT: gate.hook})) as rig:
        client = await rig.stranger()
        client.send(b"EHLO client.test\r\n")
        await until(lambda: gate.waiting == 1)
        await silent(client)
        gate.open()
        assert (await client.reply(enhanced=False)).startswith("220 ")
        assert (await client.reply(enhanced=False)).startswith("250-")
        await client.quit()

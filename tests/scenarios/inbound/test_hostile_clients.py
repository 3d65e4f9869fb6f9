"""Clients that mean harm: whatever they send, they are answered or closed, memory is bounded, and others are served."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.support.ingress import Chain, Rig, serving
from tests.support.plugins import chain
from tests.support.smtp_client import PATIENCE, TEXT, Client

from mailboat.hooks import DENYSOFT, Code, Point
from mailboat.ingress.connection import LINGER


async def still_serves(rig: Rig) -> None:
    """Another client's mail is taken."""
    client = await rig.greeted(source="127.0.0.9")
    assert (await client.mail()).startswith("250 2.0.0 ")
    await client.quit()


async def push(client: Client, octets: bytes, times: int) -> bytes:
    """Send until the relay has enough, reading what it says meanwhile; everything it said."""

    async def send() -> None:
        for _ in range(times):
            client.send(octets)
            await client.writer.drain()
        client.half_close()

    sending = asyncio.create_task(send())
    heard = await client.rest()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(sending, return_exceptions=True)
    client.close()
    return heard


@pytest.mark.parametrize(
    ("octets", "times", "last"),
    [
        (b"\x00" * 65_536, 64, b"500 5.5.2 "),
        (b"x" * 2**20 + b"\r\n", 40, b"421 4.7.0 "),
        (b"x" * 2**20, 40, b"500 5.5.2 "),
        (b"\r\n" * 1000, 10, b"421 4.7.0 "),
        (b"\n" * 1000, 10, b"421 4.7.0 "),
        (b"\r" * 65_536, 10, b"500 5.5.2 "),
        (b"RSET\r\n" * 10_000, 1, b"421 4.7.0 "),
        (b"NOOP\r\n" * 10_000, 1, b"421 4.7.0 "),
        (b"EHLO c\r\nMAIL FROM:<a@b.test>\r\n" * 5_000, 1, b"421 4.7.0 "),
        (b"EHLO " + b"c" * 255 + b"\r\n", 5_000, b"421 4.7.0 "),
        (b"\xff\xfe\xfd" * 1000 + b"\r\n", 100, b"421 4.7.0 "),
    ],
    ids=[
        "NULs", "1 MiB lines", "a line without end", "empty lines", "line feeds", "carriage returns",
        "10,000 RSET", "10,000 NOOP", "transactions that lead nowhere", "endless EHLO", "octets of no script",
    ],
)  # fmt: skip
async def test_garbage_is_answered_and_ended(octets: bytes, times: int, last: bytes) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        tracemalloc.start()
        try:
            heard = await push(client, octets, times)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert heard.rstrip(b"\r\n").rpartition(b"\n")[2].startswith(last)
        assert len(heard) < 200_000
        assert peak < 16 * 2**20, "client and relay together"
        await still_serves(rig)


async def test_ten_thousand_recipients_are_each_answered() -> None:
    async with serving(max_recipients=1000) as rig:
        client = await rig.greeted()
        client.send(
            b"MAIL FROM:<a@b.test>\r\n"
            + b"".join(b"RCPT TO:<r%d@there.test>\r\n" % n for n in range(10_000))
            + b"DATA\r\n"
        )
        replies = await client.replies(10_002)
        assert [reply[:9] for reply in replies[1:-1]] == ["250 2.1.5"] * 1000 + ["452 4.5.3"] * 9000
        client.send(TEXT + b".\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        await client.quit()
        assert sum(len(mail.recipients) for mail in await rig.mails()) == 1000


async def test_a_message_of_one_line_without_end_takes_no_memory() -> None:
    async with serving(databytes=2**20) as rig:
        client = await rig.greeted()
        await client.begin()
        tracemalloc.start()
        try:
            heard = await push(client, b"x" * 65_536, 100)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert heard.startswith(b"552 5.3.4 ")
        assert peak < 8 * 2**20
        await still_serves(rig)


@pytest.mark.parametrize("method", ["GET / HTTP/1.1", "POST /submit HTTP/1.1", "CONNECT a:25 HTTP/1.1", "options *"])
async def test_a_browser_is_heard_no_further(method: str) -> None:
    """A web page can have its visitor's browser post to a port of loopback, from where mail may be relayed."""
    async with serving() as rig:
        client = await rig.client()
        client.send(
            method.encode() + b"\r\nHost: 127.0.0.1:2525\r\nContent-Type: text/plain\r\n\r\n"
            b"EHLO web.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" + TEXT + b".\r\n"
        )
        assert (await client.reply()).startswith("421 4.7.0 ")
        assert await client.rest() == b""
        client.close()
        assert await rig.mails() == []


async def test_nothing_behind_quit_is_run() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        client.send(b"QUIT\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" + TEXT + b".\r\n")
        assert (await client.rest()).startswith(b"221 2.0.0 ")
        client.close()
        assert await rig.mails() == []


words = st.sampled_from(
    [
        *(b"EHLO c", b"HELO", b"MAIL FROM:<a@b.test>", b"MAIL FROM:<>", b"RCPT TO:<c@d.test>", b"DATA", b"STARTTLS"),
        *(b"RSET", b"NOOP", b"BDAT 3 LAST", b"AUTH PLAIN", b".", b"..", b" ", b"<", b"\x00", b"\xff"),
        *(b"\r\n", b"\n", b"\r", b"\r\n.\r\n"),
        *(b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN", b"AUTH CRAM-MD5", b"AUTH LOGIN YQ==", b"YQ==", b"*", b"="),
    ]
)
garbage = st.lists(st.one_of(words, words, st.binary(max_size=20)), max_size=40).map(b"".join)
lines = st.lists(st.one_of(words, st.binary(max_size=20)), max_size=40).map(b"\r\n".join)


async def waits(*_: object) -> None:
    await asyncio.sleep(0)


async def knows_nobody(*_: object) -> Code:
    await asyncio.sleep(0)
    return DENYSOFT


PLUGINS = chain(
    {
        **dict.fromkeys((Point.CONNECT, Point.EHLO, Point.MAIL, Point.RCPT, Point.DATA_POST, Point.QUEUE_OK), waits),
        Point.AUTH: knows_nobody,
    },
    offers=lambda _: ("PLAIN", "LOGIN", "CRAM-MD5"),
)


@pytest.mark.parametrize("plugins", [None, PLUGINS], ids=["alone", "plugins"])
@given(octets=st.one_of(garbage, lines), pieces=st.integers(1, 4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_octets_at_all_make_the_relay_stumble(octets: bytes, pieces: int, plugins: Chain | None) -> None:
    """Every connection ends with an answer and a close, and `serving` sees that no exception reached the loop."""
    assume(b"QUIT" not in octets.upper())  # who talks on behind it may find the connection reset
    async with serving(hooks=plugins) as rig:
        client = await rig.stranger()
        step = len(octets) // pieces + 1
        await client.drip(octets[at : at + step] for at in range(0, len(octets), step))
        client.half_close()
        heard = await client.rest()
        client.close()
        assert heard.startswith(b"220 ")
        assert heard.endswith(b"\r\n")
        assert all(line[:3].isdigit() and line[3:4] in (b" ", b"-") for line in heard.split(b"\r\n")[:-1])
        rig.later(LINGER + 1)

"""Bodies over the spool's threshold go through a file and come back octet for octet; what is aborted leaves none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import Rig, serving
from tests.support.recorder import Recorder
from tests.support.smtp_client import TEXT
from tests.support.stores import files_in, until

from mailboat.model.envelope import SpooledBody
from mailboat.model.observer import Observer, RejectReason
from mailboat.queue.body_writer import MAX_PARTS, SPOOL_THRESHOLD
from mailboat.queue.opening import open_spool
from mailboat.smtp.data import stuff


@asynccontextmanager
async def spooling(directory: Path, **changes: Any) -> AsyncIterator[Rig]:
    """A relay with a real spool, which keeps no file under way when it is done."""
    clock = FixedClock()
    store = await open_spool(directory, 0, clock, Observer())
    try:
        async with serving(store, clock, **changes) as rig:
            yield rig
        assert files_in(directory / "incoming") == []
    finally:
        await store.close()


def body(octets: int) -> bytes:
    """A message of this size, full of lines with dots, and of every octet that a line may hold."""
    every = bytes(octet for octet in range(256) if octet not in b"\r\n")
    line = b".\r\n..\r\n.dot\r\n" + every + b"\r\n"
    return (TEXT + line * (octets // len(line) + 1))[: octets - 2].rstrip(b"\r").ljust(octets - 2, b"x") + b"\r\n"


SIZES = [SPOOL_THRESHOLD - 1, SPOOL_THRESHOLD, SPOOL_THRESHOLD + 1, 3 * SPOOL_THRESHOLD + 7, 5_000_000]


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_of_any_size_comes_back_octet_for_octet(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its taps see it as it is stored."""
    tap = Recorder()
    tap.watch(monkeypatch, "mailboat.ingress.transaction")
    sent = body(size)
    async with spooling(tmp_path) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(stuff(sent) + b".\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        await client.quit()
        [mail] = await rig.mails()
        assert mail.body.endswith(b"+0000\r\n" + sent)
        assert mail.entry.message.size == len(mail.body)
        assert tap.seen == mail.body
        assert isinstance(await rig.store.body(mail.entry), SpooledBody) == (size > SPOOL_THRESHOLD)


@pytest.mark.parametrize("piece", [65_536, 65_537, 4093, 1009])
async def test_pieces_may_end_anywhere_in_a_stuffed_line(tmp_path: Path, piece: int) -> None:
    sent = body(2 * SPOOL_THRESHOLD)
    octets = stuff(sent) + b".\r\n"
    async with spooling(tmp_path) as rig:
        client = await rig.greeted()
        await client.begin()
        await client.drip(octets[at : at + piece] for at in range(0, len(octets), piece))
        assert (await client.reply()).startswith("250 2.0.0 ")
        await client.quit()
        [mail] = await rig.mails()
        assert mail.body.endswith(b"+0000\r\n" + sent)


async def test_a_body_octet_by_octet_is_kept_in_few_pieces() -> None:
    """A piece costs memory besides its octets, and the client chooses how long pieces are."""
    sent = TEXT + b".\r\nx" * 1000 + b"\r\n"
    octets = stuff(sent) + b".\r\n"
    async with serving() as rig:
        client = await rig.greeted()
        await client.begin()
        [connection] = rig.connections
        transaction = connection._gate.client.message
        assert transaction is not None
        most = 0
        for at in range(len(octets)):
            await client.drip([octets[at : at + 1]])
            most = max(most, len(transaction._writer._parts))
        assert (await client.reply()).startswith("250 2.0.0 ")
        await client.quit()
        assert most <= MAX_PARTS + 1
        [mail] = await rig.mails()
        assert mail.body.endswith(sent)


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
async def test_a_large_body_that_breaks_off_leaves_no_file(tmp_path: Path, how: str) -> None:
    async with spooling(tmp_path) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(stuff(body(3 * SPOOL_THRESHOLD)))
        await until(lambda: len(files_in(tmp_path / "incoming")) == 1)
        getattr(client, how)()
        await rig.facts.until(lambda facts: facts.here == 0)
        client.close()
        await until(lambda: files_in(tmp_path / "incoming") == [])  # a thread may have it still
        assert await rig.mails() == []


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"y" * (2 * SPOOL_THRESHOLD) + b"\r\n", "550 5.6.0 "),
        (b"bare\n" + b"y" * 998 + b"\r\n", "550 5.6.0 "),
        (b"y" * 998 + b"\r\n", "552 5.3.4 "),
    ],
    ids=["a line too long", "a bare newline", "too large"],
)
async def test_a_large_body_that_is_refused_leaves_no_file(tmp_path: Path, text: bytes, reply: str) -> None:
    async with spooling(tmp_path, databytes=4 * SPOOL_THRESHOLD) as rig:
        client = await rig.greeted()
        await client.begin()
        good = b"y" * 998 + b"\r\n"
        client.send(good * (SPOOL_THRESHOLD // 500))
        await until(lambda: len(files_in(tmp_path / "incoming")) == 1)
        client.send(text * (1 if len(text) > 5000 else 4 * SPOOL_THRESHOLD // len(text)) + b".\r\n")
        assert (await client.reply()).startswith(reply)
        assert files_in(tmp_path / "incoming") == []
        await client.quit()
        assert await rig.mails() == []


async def test_a_large_loop_leaves_no_file(tmp_path: Path) -> None:
    async with spooling(tmp_path) as rig:
        client = await rig.greeted()
        reply = await client.mail(b"Received: by a.test\r\n" * 101 + b"\r\n" + b"y" * 998 + b"\r\n" * 2)
        assert reply.startswith("554 5.4.6 ")
        await client.begin()
        client.send(b"Received: by a.test\r\n" * 101 + b"\r\n" + (b"y" * 998 + b"\r\n") * 1000 + b".\r\n")
        assert (await client.reply()).startswith("554 5.4.6 ")
        await client.quit()
        assert rig.facts.reasons == [RejectReason.LOOP] * 2


async def test_a_reset_connection_while_storing_keeps_the_message(tmp_path: Path) -> None:
    async with spooling(tmp_path) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send((b"y" * 998 + b"\r\n") * 1000 + b".\r\n")
        await rig.facts.until(lambda facts: len(facts.mails) == 1)
        client.reset()
        await rig.facts.until(lambda facts: facts.here == 0)
        assert len(await rig.mails()) == 1

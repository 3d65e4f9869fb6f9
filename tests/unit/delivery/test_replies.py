"""Replies are cut out of whatever pieces the network makes of them, within bounds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.delivery.replies import (
    MAX_REPLY_LINES,
    MAX_REPLY_OCTETS,
    Broken,
    RawReply,
    ReplyStream,
    decode,
    printable,
)
from mailboat.delivery.verdict import FaultKind


class FakeTransport(asyncio.Transport):
    """Notes what is written and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.closed = False
        self.ended = asyncio.Event()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.aborted or self.closed

    def abort(self) -> None:
        self.aborted = True
        self.ended.set()

    def close(self) -> None:
        self.closed = True


def make() -> tuple[ReplyStream, FakeTransport]:
    """A connected stream."""
    transport = FakeTransport()
    stream = ReplyStream(asyncio.get_running_loop(), greeting_timeout=5.0)
    stream.connection_made(transport)
    return stream, transport


async def replies_of(pieces: list[bytes], count: int) -> list[RawReply]:
    """What a stream makes of the pieces when so many replies are expected."""
    stream, _ = make()
    stream.expect((5.0,) * count)
    collecting = asyncio.ensure_future(stream.collect())
    await asyncio.sleep(0)
    for piece in pieces:
        stream.data_received(piece)
    replies = await collecting
    stream.connection_lost(None)
    return replies


WIRE = b"250-a\r\n250-\r\n250 b\r\n354 go\r\n250\r\n550 5.1.1 no\n"
EXPECTED = [(250, b"250-a\r\n250-\r\n250 b\r"), (354, b"354 go\r"), (250, b"250\r"), (550, b"550 5.1.1 no")]


async def test_the_same_replies_come_out_however_the_octets_are_cut() -> None:
    assert await replies_of([WIRE], 4) == EXPECTED
    assert await replies_of([WIRE[i : i + 1] for i in range(len(WIRE))], 4) == EXPECTED
    for cut in range(len(WIRE)):
        assert await replies_of([WIRE[:cut], WIRE[cut:]], 4) == EXPECTED


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_octets_break_the_stream_and_the_cut_does_not_matter(octets: bytes, cut: int) -> None:
    """Garbage is a fault, never an exception."""

    async def run(pieces: list[bytes]) -> tuple[FaultKind, list[RawReply]]:
        stream, _ = make()
        stream.expect((5.0,) * 3)
        for piece in pieces:
            stream.data_received(piece)
        stream.eof_received()
        stream.connection_lost(None)
        replies: list[RawReply] = []
        try:
            replies = await stream.collect()
            stream.expect((5.0,))
        except Broken as broken:
            return broken.kind, replies or list(broken.replies)
        raise AssertionError("a stream that has ended expects replies")

    assert asyncio.run(run([octets])) == asyncio.run(run([octets[:cut], octets[cut:]]))


@pytest.mark.parametrize(
    "line", [b"x\r\n", b"25 \r\n", b"2x0 a\r\n", b"1000\r\n", b"250_a\r\n", b"\r\n", b" 250 a\r\n", b"+50 a\r\n"]
)
async def test_what_is_no_reply_breaks_the_connection(line: bytes) -> None:
    with pytest.raises(Broken) as broken:
        await replies_of([b"250 ok\r\n" + line], 2)

    assert broken.value.kind is FaultKind.PROTOCOL
    assert broken.value.replies == [(250, b"250 ok\r")]
    assert str(broken.value).isprintable()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"250-a\r\n"] * (MAX_REPLY_LINES + 1),
        [b"250-" + b"a" * 1000 + b"\r\n"] * 70,
        [b"a" * 1024] * (MAX_REPLY_OCTETS // 1024 + 1),
    ],
    ids=["lines", "octets", "line"],
)
async def test_a_reply_without_end_breaks_the_connection(pieces: list[bytes]) -> None:
    with pytest.raises(Broken, match="without end") as broken:
        await replies_of(pieces, 1)

    assert broken.value.kind is FaultKind.PROTOCOL


async def test_a_reply_out_of_turn_makes_the_next_exchange_fail() -> None:
    stream, transport = make()
    stream.data_received(b"220 hello\r\n")
    assert await stream.collect() == [(220, b"220 hello\r")]
    stream.data_received(b"421 bye\r\n")

    assert not stream.usable
    with pytest.raises(Broken, match="421 bye"):
        await stream.exchange(b"MAIL\r\n", (1.0,))
    assert transport.written == b""


async def test_half_a_reply_out_of_turn_does_too() -> None:
    stream, _ = make()
    stream.data_received(b"25")

    assert not stream.usable
    with pytest.raises(Broken):
        stream.expect((1.0,))


async def test_the_time_of_a_reply_begins_with_the_end_of_the_one_before() -> None:
    stream, _ = make()
    loop = asyncio.get_running_loop()
    stream.expect((60.0, 0.05))
    collecting = asyncio.ensure_future(stream.collect())
    await asyncio.sleep(0)
    began = loop.time()
    stream.data_received(b"250 ok\r\n250-not yet\r\n")
    with pytest.raises(Broken, match="in time") as broken:
        await collecting

    assert broken.value.kind is FaultKind.TIMEOUT
    assert broken.value.replies == [(250, b"250 ok\r")]
    assert loop.time() - began < 30


async def test_octets_without_an_end_do_not_prolong_the_time() -> None:
    stream, _ = make()
    stream.expect((0.05,))
    collecting = asyncio.ensure_future(stream.collect())
    ticks = 0
    while not collecting.done():
        stream.data_received(b"250-x\r\n" if ticks % 2 else b"")
        ticks += 1
        await asyncio.sleep(0.005)
    with pytest.raises(Broken):
        await collecting


async def test_quit_is_said_once_and_cut_off_in_the_end() -> None:
    stream, transport = make()
    closed = asyncio.Event()
    stream.on_closed = closed.set
    stream.quit(0.01)
    stream.quit(0.01)
    assert transport.written == b"QUIT\r\n"
    async with asyncio.timeout(10):
        await transport.ended.wait()
    assert transport.aborted
    stream.connection_lost(None)

    assert closed.is_set()


async def test_the_reply_to_quit_closes() -> None:
    stream, transport = make()
    stream.quit(5.0)
    stream.data_received(b"221 bye\r\n")
    assert transport.closed
    stream.connection_lost(None)


async def test_draining_waits_until_all_is_written_and_fails_when_nothing_moves() -> None:
    stream, _ = make()
    stream.expect((5.0,))
    stream.pause_writing()
    assert not stream.flushed
    draining = asyncio.ensure_future(stream.drain(5.0))
    await asyncio.sleep(0)
    stream.resume_writing()
    await draining
    assert stream.flushed

    stream.pause_writing()
    with pytest.raises(Broken, match="took no data"):
        await stream.drain(0.01)


async def test_draining_ends_when_the_peer_answers_early() -> None:
    stream, _ = make()
    stream.expect((5.0,))
    stream.pause_writing()
    draining = asyncio.ensure_future(stream.drain(5.0))
    await asyncio.sleep(0)
    stream.data_received(b"552 too big\r\n")
    await draining

    assert stream.answered_early
    assert await stream.collect() == [(552, b"552 too big\r")]


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"250 2.0.0 ok\r", "2.0.0 ok"),
        (b"250", ""),
        (b"250-a\r\n250-b\r\n250 c\r", "a\nb\nc"),
        (b"550 \xc3\xbc\xff\x00\x1b[1m\xe2\x80\xae", "ü\ufffd??[1m?"),
    ],
)
def test_text_is_decoded_for_people(octets: bytes, text: str) -> None:
    assert decode((int(octets[:3]), octets)).text == text


def test_very_long_text_is_cut() -> None:
    assert len(printable("x" * 100_000)) < 5000

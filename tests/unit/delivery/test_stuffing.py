"""Dot-stuffing is undone by a receiver octet for octet, wherever the pieces are cut."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.delivery.stuffing import END, ShortBodyError, Stuffer, pieces, stuffed

octets = st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\r", b"\n", b".\r\n", b"\r\n.\r\n"])).map(b"".join)


def unstuffed(wire: bytes) -> bytes:
    """What a server makes of it: up to CRLF.CRLF, without the dots; nothing may follow."""
    wire = b"\r\n" + wire
    end = wire.find(b"\r\n.\r\n")
    assert end + 5 == len(wire), "the end of the message came too early, or not at all"
    return wire[: end + 2].replace(b"\r\n.", b"\r\n")[2:]


def ended(body: bytes) -> bytes:
    """The body as it must arrive: with a CRLF at its end."""
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


@given(octets)
def test_a_receiver_gets_the_body(body: bytes) -> None:
    assert unstuffed(stuffed(body)) == ended(body)


@given(st.lists(octets))
def test_pieces_make_the_same_as_the_whole(parts: list[bytes]) -> None:
    stuffer = Stuffer()
    wire = b"".join(stuffer.feed(part) for part in parts) + stuffer.end()

    assert wire == stuffed(b"".join(parts))


@pytest.mark.parametrize(
    "body", [b"", b".\r\n" * 50_000, b"x" * 65_535 + b"\n.\r\n", b"x" * 65_534 + b"\r\n.", b"no end"]
)
async def test_a_file_is_stuffed_as_it_is_read(body: bytes) -> None:
    wire = b"".join([piece async for piece in pieces(io.BytesIO(body), len(body))])

    assert wire == stuffed(body)


async def test_only_as_much_as_was_stored_is_sent() -> None:
    assert [piece async for piece in pieces(io.BytesIO(b"abc\r\nmore"), 5)] == [b"abc\r\n" + END]


async def test_a_file_that_is_short_is_an_error() -> None:
    with pytest.raises(ShortBodyError, match="2 octets short"):
        [piece async for piece in pieces(io.BytesIO(b"abc"), 5)]

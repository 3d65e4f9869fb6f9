"""What is found out of a new message while it is written: its taps see what is stored, wherever its octets are cut."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.recorder import Recorder
from tests.support.submission import octets

from mailboat.config.settings import Nul
from mailboat.message.prepare import Preparation, TooManyHopsError
from mailboat.model.envelope import Body, SpooledBody
from mailboat.queue.body_writer import SPOOL_THRESHOLD, BodyWriter, discard_body
from mailboat.queue.store import Store

TRACE = b"Received: by me.test; now\r\n"
HEADER = b"Subject: x\r\nMessage-ID: <1@a.test>\r\nDate: today\r\n"
SIZES = [10, SPOOL_THRESHOLD + 10]


class Files:
    """The one thing of a store that a writer asks for."""

    def new_body_file(self) -> tuple[str, int]:
        file, path = tempfile.mkstemp()
        return path, file


async def write(pieces: Sequence[bytes], preparation: Preparation, nul: Nul = Nul.PASS) -> tuple[Body, BodyWriter]:
    """What becomes of a message in pieces, and its writer."""
    writer = BodyWriter(cast("Store", Files()), lambda: preparation, nul)
    for piece in pieces:
        if (writing := writer.write(piece)) is not None:
            await writing
    return await writer.completed(), writer


def preparation(tap: Recorder, trace: bytes = TRACE, removed: Sequence[bytes] = (), most: int = 10) -> Preparation:
    return Preparation("id1", "me.test", b"today", trace, most, removed, [tap])


@given(st.sampled_from(SIZES), st.lists(st.integers(0, SPOOL_THRESHOLD + 100), max_size=4))
def test_a_tap_sees_the_stored_octets_in_order(size: int, cuts: list[int]) -> None:
    message = HEADER + b"\r\n" + bytes(range(1, 128)) * (size // 127 + 1)
    ends = sorted({0, *(cut for cut in cuts if cut < len(message)), len(message)})
    pieces = [message[start:end] for start, end in pairwise(ends)]
    tap = Recorder()
    body, _ = asyncio.run(write(pieces, preparation(tap)))
    stored = octets(body)
    discard_body(body)
    assert stored == tap.seen == TRACE + message
    assert body.size == len(stored) if isinstance(body, SpooledBody) else size == SIZES[0]


@pytest.mark.parametrize("size", SIZES)
async def test_a_tap_sees_what_became_of_the_header_and_of_nul_octets(size: int) -> None:
    tap = Recorder()
    message = b"Bcc: secret@a.test\r\nSubject: x\r\n\r\n\0" + b"y" * size
    body, _ = await write([message], preparation(tap, removed=[b"bcc"]), Nul.STRIP)
    added = TRACE + b"Message-ID: <id1@me.test>\r\nDate: today\r\n"
    assert tap.seen == octets(body) == added + b"Subject: x\r\n\r\n" + b"y" * size
    discard_body(body)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("trace", "text", "is_ascii"),
    [
        (TRACE, b"x", True),
        (TRACE, b"\xe4", False),
        ("Received: by me.test for <ä@a.test>; now\r\n".encode(), b"x", True),
        ("Received: by me.test for <ä@a.test>; now\r\n".encode(), b"\xe4", False),
    ],
)
@pytest.mark.parametrize("place", [0, 1], ids=["header", "end"])
async def test_a_message_is_ascii_or_not_whatever_its_trace_fields_are(
    size: int, trace: bytes, text: bytes, is_ascii: bool, place: int
) -> None:
    parts = [b"X-Text: ", b"\r\n" + HEADER + b"\r\n" + b"y" * size]
    parts[place] += text
    body, writer = await write([b"".join(parts)], preparation(Recorder(), trace))
    discard_body(body)
    assert writer.ascii.is_ascii is is_ascii


@pytest.mark.parametrize("size", SIZES)
async def test_a_message_that_is_not_taken_is_shown_to_no_tap(size: int) -> None:
    tap = Recorder()
    with pytest.raises(TooManyHopsError):
        await write([b"Received: x\r\n" + HEADER + b"\r\n" + b"y" * size], preparation(tap, most=0))
    assert tap.seen == b""

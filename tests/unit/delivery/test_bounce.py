"""What a bounce message brings back: the whole original, however large, or its header where that is configured."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import errno
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.recorder import Recorder
from tests.support.stores import draft, files_in
from tests.support.submission import octets

from mailboat.config.settings import OutboundSettings, Settings
from mailboat.delivery.bounce import Bounces
from mailboat.message.prepare import Preparation
from mailboat.model.envelope import Draft, Entry, SpooledBody
from mailboat.model.observer import Observer
from mailboat.model.outcome import AttemptReport, Outcome, Result, Stage
from mailboat.model.reply import Reply
from mailboat.queue.body_writer import BodyWriter, discard_body
from mailboat.queue.entry import Transition
from mailboat.queue.opening import open_spool
from mailboat.queue.spool import Spool
from mailboat.queue.store import StorageError, StorageFull

HEADER = (
    b"From: alice@sender.test\r\nSubject: large\r\n"
    b"Message-ID: <1@sender.test>\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\n\r\n"
)
LINES = b"..a line that is as long as others, with a number behind it: %07d\r\n"
LARGE = HEADER + b"".join(LINES % number for number in range(40_000))
SETTINGS = Settings("", "relay.test")


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    yield store
    await store.close()


async def stored(store: Spool, original: bytes) -> Entry:
    """A message of these octets in the queue."""
    writer = BodyWriter(store, lambda: Preparation("1", "sender.test", b"", b"", 100))
    if (writing := writer.write(original)) is not None:
        await writing
    body = await writer.completed()
    [entry] = await store.accept(draft(body=body))
    return entry


async def bounced(store: Spool, entry: Entry, most: int = 0) -> Draft:
    """The bounce for an entry."""
    reply = Reply(550, "5.1.1 no such user")
    outcome = Outcome(entry.recipients[0].id, Result.BOUNCED, "5.1.1", Stage.RCPT, str(reply), reply, "mx.there.test")
    settings = replace(SETTINGS, outbound=OutboundSettings(bounce_original_max=most))
    change = Transition(AttemptReport((outcome,), None, 0.0, 0.0), None, (outcome,), None)
    return await Bounces(store, FixedClock(), Observer()).write(entry, change, settings)


async def written(store: Spool, original: bytes, most: int = 0) -> Draft:
    """The bounce for a message of these octets."""
    return await bounced(store, await stored(store, original), most)


def returned(bounce: Draft) -> tuple[str, bytes]:
    """The type and content of the third part, as somebody else's parser sees it."""
    report = email.parser.BytesParser(policy=email.policy.SMTP).parsebytes(octets(bounce.body))
    assert [part.defects for part in report.walk()] == [[] for _ in report.walk()]
    _, _, third = report.iter_parts()
    kind = third.get_content_type()
    content = third.get_payload(decode=True)
    return kind, content if isinstance(content, bytes) else b""


@pytest.mark.parametrize("extra", [b"", b"\xe4\xf6\xfc\r\n"], ids=["ascii", "8bit"])
@pytest.mark.parametrize("size", [1000, 300_000, len(LARGE)], ids=["in memory", "on disk", "too large for memory"])
async def test_the_entire_original_comes_back(spool: Spool, tmp_path: Path, size: int, extra: bytes) -> None:
    original = LARGE[:size].rpartition(b"\n")[0] + b"\n" + extra
    bounce = await written(spool, original)
    text = octets(bounce.body)
    assert b"\r\n\r\n" + original + b"\r\n--" in text
    assert returned(bounce)[0] == "message/rfc822"
    assert ("BODY" in bounce.parameters) == (extra != b"")
    assert text.startswith(b"Received: (Mailboat outbound); ")
    assert isinstance(bounce.body, SpooledBody) == (size != 1000)
    if isinstance(bounce.body, SpooledBody):
        assert bounce.body.size == len(text)
    [entry] = await spool.accept(bounce)
    assert octets(await spool.body(entry)) == text
    assert files_in(tmp_path / "incoming") == []


@pytest.mark.parametrize("size", [1000, 300_000, len(LARGE)], ids=["in memory", "on disk", "too large for memory"])
async def test_a_bounce_is_prepared_like_every_new_message(spool: Spool, monkeypatch: Any, size: int) -> None:
    """Its taps see its octets as they are stored."""
    tap = Recorder()
    tap.watch(monkeypatch, "mailboat.delivery.bounce")
    bounce = await written(spool, LARGE[:size])
    assert tap.seen == octets(bounce.body)
    discard_body(bounce.body)


async def test_lines_are_whole_wherever_the_file_is_read_in_pieces(spool: Spool) -> None:
    """One of the lines lies over the end of the first piece, and is not longer than it was."""
    long = HEADER + b"x" * 990 + b"\r\n" + b"y" * 60 + b"\r\n"
    original = long + LARGE[len(HEADER) :]
    assert original in octets((await written(spool, original)).body)


@pytest.mark.parametrize("size", [2000, len(LARGE)], ids=["in memory", "on disk"])
async def test_a_larger_original_than_configured_comes_back_as_its_header(spool: Spool, size: int) -> None:
    bounce = await written(spool, LARGE[:size], most=size - 1)
    kind, content = returned(bounce)
    assert kind == "text/rfc822-headers"
    assert content.replace(b"\r\n", b"\n").strip() == HEADER.replace(b"\r\n", b"\n").strip()
    assert returned(await written(spool, LARGE[:size], most=size))[0] == "message/rfc822"


async def test_without_room_for_a_large_bounce_nothing_is_left_and_it_is_storage_trouble(
    spool: Spool, tmp_path: Path, monkeypatch: Any
) -> None:
    def full(data: bytes) -> bytes:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr("mailboat.delivery.bounce.wrapped", full)
        with pytest.raises(StorageError, match="no space"):
            await written(spool, LARGE)
    assert files_in(tmp_path / "incoming") == []


@pytest.mark.parametrize("size", [300_000, len(LARGE)], ids=["on disk", "too large for memory"])
async def test_a_disk_that_fills_up_under_a_bounce_is_storage_trouble_and_nothing_is_left(
    spool: Spool, tmp_path: Path, monkeypatch: Any, size: int
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    entry = await stored(spool, LARGE[:size])
    with monkeypatch.context() as patched:
        patched.setattr("mailboat.queue.body_writer.os.write", full)
        with pytest.raises(StorageFull, match="no space"):
            await bounced(spool, entry)
    assert files_in(tmp_path / "incoming") == []


async def test_a_bounce_that_is_interrupted_leaves_nothing(spool: Spool, tmp_path: Path, monkeypatch: Any) -> None:
    entry = await stored(spool, LARGE)
    loop, writing, held, removed = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), asyncio.Event()
    write, remove = os.write, BodyWriter._remove

    def slow(file: int, octets: bytes) -> int:
        loop.call_soon_threadsafe(writing.set)
        assert held.wait(10)
        return write(file, octets)

    def told(writer: BodyWriter) -> None:
        remove(writer)
        removed.set()

    with monkeypatch.context() as patched:
        patched.setattr("mailboat.queue.body_writer.os.write", slow)
        patched.setattr(BodyWriter, "_remove", told)
        bouncing = asyncio.create_task(bounced(spool, entry))
        await writing.wait()
        bouncing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bouncing
        held.set()
        async with asyncio.timeout(10):
            await removed.wait()
    assert files_in(tmp_path / "incoming") == []

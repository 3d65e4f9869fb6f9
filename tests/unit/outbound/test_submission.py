"""A plugin's mail on its way into the queue: header, limits, large contents, and storage that fails."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.outbound import OutboundRig, outbound_rig
from tests.support.stores import files_in

from mailboat.model.observer import Observer
from mailboat.outbound import sending
from mailboat.outbound.letter import Refused, RefusedError
from mailboat.outbound.sending import deliver, letter_of
from mailboat.queue.body_writer import SPOOL_THRESHOLD
from mailboat.queue.memory import MemoryStore
from mailboat.queue.spool import Spool
from mailboat.queue.store import StorageError, StorageFull

DATE = b"Tue, 14 Nov 2023 22:13:20 +0000"
TEXT = b"From: a@sender.test\r\nSubject: hi\r\n\r\nGood day.\r\n"


async def send(contents: object, *to: str, **options: Any) -> str:
    return await deliver(letter_of("a@sender.test", list(to) or ["b@there.test"], options), contents)


async def only(rig: OutboundRig) -> bytes:
    [(_, body)] = await rig.mails()
    return body


async def pieces(octets: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(octets), size):
        yield octets[at : at + size]


async def test_what_is_missing_is_added_and_what_is_there_stays() -> None:
    async with outbound_rig() as rig:
        id_ = await send("Subject: hi\n\nGood day")
        assert await only(rig) == (
            b"Received: (Mailboat outbound); " + DATE + b"\r\n"
            b"Subject: hi\r\nMessage-ID: <" + id_.encode() + b"@relay.test>\r\nDate: " + DATE + b"\r\n\r\nGood day\r\n"
        )
        [fact] = rig.facts.mails
        assert (fact.message.id, fact.client, fact.protocol, fact.recipients) == (id_, "", "LOCAL", ["b@there.test"])


@pytest.mark.parametrize("given", [b"", b"<>", b" "])
async def test_an_empty_message_id_is_replaced(given: bytes) -> None:
    async with outbound_rig() as rig:
        await send(b"Message-Id: " + given + b"\nSubject: hi\n\nGood day")
        assert (await only(rig)).lower().count(b"message-id:") == 1
        assert b"@relay.test>" in await only(rig)


async def test_no_received_header_where_it_is_disabled() -> None:
    async with outbound_rig(outbound={"received_header": "disabled"}) as rig:
        await send(TEXT)
        assert (await only(rig)).startswith(b"From: ")


@pytest.mark.parametrize(
    ("option", "name"), [("remove_msgid", b"Message-ID"), ("remove_date", b"Date")], ids=["message id", "date"]
)
async def test_a_field_of_quarantined_mail_gives_way_to_a_new_one(option: str, name: bytes) -> None:
    """With all of its lines, in any case, and only in the header."""
    old = b"%b: <old@one>\r\n\tand more\r\nX-Old: 1\r\n%b: <old@two>\r\n" % (name.lower(), name.upper())
    async with outbound_rig() as rig:
        await send(b"X-First: 1\r\n" + old + b"\r\n%b: <body@text>\r\n" % name, **{option: True})
        header, _, text = (await only(rig)).partition(b"\r\n\r\n")
        assert header.lower().count(b"\r\n" + name.lower() + b":") == 1
        assert b"old@" not in header
        assert b"and more" not in header
        assert b"X-Old: 1" in header
        assert text == b"%b: <body@text>\r\n" % name


async def test_recipients_are_grouped_by_domain_or_split() -> None:
    to = ("a@one.test", "b@TWO.test", "c@One.test")
    async with outbound_rig() as rig:
        await send(TEXT, *to)
        found = [(entry.domain, [str(r.address) for r in entry.recipients]) for entry, _ in await rig.mails()]
        assert found == [("one.test", ["a@one.test", "c@One.test"]), ("two.test", ["b@TWO.test"])]
    async with outbound_rig(outbound={"always_split": True}) as rig:
        await send(TEXT, *to)
        assert [entry.domain for entry, _ in await rig.mails()] == ["one.test", "two.test", "one.test"]


async def test_notes_and_what_the_next_hop_must_know_are_queued_with_the_message() -> None:
    async with outbound_rig() as rig:
        await send("Subject: ü\n\nü\n", "jürgen@there.test", notes={"campaign": 7})
        [(entry, _)] = await rig.mails()
        assert entry.message.notes == {"campaign": 7}
        assert (entry.message.eightbit, entry.message.smtputf8) == (True, True)


@pytest.mark.parametrize("size", [1, 7, 4096, 300_000])
async def test_a_large_stream_goes_to_a_file_and_comes_out_whole(tmp_path: Path, size: int) -> None:
    """Without its last line end, and with bare line feeds: each piece is normalised."""
    lines = [b"line %d" % number for number in range(60_000 if size > 100 else 2_000)]
    clock = FixedClock()
    store = await Spool.open(tmp_path, 0, clock, Observer())
    async with outbound_rig(store) as rig:
        await send(pieces(b"Subject: hi\n\n" + b"\n".join(lines), size))
        body = await only(rig)
        assert body.endswith(b"\r\n\r\n" + b"\r\n".join(lines) + b"\r\n")
        assert len(files_in(tmp_path / "bodies")) == (len(body) > SPOOL_THRESHOLD)
        assert files_in(tmp_path / "incoming") == []


@pytest.mark.parametrize("limit", [10_240, 2 * SPOOL_THRESHOLD], ids=["in memory", "in a file"])
async def test_too_large_contents_are_refused_while_they_come(tmp_path: Path, limit: int) -> None:
    store = await Spool.open(tmp_path, 0, FixedClock(), Observer())
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 98 + b"\r\n"

    async with outbound_rig(store, databytes=limit) as rig:
        with pytest.raises(RefusedError, match=f"larger than {limit} octets") as refused:
            await send(endless())
        assert refused.value.kind is Refused.TOO_BIG
        assert asked == limit // 100 + 1
        assert await rig.mails() == []
        assert files_in(tmp_path / "incoming") == []


@pytest.mark.parametrize("broken", [ValueError("the stream broke"), None], ids=["raises", "wrong type"])
async def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path, broken: Exception | None) -> None:
    store = await Spool.open(tmp_path, 0, FixedClock(), Observer())

    async def breaking() -> AsyncIterator[Any]:
        yield b"Subject: hi\n\n" + b"x\n" * SPOOL_THRESHOLD
        if broken:
            raise broken
        yield 7

    async with outbound_rig(store) as rig:
        with pytest.raises(ValueError if broken else TypeError):
            await send(breaking())
        assert await rig.mails() == []
        assert files_in(tmp_path / "incoming") == []


async def test_contents_with_a_long_line_or_a_loop_or_nothing_are_refused() -> None:
    async with outbound_rig(data_line_length=1000, max_received=3) as rig:
        with pytest.raises(RefusedError, match="longer than 1000 octets"):
            await send("x" * 1001)
        with pytest.raises(RefusedError, match="loop") as loop:
            await send("Received: x\n" * 4 + "\n")
        assert loop.value.kind is Refused.LOOP
        with pytest.raises(RefusedError, match="empty"):
            await send("")
        with pytest.raises(RefusedError, match="contents: "):
            await send("lone surrogate \udc00")
        assert await rig.mails() == []


async def test_more_recipients_than_allowed_are_refused() -> None:
    async with outbound_rig(max_recipients=2) as rig:
        with pytest.raises(RefusedError, match="more than 2 recipients"):
            await send(TEXT, "a@a.test", "b@a.test", "c@a.test")
        await send(TEXT, "a@a.test", "b@a.test", "b@a.test")
        assert len(await rig.mails()) == 1


async def test_a_header_too_long_to_see_keeps_what_is_to_be_removed_from_being_missed() -> None:
    async with outbound_rig(databytes=10**7):
        with pytest.raises(RefusedError, match="header is longer"):
            await send(b"X: y\n" * 100_000 + b"\nGood day\n", remove_date=True)


async def test_trouble_of_storage_is_told_and_passes() -> None:
    clock = FixedClock()
    store = MemoryStore(clock)
    async with outbound_rig(store) as rig:
        store.failure = StorageFull("no space")
        with pytest.raises(StorageFull):
            await send(TEXT)
        store.failure = None
        rig.trouble = "out of storage"
        with pytest.raises(StorageError, match="out of storage"):
            await send(TEXT)
        rig.trouble = ""
        await send(TEXT)
        assert len(await rig.mails()) == 1


async def test_a_file_that_cannot_be_written_is_storage_trouble_and_removed(tmp_path: Path, monkeypatch: Any) -> None:
    store = await Spool.open(tmp_path, 0, FixedClock(), Observer())

    def full(file: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    async with outbound_rig(store) as rig:
        with monkeypatch.context() as patched:
            patched.setattr("mailboat.queue.body_writer.os.write", full)
            with pytest.raises(StorageFull):
                await send(b"x\n" * SPOOL_THRESHOLD)
        assert files_in(tmp_path / "incoming") == []
        await send(b"x\n" * SPOOL_THRESHOLD)
        assert len(await rig.mails()) == 1


async def test_without_a_relay_it_is_said_what_is_missing() -> None:
    async with outbound_rig():
        pass
    with pytest.raises(RuntimeError, match="no relay runs"):
        await send(TEXT)
    assert not sending._submitters

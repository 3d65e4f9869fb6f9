"""A plugin's mail on its way into the queue: header, limits, large contents, and storage that fails."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.memory_store import MemoryStore
from tests.support.recorder import Recorder
from tests.support.stores import files_in
from tests.support.submission import OutboundRig, outbound_rig

from mailboat.config.settings import Nul
from mailboat.hooks import DENY, DENYSOFT, OK, Code, Connection, Hook, Hooks, Point
from mailboat.model.observer import Observer
from mailboat.outbound import send_email
from mailboat.queue.body_writer import SPOOL_THRESHOLD
from mailboat.queue.opening import open_spool
from mailboat.queue.store import StorageFull
from mailboat.submission import sending

DATE = b"Tue, 14 Nov 2023 22:13:20 +0000"
TEXT = b"From: a@sender.test\r\nSubject: hi\r\n\r\nGood day.\r\n"


async def send(contents: object, *to: str, **options: Any) -> str:
    """Queue a message; its id."""
    code, text = await send_email("a@sender.test", list(to) or ["b@there.test"], contents, **options)
    assert code is OK, text
    return text.removeprefix("Message Queued (").removesuffix(")")


async def refused(contents: object, *to: str, **options: Any) -> tuple[Code, str]:
    """The answer to a message that is not queued."""
    answer = await send_email("a@sender.test", list(to) or ["b@there.test"], contents, **options)
    assert answer[0] is not OK
    return answer


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
            b"Message-ID: <" + id_.encode() + b"@relay.test>\r\nDate: " + DATE + b"\r\nSubject: hi\r\n\r\nGood day\r\n"
        )
        [fact] = rig.facts.mails
        assert (fact.message.id, fact.client, fact.protocol, fact.recipients) == (id_, "", "LOCAL", ["b@there.test"])


@pytest.mark.parametrize("size", [10, SPOOL_THRESHOLD + 1])
async def test_a_tap_sees_a_message_of_a_plugin_as_it_is_stored(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tap = Recorder()
    tap.watch(monkeypatch, "mailboat.submission.submitter")
    async with outbound_rig() as rig:
        await send(b"Subject: hi\n\n" + b"Good day\n" * (size // 9 + 1))
        assert tap.seen == await only(rig)


async def test_header_fields_that_no_message_shall_have_are_removed() -> None:
    async with outbound_rig(message_drop_headers=("bcc",)) as rig:
        await send("Subject: hi\nBcc: secret@example.net,\n other@example.net\nTo: a@b.test\n\nBcc: text\n")
        assert b"secret" not in await only(rig)
        assert (await only(rig)).endswith(b"Subject: hi\r\nTo: a@b.test\r\n\r\nBcc: text\r\n")


@pytest.mark.parametrize("nul", list(Nul))
async def test_nul_octets_are_passed_stripped_or_refused_as_in_mail_from_clients(nul: Nul) -> None:
    async with outbound_rig(nul=nul) as rig:
        if nul is Nul.REFUSE:
            assert await refused(b"Subject: hi\n\na\0b\n") == (DENY, "the message holds a NUL octet")
        else:
            await send(b"Subject: hi\n\na\0b\n")
            assert (await only(rig)).endswith(b"\r\n\r\na\0b\r\n" if nul is Nul.PASS else b"\r\n\r\nab\r\n")
        assert rig.facts.nuls == [nul]


async def test_a_separator_of_an_mbox_file_in_front_of_the_header_becomes_a_field() -> None:
    async with outbound_rig() as rig:
        await send("From a@sender.test Mon Nov 23 01:02:03 2026\nSubject: hi\n\nFrom here on\n")
        assert b"\r\nX-Mailbox-Line: From a@sender.test Mon Nov 23 01:02:03 2026\r\nSubject: hi\r\n" in await only(rig)
        assert (await only(rig)).endswith(b"\r\n\r\nFrom here on\r\n")


@pytest.mark.parametrize("given", [b"", b"<>", b" "])
async def test_an_empty_message_id_is_replaced(given: bytes) -> None:
    async with outbound_rig() as rig:
        await send(b"Message-Id: " + given + b"\nSubject: hi\n\nGood day")
        assert (await only(rig)).lower().count(b"message-id:") == 1
        assert b"@relay.test>" in await only(rig)


async def test_no_received_header_where_it_is_disabled() -> None:
    async with outbound_rig(outbound={"received_header": "disabled"}) as rig:
        await send(TEXT)
        assert (await only(rig)).startswith(b"Message-ID: ")


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
        assert entry.message.parameters == {"SMTPUTF8": "", "BODY": "8BITMIME"}


@pytest.mark.parametrize("size", [1, 7, 4096, 300_000])
async def test_a_large_stream_goes_to_a_file_and_comes_out_whole(tmp_path: Path, size: int) -> None:
    """Without its last line end, and with bare line feeds: each piece is normalised."""
    lines = [b"line %d" % number for number in range(60_000 if size > 100 else 2_000)]
    clock = FixedClock()
    store = await open_spool(tmp_path, 0, clock, Observer())
    async with outbound_rig(store) as rig:
        await send(pieces(b"Subject: hi\n\n" + b"\n".join(lines), size))
        body = await only(rig)
        assert body.endswith(b"\r\n\r\n" + b"\r\n".join(lines) + b"\r\n")
        assert len(files_in(tmp_path / "bodies")) == (len(body) > SPOOL_THRESHOLD)
        assert files_in(tmp_path / "incoming") == []


@pytest.mark.parametrize("limit", [10_240, 2 * SPOOL_THRESHOLD], ids=["in memory", "in a file"])
async def test_too_large_contents_are_refused_while_they_come(tmp_path: Path, limit: int) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 98 + b"\r\n"

    async with outbound_rig(store, databytes=limit) as rig:
        assert await refused(endless()) == (DENY, f"the message is larger than {limit} octets")
        assert asked == limit // 100 + 1
        assert await rig.mails() == []
        assert files_in(tmp_path / "incoming") == []


@pytest.mark.parametrize("broken", [ValueError("the stream broke"), None], ids=["raises", "wrong type"])
async def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path, broken: Exception | None) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())

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
        assert await refused("x" * 1001) == (DENY, "a line is longer than 1000 octets")
        assert await refused("Received: x\n" * 4 + "\n") == (DENY, "too many Received headers: possible mail loop")
        assert await refused("") == (DENY, "the message is empty")
        code, text = await refused("lone surrogate \udc00")
        assert (code, text[:10]) == (DENY, "contents: ")
        assert await rig.mails() == []


async def test_more_recipients_than_allowed_are_refused() -> None:
    async with outbound_rig(max_recipients=2) as rig:
        assert await refused(TEXT, "a@a.test", "b@a.test", "c@a.test") == (DENY, "more than 2 recipients")
        await send(TEXT, "a@a.test", "b@a.test", "b@a.test")
        assert len(await rig.mails()) == 1


async def test_a_header_too_long_to_see_keeps_what_is_to_be_removed_from_being_missed() -> None:
    async with outbound_rig(databytes=10**7):
        answer = await refused(b"X: y\n" * 100_000 + b"\nGood day\n", remove_date=True)
        assert answer == (DENY, "the header is longer than 262144 octets")


async def test_trouble_of_storage_is_told_and_passes() -> None:
    clock = FixedClock()
    store = MemoryStore(clock)
    async with outbound_rig(store) as rig:
        store.failure = StorageFull("no space")
        assert await refused(TEXT) == (DENYSOFT, "no space")
        store.failure = None
        rig.trouble = "out of storage"
        assert await refused(TEXT) == (DENYSOFT, "out of storage")
        rig.trouble = ""
        await send(TEXT)
        assert len(await rig.mails()) == 1


async def test_a_file_that_cannot_be_written_is_storage_trouble_and_removed(tmp_path: Path, monkeypatch: Any) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())

    def full(file: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    async with outbound_rig(store) as rig:
        with monkeypatch.context() as patched:
            patched.setattr("mailboat.queue.body_writer.os.write", full)
            assert (await refused(b"x\n" * SPOOL_THRESHOLD))[0] is DENYSOFT
        assert files_in(tmp_path / "incoming") == []
        await send(b"x\n" * SPOOL_THRESHOLD)
        assert len(await rig.mails()) == 1


async def test_without_a_relay_it_is_said_what_is_missing() -> None:
    async with outbound_rig():
        pass
    with pytest.raises(RuntimeError, match="no relay runs"):
        await send(TEXT)
    assert not sending._submitters


@pytest.mark.parametrize(
    ("from_", "to", "text"),
    [
        ("nobody", "b@there.test", "Malformed from: nobody"),
        (None, "b@there.test", "Malformed from: None"),
        ("a@b.test", [], "No recipients for email"),
        ("a@b.test", ["b@there.test", "c@"], "Malformed to address (c@): Bad domain in the address"),
    ],
)
async def test_malformed_addresses_are_denied_with_their_text(from_: object, to: object, text: str) -> None:
    async with outbound_rig() as rig:
        assert await send_email(from_, to, TEXT) == (DENY, text)
        assert await send_email("a@b.test", "b@there.test", TEXT, notes={"a": object()}) == (
            DENY,
            "notes: Type is not JSON serializable: object",
        )
        assert await rig.mails() == []


async def test_the_null_sender_and_a_single_recipient_as_text_will_do() -> None:
    async with outbound_rig() as rig:
        assert (await send_email("<>", "<b@there.test>", TEXT))[0] is OK
        [(entry, _)] = await rig.mails()
        assert entry.message.sender.is_null


@pytest.mark.parametrize("contents", [None, 7, ["a", "b"], object()])
async def test_contents_of_another_type_are_the_plugins_mistake(contents: object) -> None:
    async with outbound_rig():
        with pytest.raises(TypeError, match="contents must be"):
            await send(contents)


class Signer:
    """A plugin that looks at every message and signs it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool, int]] = []

    async def hook(self, connection: Connection) -> None:
        transaction = connection.transaction
        assert transaction is not None
        self.seen.append((transaction.uuid, connection.relaying, transaction.body.size))
        transaction.header.add_leading("X-Signed", transaction.header.get("Message-ID") or "not there")
        transaction.notes["signed"] = True
        transaction.force_tls = True


def hooks_of(function: Any) -> Hooks:
    return Hooks([Hook(Point.PRE_SEND_TRANS_EMAIL, function, "test")], [], Observer())


@pytest.mark.parametrize("lines", [1, SPOOL_THRESHOLD], ids=["in memory", "in a file"])
async def test_pre_send_trans_email_sees_the_whole_message_and_may_change_its_header(
    tmp_path: Path, lines: int
) -> None:
    signer = Signer()
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    async with outbound_rig(store) as rig:
        rig.submitter.hooks = hooks_of(signer.hook)
        id_ = await send("Subject: hi\n\n" + "x\n" * lines, notes={"campaign": 7})
        [(entry, body)] = await rig.mails()
        assert body.startswith(b"X-Signed: <%b@relay.test>\r\nReceived: " % id_.encode())
        assert body.endswith(b"\r\n\r\n" + b"x\r\n" * lines)
        assert signer.seen == [(id_, True, len(body) - body.index(b"Received: "))]
        assert entry.message.size == len(body)
        assert entry.message.notes == {"campaign": 7, "signed": True}
        assert entry.message.force_tls
        assert files_in(tmp_path / "incoming") == []


async def test_a_plugin_that_fails_does_not_stop_the_message() -> None:
    async def broken(_: Connection) -> None:
        raise RuntimeError("broken")

    async with outbound_rig() as rig:
        rig.submitter.hooks = hooks_of(broken)
        await send(TEXT)
        assert len(await rig.mails()) == 1


async def test_a_sender_that_is_cancelled_while_a_hook_runs_leaves_no_file(tmp_path: Path) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    asked = asyncio.Event()

    async def waits(_: Connection) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with outbound_rig(store) as rig:
        rig.submitter.hooks = hooks_of(waits)
        sender = asyncio.create_task(send("x\n" * SPOOL_THRESHOLD))
        async with asyncio.timeout(10):
            await asked.wait()
        sender.cancel()
        await asyncio.wait([sender])
        assert sender.cancelled()
        assert await rig.mails() == []
        assert files_in(tmp_path / "incoming") == []

"""What plugins do to a message: its header, notes, TLS wish and recipients, in memory and on disk."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.inbound.test_large_bodies import spooling
from tests.support.ingress import Rig, serving
from tests.support.plugins import chain
from tests.support.smtp_client import TEXT, Client
from tests.support.stores import files_in, until

from mailboat.hooks import Connection, Point, Transaction, parse_address
from mailboat.model.observer import HookFailure
from mailboat.queue.body_writer import SPOOL_THRESHOLD

LARGE = TEXT + (b"x" * 70 + b"\r\n") * (SPOOL_THRESHOLD // 60)
EDITING = [Point.DATA_POST, Point.QUEUE_OUTBOUND, Point.PRE_SEND_TRANS_EMAIL]
Use = Callable[[Transaction], object]


def using(use: Use, *, sync: bool = False) -> Callable[..., Any]:
    """A hook that does something to the transaction."""

    def at_once(connection: Connection, *_: object) -> None:
        assert connection.transaction is not None
        use(connection.transaction)

    async def on_the_loop(connection: Connection, *_: object) -> None:
        at_once(connection)

    return at_once if sync else on_the_loop


@asynccontextmanager
async def relay(tmp_path: Path, text: bytes, **options: Any) -> AsyncIterator[Rig]:
    if text is LARGE:
        async with spooling(tmp_path, **options) as rig:
            yield rig
    else:
        async with serving(**options) as rig:
            yield rig


async def take(rig: Rig, text: bytes, *recipients: str) -> None:
    client: Client = await rig.greeted()
    assert (await client.mail(text, *recipients)).startswith("250 2.0.0 Message Queued (")
    await client.quit()


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("text", [TEXT, LARGE], ids=["memory", "disk"])
@pytest.mark.parametrize("point", EDITING)
async def test_a_changed_header_is_what_is_queued(point: Point, text: bytes, sync: bool, tmp_path: Path) -> None:
    def edit(transaction: Transaction) -> None:
        header = transaction.header
        assert header.get("Subject") == "hello"
        assert header.get_all("Received")[0].startswith("(Mailboat outbound);")
        header.remove("Subject")
        header.add("Subject", "Grüße")
        header.add_leading("X-Signed", "yes")

    async with relay(tmp_path, text, hooks=chain({point: using(edit, sync=sync)})) as rig:
        await take(rig, text)
        [mail] = await rig.mails()
        assert mail.body.startswith(b"X-Signed: yes\r\nReceived: (Mailboat outbound); ")
        head, _, body = mail.body.partition(b"\r\n\r\n")
        assert b"Subject: hello" not in head
        assert head.endswith(b"\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=")
        assert body == text.partition(b"\r\n\r\n")[2]
        assert rig.facts.failures == []


@pytest.mark.parametrize("text", [TEXT, LARGE], ids=["memory", "disk"])
async def test_plugins_read_the_message(text: bytes, tmp_path: Path) -> None:
    seen = []

    def look(transaction: Transaction) -> None:
        with transaction.body.open() as file:
            assert file.read() == transaction.body.read()
        seen.append((transaction.body.size, transaction.body.read()))

    async with relay(tmp_path, text, hooks=chain({Point.DATA_POST: using(look, sync=True)})) as rig:
        await take(rig, text)
        [mail] = await rig.mails()
        assert seen == [(len(mail.body), mail.body)]
        assert rig.facts.failures == []


async def test_a_value_that_would_be_more_than_a_field_is_refused_and_mail_flows() -> None:
    def inject(transaction: Transaction) -> None:
        transaction.header.add("X-Evil", "x\r\nBcc: everybody@example.org")

    async with serving(hooks=chain({Point.DATA_POST: using(inject)})) as rig:
        await take(rig, TEXT)
        [mail] = await rig.mails()
        assert b"X-Evil" not in mail.body
        assert [reason for _, _, reason in rig.facts.failures] == [HookFailure.RAISED]


@pytest.mark.parametrize("point", [Point.MAIL, Point.RCPT, *EDITING])
async def test_notes_and_force_tls_are_queued_with_the_message(point: Point) -> None:
    def note(transaction: Transaction) -> None:
        transaction.notes["outbound_ip"] = "192.0.2.1"
        transaction.notes["nested"] = {"a": [1, None]}
        transaction.notes["no json"] = object()
        transaction.force_tls = True

    async with serving(hooks=chain({point: using(note)})) as rig:
        await take(rig, TEXT)
        [mail] = await rig.mails()
        assert mail.entry.message.notes == {"outbound_ip": "192.0.2.1", "nested": {"a": [1, None]}}
        assert mail.entry.message.force_tls


async def test_notes_of_one_message_are_not_those_of_the_next() -> None:
    seen: list[dict[str, object]] = []

    def note(transaction: Transaction) -> None:
        seen.append(dict(transaction.notes))
        transaction.notes["seen"] = transaction.uuid

    async with serving(hooks=chain({Point.MAIL: using(note)})) as rig:
        client = await rig.greeted()
        for _ in range(2):
            await client.mail()
        await client.ask("MAIL FROM:<>")
        await client.ask("RSET")
        await client.ask("MAIL FROM:<>")
        await client.quit()
        assert seen == [{}] * 4
        mails = await rig.mails()
        assert [mail.entry.message.notes for mail in mails] == [{"seen": mail.entry.message.id} for mail in mails]


async def test_notes_of_the_connection_last_as_long_as_it_does() -> None:
    seen = []

    async def count(connection: Connection, *_: object) -> None:
        connection.notes["times"] = connection.notes.get("times", 0) + 1
        seen.append((connection.notes["times"], connection.uuid))

    async with serving(hooks=chain({Point.CONNECT: count, Point.MAIL: count})) as rig:
        for _ in range(2):
            client = await rig.greeted()
            await client.mail()
            await client.quit()
    assert [times for times, _ in seen] == [1, 2, 1, 2]
    assert len({uuid for _, uuid in seen}) == 2


async def test_plugins_may_add_and_remove_recipients_but_not_all() -> None:
    carol = parse_address("carol@there.test")

    def add(transaction: Transaction) -> None:
        transaction.rcpt_to.append(carol)

    def clear(transaction: Transaction) -> None:
        transaction.rcpt_to.clear()

    for change, expected in ((add, ["bob@there.test", "carol@there.test"]), (clear, ["bob@there.test"])):
        async with serving(hooks=chain({Point.DATA_POST: using(change)})) as rig:
            await take(rig, TEXT, "bob@there.test")
            [mail] = await rig.mails()
            assert mail.recipients == expected


async def test_each_plugin_sees_what_those_before_it_did() -> None:
    def first(transaction: Transaction) -> None:
        transaction.header.add("X-One", "1")

    def second(transaction: Transaction) -> None:
        transaction.header.add("X-Two", transaction.header.get("X-One") or "nothing")

    hooks = chain({Point.DATA_POST: using(first), Point.PRE_SEND_TRANS_EMAIL: using(second, sync=True)})
    async with serving(hooks=hooks) as rig:
        await take(rig, TEXT)
        [mail] = await rig.mails()
        assert b"\r\nX-One: 1\r\nX-Two: 1\r\n\r\n" in mail.body


async def test_before_the_message_has_come_there_is_no_header() -> None:
    def look(transaction: Transaction) -> None:
        transaction.header.get("Subject")

    async with serving(hooks=chain({Point.RCPT: using(look)})) as rig:
        await take(rig, TEXT)
        assert [reason for _, _, reason in rig.facts.failures] == [HookFailure.RAISED]


async def test_no_room_for_the_changed_file_is_said_as_storage_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(transaction: Transaction) -> None:
        transaction.header.add("X-One", "1")

        def full() -> tuple[str, int]:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(rig.store, "new_body_file", full)

    async with spooling(tmp_path, hooks=chain({Point.DATA_POST: using(edit)})) as rig:
        client = await rig.greeted()
        assert (await client.mail(LARGE)).startswith("452 4.3.1 ")
        assert (await client.ask("NOOP")).startswith("250 ")
        await client.quit()
        assert await rig.mails() == []


async def test_a_client_that_leaves_while_its_file_is_rewritten_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`spooling` looks for what is left."""
    asked, go = threading.Event(), threading.Event()

    def edit(transaction: Transaction) -> None:
        transaction.header.add("X-One", "1")
        new_body_file = rig.store.new_body_file

        def slowly() -> tuple[str, int]:
            asked.set()
            go.wait(60)
            return new_body_file()

        monkeypatch.setattr(rig.store, "new_body_file", slowly)

    async with spooling(tmp_path, hooks=chain({Point.DATA_POST: using(edit)})) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(LARGE + b".\r\n")
        await until(asked.is_set)
        client.reset()
        await rig.facts.until(lambda facts: facts.here == 0)
        go.set()
        await until(lambda: files_in(tmp_path / "incoming") == [])
        assert await rig.mails() == []

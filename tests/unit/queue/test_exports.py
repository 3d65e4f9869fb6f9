"""Entries given away to an archive and taken in from one, by stores of one database and of several."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.stores import BODY, Listener, draft, files_in, until

from mailboat.model.envelope import Entry, EntryKey, SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue import exports, imports
from mailboat.queue.archive import ArchiveReader, DamagedArchiveError, chunks
from mailboat.queue.exports import archive_chunks
from mailboat.queue.opening import open_spool, open_store
from mailboat.queue.packed import PackedMessage
from mailboat.queue.spool_set import Databases
from mailboat.queue.store import AttemptRecord, Batch, Selection, Step, StorageError, Verb

START = 1_000_000.0
EVERYTHING = Selection()


class Queue:
    """A queue directory, and its store while it is open."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FixedClock(START)
        self.listener = Listener()
        self.store: Databases

    async def open(self) -> None:
        self.store = await open_store(str(self.directory), 0, 1, self.clock, Observer())
        self.listener = Listener()
        self.store.subscribe(self.listener)

    async def entries(self, selection: Selection = EVERYTHING) -> Sequence[Entry]:
        return (await self.store.page(selection, 10_000)).entries

    async def known(self) -> set[object]:
        """Everything about each entry but where it is and where it came from."""
        return {repr(_elsewhere(entry)) for entry in await self.entries()}

    async def begin(self, batch: Batch, selection: Selection = EVERYTHING) -> Path:
        """Everything up to the file under its partial name."""
        await exports.export(self.store, Step.BEGIN, batch, selection)
        return self.write(batch, Path(batch.partial))

    def write(self, batch: Batch, path: Path) -> Path:
        """What is marked for a batch, as a file."""
        path.write_bytes(b"".join(archive_chunks(str(self.directory), batch.id)))
        return path

    async def export(self, path: Path, selection: Selection = EVERYTHING, end: Step = Step.KEEP) -> Path:
        """All of it."""
        batch = batch_for(path)
        partial = await self.begin(batch, selection)
        await exports.export(self.store, Step.SEAL, batch)
        partial.rename(path)
        await exports.export(self.store, end, batch)
        return path

    async def crash(self) -> None:
        """What is on disk, opened by another process: nothing was said goodbye to."""
        await self.store.close()
        await self.open()


def batch_for(path: Path) -> Batch:
    id_ = os.urandom(16).hex()
    return Batch(id_, str(path.with_name(f".{path.name}.{id_}.partial")))


def _elsewhere(entry: Entry) -> Entry:
    return replace(entry, key=EntryKey(0, 0), message=replace(entry.message, origin=""))


@pytest.fixture(params=["spool", "set"])
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Queue]:
    queue = Queue(tmp_path / "old")
    if request.param == "set":  # a database that a worker left, with held mail
        spare = await open_spool(queue.directory, 1, queue.clock, Observer())
        await spare.accept(draft("kept@spare.test", sender="spare@spare.test"))
        await spare.change(Verb.HOLD, EVERYTHING)
        await spare.close()
    await queue.open()
    yield queue
    await queue.store.close()


@pytest.fixture
async def new(tmp_path: Path) -> AsyncIterator[Queue]:
    queue = Queue(tmp_path / "new")
    await queue.open()
    yield queue
    await queue.store.close()


async def fill(queue: Queue) -> None:
    """Mail in every state, with a body in a file, and a message with two entries."""
    facts: dict[str, Any] = {"tenant": "shop", "labels": ("news",), "parameters": {"ENVID": "+2B"}}
    facts["recipient_parameters"] = {"b@two.test": {"NOTIFY": "NEVER"}}
    await queue.store.accept(draft("a@one.test", "b@two.test", **facts))
    (deferred,) = await queue.store.accept(draft("c@three.test", notes={"n": 1}, parameters={"SMTPUTF8": ""}))
    await queue.store.record(deferred, AttemptRecord(_deferred(deferred, START + 60)))
    await queue.store.accept(draft("d@four.test", sender="", body=spooled(queue)))
    await queue.store.change(Verb.HOLD, Selection(domain="four.test"))


def spooled(queue: Queue) -> SpooledBody:
    path, descriptor = queue.store.new_body_file()
    octets = b"Subject: large\r\n\r\n" + os.urandom(400_000)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
    return SpooledBody(path, len(octets))


def _deferred(entry: Entry, until: float) -> Entry:
    return replace(entry, attempts=entry.attempts + 1, next_attempt=until, state=State.DEFERRED, last_reply="450 later")


async def octets(queue: Queue, entry: Entry) -> bytes:
    body = await queue.store.body(entry)
    return read(body) if isinstance(body, SpooledBody) else body


def read(body: SpooledBody) -> bytes:
    return Path(body.path).read_bytes()


async def test_all_that_is_known_of_an_entry_comes_along(tmp_path: Path, old: Queue, new: Queue) -> None:
    await fill(old)
    before = await old.known()
    bodies = {entry.id: await octets(old, entry) for entry in await old.entries()}
    archive = await old.export(tmp_path / "a")
    assert {(e.state, e.held_reason) for e in await old.entries()} == {(State.HELD, "exported")}
    assert await old.store.due(START + 1e6, 100) == []
    assert await imports.import_archive(new.store, str(archive)) == len(before)
    assert await new.known() == before
    assert {entry.id: await octets(new, entry) for entry in await new.entries()} == bodies
    for entry in await new.entries():
        assert entry.message.origin == entry.message.id
        assert await new.store.get(entry.id.lower()) == [entry]
    assert new.listener.wakes


async def test_ids_and_stats_agree_after_each_step(tmp_path: Path, old: Queue) -> None:
    await fill(old)
    before = old.store.stats()
    batch = batch_for(tmp_path / "a")
    await old.begin(batch)
    held = old.store.stats()
    assert held[State.HELD].messages == sum(share.messages for share in before.values())
    assert held[State.ACTIVE].messages == held[State.DEFERRED].messages == 0
    await exports.export(old.store, Step.RESOLVE, batch)
    assert old.store.stats() == before


async def test_a_selection_takes_whole_messages(tmp_path: Path, old: Queue, new: Queue) -> None:
    await fill(old)
    archive = await old.export(tmp_path / "a", Selection(domain="two.test"))
    exported = [entry for entry in await old.entries() if entry.held_reason == "exported"]
    assert [entry.domain for entry in exported] == ["one.test", "two.test"]
    assert await imports.import_archive(new.store, str(archive)) == 2
    entry_id = next(entry.id for entry in await old.entries() if entry.domain == "three.test")
    archive = await old.export(tmp_path / "b", Selection(ids=[entry_id]))
    assert await imports.import_archive(new.store, str(archive)) == 1
    assert {entry.domain for entry in await new.entries()} == {"one.test", "two.test", "three.test"}


async def test_what_is_held_as_exported_is_taken_again_only_by_its_id(tmp_path: Path, old: Queue, new: Queue) -> None:
    await fill(old)
    everything = await old.known()
    await old.export(tmp_path / "a")
    assert await exports.export(old.store, Step.BEGIN, batch_for(tmp_path / "b"), EVERYTHING) == 0
    named = Selection(ids=[entry.id for entry in await old.entries()])
    archive = await old.export(tmp_path / "c", named)
    assert await imports.import_archive(new.store, str(archive)) == len(everything)
    assert await new.known() == everything


async def test_release_leaves_exported_mail_out_unless_ids_name_it(tmp_path: Path, old: Queue) -> None:
    await old.store.accept(draft("a@one.test"))
    await old.export(tmp_path / "a")
    (held,) = await old.store.accept(draft("b@two.test"))
    await old.store.change(Verb.HOLD, Selection(ids=[held.id]))
    (exported,) = await old.entries(Selection(domain="one.test"))
    assert await old.store.change(Verb.RELEASE, Selection(domain="one.test")) == 0
    assert await old.store.change(Verb.RELEASE, Selection(domain="two.test")) == 1
    assert await old.store.change(Verb.RELEASE, Selection(ids=[exported.id])) == 1
    (released,) = await old.entries(Selection(domain="one.test"))
    assert (released.state, released.held_reason) == (State.ACTIVE, "")


async def test_remove_deletes_what_the_file_holds_and_nothing_else(tmp_path: Path, old: Queue, new: Queue) -> None:
    await fill(old)
    before = await old.known()
    batch = batch_for(tmp_path / "a")
    partial = await old.begin(batch)
    await old.store.accept(draft("late@five.test"))
    await exports.export(old.store, Step.SEAL, batch)
    await exports.export(old.store, Step.REMOVE, batch)
    assert [entry.domain for entry in await old.entries()] == ["five.test"]
    await until(lambda: not files_in(old.directory / "bodies"))
    assert await imports.import_archive(new.store, str(partial)) == len(before)
    assert await new.known() == before


async def test_an_attempt_that_is_under_way_is_waited_for(tmp_path: Path, old: Queue, new: Queue) -> None:
    """What is delivered meanwhile is not exported; what is deferred is, as the attempt leaves it."""
    (delivered,) = await old.store.accept(draft("a@one.test"))
    (deferred,) = await old.store.accept(draft("b@two.test"))
    for entry in (delivered, deferred):
        old.listener.attempts[entry.key] = asyncio.get_running_loop().create_future()
    batch = batch_for(tmp_path / "a")
    beginning = asyncio.create_task(exports.export(old.store, Step.BEGIN, batch, Selection(sender="alice@sender.test")))
    await until(lambda: {delivered.key, deferred.key} <= set(old.listener.gone))
    assert not beginning.done()
    await old.store.record(delivered, AttemptRecord(None))
    await old.store.record(deferred, AttemptRecord(_deferred(deferred, START + 90)))
    for future in old.listener.attempts.values():
        future.set_result(None)
    await beginning
    archive = old.write(batch, tmp_path / "a")
    assert await imports.import_archive(new.store, str(archive)) == 1
    (found,) = await new.entries()
    assert (found.id, found.attempts, found.next_attempt) == (deferred.id, 1, START + 90)
    assert (found.state, found.last_reply) == (State.DEFERRED, "450 later")
    await exports.export(old.store, Step.RESOLVE, batch)
    (back,) = await old.entries(Selection(domain="two.test"))
    assert (back.state, back.next_attempt) == (State.DEFERRED, START + 90)


@pytest.mark.parametrize("crash", [False, True])
async def test_without_a_whole_file_entries_are_what_they_were(tmp_path: Path, old: Queue, crash: bool) -> None:
    """At once where the client is gone, and at the next start where the relay is."""
    await fill(old)
    before = await old.known()
    batch = batch_for(tmp_path / "a")
    await old.begin(batch)
    assert await old.known() != before
    await (old.crash() if crash else exports.export(old.store, Step.RESOLVE, batch))
    assert await old.known() == before
    assert len(await old.store.due(START + 1e6, 100)) == 3


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("there", [False, True])
async def test_a_sealed_export_is_decided_by_its_file(tmp_path: Path, old: Queue, crash: bool, there: bool) -> None:
    await fill(old)
    before = await old.known()
    batch = batch_for(tmp_path / "a")
    partial = await old.begin(batch)
    await exports.export(old.store, Step.SEAL, batch)
    if there:
        (tmp_path / "a").hardlink_to(partial)
    await (old.crash() if crash else exports.export(old.store, Step.RESOLVE, batch))
    if there:
        assert {entry.held_reason for entry in await old.entries()} == {"exported"}
        assert files_in(tmp_path) == sorted(["a", *(name for name in files_in(tmp_path) if name in ("old", "new"))])
    else:
        assert await old.known() == before
        with pytest.raises(FileNotFoundError):  # whoever still wrote it cannot have it linked any more
            (tmp_path / "a").hardlink_to(partial)


async def test_a_sealed_export_whose_file_cannot_be_seen_stays_held(tmp_path: Path, old: Queue) -> None:
    await fill(old)
    batch = batch_for(tmp_path / "a")
    (await old.begin(batch)).unlink()
    await exports.export(old.store, Step.SEAL, batch)
    await old.crash()
    assert {entry.held_reason for entry in await old.entries()} == {"exported"}


async def test_an_export_of_exported_mail_that_fails_leaves_it_exported(tmp_path: Path, old: Queue, new: Queue) -> None:
    await fill(old)
    before = await old.known()
    first = await old.export(tmp_path / "a")
    batch = batch_for(tmp_path / "b")
    await old.begin(batch, Selection(ids=[entry.id for entry in await old.entries()]))
    await old.crash()
    assert {entry.held_reason for entry in await old.entries()} == {"exported"}
    assert await imports.import_archive(old.store, str(first)) == len(before)
    assert await old.known() == before
    assert await new.entries() == []


async def test_no_verb_touches_what_an_export_has_in_hand(tmp_path: Path, old: Queue) -> None:
    await fill(old)
    before = await old.known()
    batch = batch_for(tmp_path / "a")
    await old.begin(batch)
    named = Selection(ids=[entry.id for entry in await old.entries()])
    assert [await old.store.change(verb, named) for verb in Verb] == [0] * len(Verb)
    other = batch_for(tmp_path / "b")
    assert await exports.export(old.store, Step.BEGIN, other, named) == 0
    await exports.export(old.store, Step.RESOLVE, other)
    await exports.export(old.store, Step.RESOLVE, batch)
    assert await old.known() == before


async def test_an_archive_is_taken_once_also_after_delivery(tmp_path: Path, old: Queue, new: Queue) -> None:
    await fill(old)
    archive = await old.export(tmp_path / "a")
    count = await imports.import_archive(new.store, str(archive))
    assert await imports.import_archive(new.store, str(archive)) == 0
    for entry in await new.entries():
        await new.store.record(entry, AttemptRecord(None))
    assert await imports.import_archive(new.store, str(archive)) == 0
    await new.crash()
    assert await imports.import_archive(new.store, str(archive)) == 0
    assert (count > 3, await new.entries()) == (True, [])


async def test_what_is_here_stays_and_what_is_lacking_is_added(tmp_path: Path, old: Queue, new: Queue) -> None:
    first, second = await old.store.accept(draft("a@one.test", "b@two.test"))
    both = await old.export(tmp_path / "a", Selection(ids=[first.message.id]))
    again = await old.export(tmp_path / "b", Selection(ids=[first.message.id]))
    assert await imports.import_archive(new.store, str(both)) == 2
    (here,) = await new.entries(Selection(domain="one.test"))
    await new.store.record(here, AttemptRecord(_deferred(here, START + 77)))
    await new.store.change(Verb.DELETE, Selection(domain="two.test"))
    assert await imports.import_archive(new.store, str(again)) == 1
    found = await new.entries()
    assert [(entry.id, entry.next_attempt) for entry in found] == [(first.id, START + 77), (second.id, START)]
    assert await octets(new, found[1]) == BODY


async def test_where_it_was_exported_an_archive_gives_back_what_was_held(tmp_path: Path, old: Queue) -> None:
    await fill(old)
    before, stats = await old.known(), old.store.stats()
    archive = await old.export(tmp_path / "a")
    wakes = old.listener.wakes
    assert await imports.import_archive(old.store, str(archive)) == len(before)
    assert await old.known() == before
    assert old.store.stats() == stats
    assert old.listener.wakes > wakes
    assert await imports.import_archive(old.store, str(archive)) == 0
    assert {entry.message.origin for entry in await old.entries()} == {""}


async def test_one_that_comes_home_by_way_of_another_relay_is_given_back(
    tmp_path: Path, old: Queue, new: Queue
) -> None:
    await fill(old)
    before = await old.known()
    await imports.import_archive(new.store, str(await old.export(tmp_path / "a")))
    assert await imports.import_archive(old.store, str(await new.export(tmp_path / "b"))) == len(before)
    assert await old.known() == before


async def test_the_same_id_is_not_the_same_message(tmp_path: Path, old: Queue, new: Queue) -> None:
    """A volume that was restored gives numbers again: another body, and it is another message."""
    await old.store.accept(draft("a@one.test"))
    archive = await old.export(tmp_path / "a", Selection(domain="one.test"))
    await imports.import_archive(new.store, str(archive))
    second = _with_another_body(archive, tmp_path / "b")
    assert await imports.import_archive(new.store, str(second)) == 1
    first, other = await new.entries()
    assert first.id == other.id
    assert {await octets(new, first), await octets(new, other)} == {BODY, BODY[::-1]}
    assert len(await new.store.get(first.message.id)) == 2


def _with_another_body(archive: Path, path: Path) -> Path:
    with archive.open("rb") as file:
        found = [one.packed for one in ArchiveReader(file).messages()]
    digest = hashlib.sha256(BODY[::-1]).hexdigest()
    messages = [(PackedMessage(packed.entries, digest), [BODY[::-1]]) for packed in found]
    path.write_bytes(b"".join(chunks("f" * 32, messages)))
    return path


async def test_of_a_damaged_archive_nothing_is_taken(tmp_path: Path, old: Queue, new: Queue) -> None:
    await fill(old)
    archive = await old.export(tmp_path / "a")
    whole = archive.read_bytes()
    for damaged in (whole[:-1], whole[:-2000], whole[: len(whole) // 2], whole[:-1200] + b"x" + whole[-1199:]):
        archive.write_bytes(damaged)
        with pytest.raises(DamagedArchiveError):
            await imports.import_archive(new.store, str(archive))
        assert await new.entries() == []
        assert not any(share.messages for share in new.store.stats().values())
    await until(lambda: not files_in(new.directory / "bodies") and not files_in(new.directory / "incoming"))
    archive.write_bytes(whole)
    assert await imports.import_archive(new.store, str(archive)) > 3


async def test_a_batch_has_an_id_and_a_path_that_belong_together(old: Queue) -> None:
    for id_, partial in (("x", "/a/.b.x.partial"), ("0" * 32, "/etc/passwd"), ("0" * 32, f".b.{'0' * 32}.partial")):
        with pytest.raises(ValueError, match="an export needs"):
            Batch(id_, partial)
    batch = Batch("0" * 32, f"/nowhere/.b.{'0' * 32}.partial")
    await exports.export(old.store, Step.BEGIN, batch, EVERYTHING)
    with pytest.raises(StorageError, match="already exists"):
        await exports.export(old.store, Step.BEGIN, batch, EVERYTHING)

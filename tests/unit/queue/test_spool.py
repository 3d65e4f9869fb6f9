"""The SQLite spool where it is more than a store: restarts, failing disks, damaged rows, files, group commit."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.stores import BODY, PATIENCE, Commits, Disk, Listener, draft, files_in, sqlite_error, until

from mailboat.admin.control import entry_to_json
from mailboat.metrics.recorder import Recorder
from mailboat.model.envelope import Entry, SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue import rows, schema
from mailboat.queue.backoff import RetryPlan
from mailboat.queue.offline import OfflineQueue
from mailboat.queue.opening import open_spool
from mailboat.queue.spool import Spool, Tuning, database_path
from mailboat.queue.store import AttemptRecord, QueueInUse, Selection, StorageError, StorageFull, Verb
from mailboat.queue.waits import at_start

START = 1_000_000.0
EVERYTHING = Selection()
FULL = sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full")
BROKEN = sqlite_error(sqlite3.SQLITE_IOERR | 4 << 8, "disk I/O error")

Opener = Callable[..., Awaitable[Spool]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens spool 0 of the test's directory, again and again if need be."""
    spools: list[Spool] = []

    async def open_again(tuning: Tuning | None = None, observer: Observer | None = None) -> Spool:
        for spool in spools:
            await spool.close()
        spools.append(await open_spool(tmp_path, 0, FixedClock(START), observer or Observer(), tuning))
        return spools[-1]

    yield open_again
    for spool in spools:
        await spool.close()


async def accept(spool: Spool, *recipients: str, **facts: Any) -> Entry:
    (entry,) = await spool.accept(draft(*recipients, **facts))
    return entry


def deferred(entry: Entry, until_: float) -> AttemptRecord:
    return AttemptRecord(replace(entry, attempts=1, next_attempt=until_, state=State.DEFERRED))


def body_file(spool: Spool, content: bytes = BODY) -> SpooledBody:
    path, descriptor = spool.new_body_file()
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return SpooledBody(path, len(content))


def remove(path: str) -> None:
    Path(path).unlink()


def exists(path: str) -> bool:
    return Path(path).exists()


def tamper(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(database_path(directory, 0), isolation_level=None)) as db:
        db.execute(statement)


# Restarts.


async def test_everything_is_there_after_a_restart(opened: Opener) -> None:
    spool = await opened()
    fresh = await accept(spool, notes={"campaign": "spring"})
    later = await accept(spool)
    held = await accept(spool)
    await spool.record(later, deferred(later, START + 64))
    await spool.change(Verb.HOLD, Selection(ids=[held.id]))
    before = spool.stats()
    spool = await opened()
    assert await spool.due(START, 10) == [fresh]
    assert await spool.due(START + 64, 10) == [
        fresh,
        replace(later, attempts=1, next_attempt=START + 64, state=State.DEFERRED),
    ]
    assert await spool.body(fresh) == BODY
    assert spool.stats() == before


async def test_nobody_else_can_read_the_queue_whatever_the_umask_is(tmp_path: Path) -> None:
    queue, before = tmp_path / "queue", os.umask(0)
    try:
        queue.mkdir()
        store = await open_spool(queue, 0, FixedClock(), Observer())
        path, descriptor = store.new_body_file()
        os.close(descriptor)
        await store.accept(draft(body=SpooledBody(path, 0)))
        await store.accept(draft(body=b"Subject: x\r\n\r\n"))
        modes = {name: stat.S_IMODE(name.stat().st_mode) for name in (queue, *queue.rglob("*"))}
        await store.close()
    finally:
        os.umask(before)
    assert len(modes) >= 7, "databases, their logs, a lock, bodies"
    assert {str(name): oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


async def test_an_id_is_never_given_twice(opened: Opener) -> None:
    seen: set[str] = set()
    for _ in range(3):
        spool = await opened()
        entry = await accept(spool)
        await spool.record(entry, AttemptRecord(None))
        ids = {entry.message.id, spool.reserve_id()}
        assert not ids & seen
        seen |= ids


async def test_numbers_beyond_a_block_are_reserved_before_they_are_used(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BLOCK", 8)
    seen: set[str] = set()
    for _ in range(3):
        spool = await opened()
        ids = {(await accept(spool)).message.id for _ in range(50)}
        assert len(ids) == 50
        assert not ids & seen
        seen |= ids


async def test_a_second_relay_is_refused_and_the_first_goes_on(opened: Opener, tmp_path: Path) -> None:
    spool = await opened()
    with pytest.raises(QueueInUse, match=r"queue-0\.lock"):
        await open_spool(tmp_path, 0, FixedClock(), Observer())
    await accept(spool)


async def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        await open_spool(tmp_path / "file" / "queue", 0, FixedClock(), Observer())


async def test_a_damaged_database_is_a_clear_error_and_leaves_no_lock(tmp_path: Path) -> None:
    database_path(tmp_path, 0).write_bytes(b"not a database" * 100)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"queue-0\.db is damaged"):
            await open_spool(tmp_path, 0, FixedClock(), Observer())


# Group commit.


async def test_what_comes_during_a_commit_shares_the_next_one(opened: Opener) -> None:
    commits = Commits()
    spool = await opened(observer=commits)
    await asyncio.gather(*(spool.accept(draft()) for _ in range(200)))
    assert sum(commits.sizes) == 200
    assert len(commits.sizes) < 20


async def test_pressure_rises_while_the_disk_is_slow(opened: Opener) -> None:
    spool = await opened(Tuning(pressure_operations=10, pressure_octets=10 * len(BODY)))
    futures = [spool.accept(draft()) for _ in range(20)]
    assert spool.pressure == pytest.approx(2.0)
    await asyncio.gather(*futures)
    assert spool.pressure == 0.0


async def test_bodies_beyond_the_cache_are_read_back(opened: Opener) -> None:
    spool = await opened(Tuning(cache_octets=3000))
    entries = [await accept(spool, body=bytes([n]) * 1000) for n in range(10)]
    assert [await spool.body(entry) for entry in entries] == [bytes([n]) * 1000 for n in range(10)]


# A disk that fails.


@pytest.mark.parametrize(("failure", "kind"), [(FULL, StorageFull), (BROKEN, StorageError)])
async def test_mail_that_cannot_be_stored_is_refused_and_storage_resumes_by_itself(
    opened: Opener, failure: Exception, kind: type[StorageError]
) -> None:
    disk = Disk()
    spool = await opened(disk.tuning())
    disk.failure = failure
    with pytest.raises(kind) as refused:
        await spool.accept(draft())
    assert type(refused.value) is kind
    assert "queue-0.db" in spool.fault
    await spool.probe()
    assert spool.fault
    disk.failure = None
    await spool.probe()
    assert not spool.fault
    entry = await accept(spool)
    assert await spool.due(START, 10) == [entry]


async def test_an_outcome_waits_until_storage_works_again(opened: Opener) -> None:
    disk = Disk()
    spool = await opened(disk.tuning())
    listener = Listener()
    entry = await accept(spool)
    spool.subscribe(listener)
    disk.failure = BROKEN
    settled = spool.record(entry, AttemptRecord(None, draft("alice@sender.test", sender="")))
    refused = spool.accept(draft())
    with pytest.raises(StorageError):
        await refused
    await until(lambda: disk.failed >= 5)
    assert spool.stalled
    assert not settled.done()
    disk.failure = None
    await asyncio.wait_for(settled, 10)
    assert not spool.stalled
    assert await spool.due(START, 10) == listener.entries
    assert len(listener.entries) == 1


async def test_outcomes_that_need_no_room_are_recorded_on_a_full_disk(opened: Opener) -> None:
    """Only delivering makes room again: neither new mail nor a bounce that finds none may stop that."""
    disk = Disk()
    spool = await opened(disk.tuning())
    gone, bouncing = await accept(spool), await accept(spool)
    disk.failure, disk.when = FULL, lambda statement: statement.startswith("INSERT INTO body")
    bounced = spool.record(bouncing, AttemptRecord(None, draft("alice@sender.test", sender="")))
    refused = spool.accept(draft())
    await asyncio.wait_for(spool.record(gone, AttemptRecord(None)), 10)
    with pytest.raises(StorageFull):
        await refused
    assert not bounced.done()
    disk.failure = None
    await asyncio.wait_for(bounced, 10)
    (bounce,) = await spool.due(START, 10)
    assert bounce.message.sender.is_null


async def test_mail_is_refused_before_the_disk_is_full_and_outcomes_are_not(opened: Opener) -> None:
    disk = Disk()
    spool = await opened(disk.tuning())
    entry = await accept(spool)
    disk.free = 0
    with pytest.raises(StorageFull, match="0 octets free"):
        await spool.accept(draft())
    assert spool.fault
    assert not spool.stalled
    await spool.record(entry, AttemptRecord(None))
    await spool.probe()
    assert spool.fault
    with pytest.raises(OSError, match="No space"):
        spool.new_body_file()
    disk.free = 1 << 40
    await spool.probe()
    assert not spool.fault


async def test_a_database_that_may_not_grow_is_full_and_drains(opened: Opener) -> None:
    """SQLite's own SQLITE_FULL, not one that we made up."""

    def connect(path: str) -> sqlite3.Connection:
        connection = schema.connect(path)
        connection.execute("PRAGMA max_page_count = 120")
        return connection

    spool = await opened(Tuning(connect=connect))
    entries: list[Entry] = []
    refusal: StorageFull | None = None
    while refusal is None and len(entries) < 1000:
        try:
            entries.append(await accept(spool, body=b"x" * 8000))
        except StorageFull as error:
            refusal = error
    assert "no space left" in str(refusal)
    assert len(entries) > 10
    assert await spool.due(START, 1000) == entries
    for entry in entries:
        await asyncio.wait_for(spool.record(entry, AttemptRecord(None)), 10)
    assert await accept(spool, body=b"x" * 8000)
    assert not spool.fault


async def test_one_message_that_cannot_be_stored_does_not_harm_its_neighbours(opened: Opener) -> None:
    spool = await opened()
    futures = [spool.accept(draft(notes={"bad": object()} if n == 2 else {})) for n in range(5)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(result, StorageError) for result in results] == [False, False, True, False, False]
    assert len(await spool.due(START, 10)) == 4
    assert not spool.fault


async def test_operators_are_told_when_storage_fails(opened: Opener) -> None:
    disk = Disk()
    spool = await opened(disk.tuning())
    await accept(spool)
    disk.failure = BROKEN
    with pytest.raises(StorageError):
        await spool.change(Verb.DELETE, EVERYTHING)
    disk.failure = None
    assert await spool.change(Verb.DELETE, EVERYTHING) == 1


async def test_reading_works_again_after_an_error(opened: Opener) -> None:
    disk = Disk()
    spool = await opened(disk.tuning(cache_octets=0))
    entry = await accept(spool)
    disk.failure, disk.when = BROKEN, lambda statement: statement.startswith("SELECT")
    for question in (spool.due(START, 10), spool.get(entry.id), spool.body(entry), spool.next_due(0)):
        with pytest.raises(StorageError):
            await question
    disk.failure = None
    assert await spool.due(START, 10) == [entry]
    assert await spool.body(entry) == BODY


async def test_closing_gives_up_outcomes_that_cannot_be_stored(opened: Opener) -> None:
    disk = Disk()
    spool = await opened(disk.tuning())
    entry = await accept(spool)
    disk.failure = BROKEN
    settled = spool.record(entry, AttemptRecord(None))
    await asyncio.wait_for(spool.close(), 10)
    with pytest.raises(StorageError, match="closed while storage fails"):
        await settled
    disk.failure = None
    spool = await opened()
    assert await spool.due(START, 10) == [entry]


async def test_a_listener_that_fails_costs_nothing(opened: Opener) -> None:
    class Failing(Listener):
        def added(self, entries: object) -> None:
            raise RuntimeError("listener")

    spool = await opened()
    spool.subscribe(Failing())
    first, second = await asyncio.gather(spool.accept(draft()), spool.accept(draft()))
    assert await spool.due(START, 10) == [*first, *second]


async def test_outcomes_that_wait_for_storage_do_not_keep_new_mail_from_its_answer(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailboat.queue.commit.BATCH", 4)
    disk = Disk()
    spool = await opened(disk.tuning())
    entries = [await accept(spool) for _ in range(9)]
    disk.failure = BROKEN
    waiting = [spool.record(entry, AttemptRecord(None)) for entry in entries]
    await until(lambda: spool.stalled)
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            with pytest.raises(StorageError):
                await spool.accept(draft())
    disk.failure = None
    await asyncio.gather(*waiting)
    assert spool.is_empty


async def test_a_commit_thread_that_fails_refuses_what_waits_and_what_comes(opened: Opener) -> None:
    disk = Disk()
    spool = await opened(disk.tuning())
    entry = await accept(spool)
    assert not spool.failed
    disk.failure = SystemExit("whatever ends a thread")
    async with asyncio.timeout(PATIENCE):
        waiting: list[asyncio.Future[Any]] = [
            spool.accept(draft()),
            spool.record(entry, AttemptRecord(None)),
            spool.accept(draft()),
        ]
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, StorageError)
            assert "the commit thread failed: SystemExit" in str(error)
        disk.failure = None
        with pytest.raises(StorageError, match="the commit thread failed"):
            await spool.accept(draft())
        with pytest.raises(StorageError, match="the commit thread failed"):
            await spool.accept(draft(body=body_file(spool)))
        await spool.probe()
        assert spool.failed
        assert spool.stalled
        assert "the commit thread failed" in spool.fault
        await spool.close()
    assert await (await opened()).get(entry.id) == [entry]


# Damage.


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entry SET recipients = '{broken' WHERE id = (SELECT min(id) FROM entry)",
        "UPDATE entry SET recipients = '[]' WHERE id = (SELECT min(id) FROM entry)",
        "UPDATE entry SET state = 77 WHERE id = (SELECT min(id) FROM entry)",
        "UPDATE entry SET state = 2 WHERE id = (SELECT min(id) FROM entry)",
        "UPDATE message SET notes = 'x' WHERE id = (SELECT min(id) FROM message)",
        "UPDATE message SET flags = 'x' WHERE id = (SELECT min(id) FROM message)",
        "DELETE FROM message WHERE id = (SELECT min(id) FROM message)",
    ],
)
async def test_a_damaged_row_is_held_and_shown_and_can_be_deleted(opened: Opener, tmp_path: Path, damage: str) -> None:
    spool = await opened()
    bad, good = await accept(spool), await accept(spool)
    await spool.close()
    tamper(tmp_path, damage)
    spool = await opened()
    due = await spool.due(START, 1)
    if due != [replace(bad, state=State.HELD)]:  # a held row with a time is odd, but can be read
        assert due == [good]
        assert await spool.due_in("there.test", START, 10) == [good]
        (shown,) = await spool.get(bad.id)
        assert shown.state is State.HELD
        assert "damaged row" in shown.last_reply
    assert len((await spool.page(EVERYTHING, 10)).entries) == 2
    assert await spool.change(Verb.DELETE, Selection(ids=[bad.id])) == 1
    assert await spool.due(START, 10) == [good]


NUMBERS = [("entry", column) for column in ("state", "attempts", "next_attempt", "size")]
NUMBERS += [("message", column) for column in ("queued_at", "size", "flags")]
NUMBERS += [("tally", column) for column in ("entries", "octets")]


@pytest.mark.parametrize("value", ["9e999", "-9e999", "1e300", "-1", "4611686018427387904", "'x'", "x'00'"])
@pytest.mark.parametrize(("table", "column"), NUMBERS)
async def test_no_number_of_a_damaged_row_stops_the_queue(
    opened: Opener, tmp_path: Path, table: str, column: str, value: str
) -> None:
    spool = await opened()
    bad, good = await accept(spool), await accept(spool)
    await spool.close()
    row = "state = 0" if table == "tally" else f"id = (SELECT min(id) FROM {table})"
    tamper(tmp_path, f"UPDATE {table} SET {column} = {value} WHERE {row}")
    spool = await opened()
    assert good in await spool.due(START, 10)
    assert good in await spool.due_in("there.test", START, 10)
    assert (await spool.next_due(START - 1) or 0.0) <= rows.MAX_COUNT
    shown = [entry_to_json(entry) for entry in (await spool.page(EVERYTHING, 10)).entries]
    assert [entry["id"] for entry in shown] == [bad.id, good.id]
    offline = OfflineQueue(str(tmp_path))
    assert [entry_to_json(entry)["id"] for entry in offline.entries(EVERYTHING)] == [bad.id, good.id]
    for stats in (spool.stats(), offline.stats()):
        assert sum(share.messages for share in stats.values()) == 2
        assert all(0 <= share.size <= 2 * rows.MAX_COUNT for share in stats.values())
        gauges = Recorder().snapshot(stats)["gauges"]
        assert orjson.loads(orjson.dumps(gauges, option=orjson.OPT_NON_STR_KEYS)) == gauges
    assert await spool.change(Verb.DELETE, EVERYTHING) == 2
    assert sum(share.messages + share.size for share in spool.stats().values()) == 0


@pytest.mark.parametrize("time", ["9e999", "'soon'", "1e300"])
async def test_a_time_that_is_none_is_brought_forward_and_the_entry_is_good(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    monkeypatch.setattr("mailboat.queue.spool.CHANGE", 2)
    spool = await opened()
    entries = [await accept(spool) for _ in range(7)]
    for entry in entries:
        await spool.record(entry, deferred(entry, START + 60.0))
    await spool.close()
    tamper(tmp_path, f"UPDATE entry SET next_attempt = {time} WHERE id < (SELECT max(id) FROM entry)")
    spool = await opened()
    assert await spool.bring_forward(START + 60.0, at_start(RetryPlan((60.0,)), START)) == 6
    assert [entry.id for entry in await spool.due(START + 66.0, 10)] == [e.id for e in [entries[-1], *entries[:-1]]]


async def test_a_row_with_a_negative_number_is_held(opened: Opener, tmp_path: Path) -> None:
    spool = await opened()
    await accept(spool)
    good = await accept(spool)
    await spool.close()
    tamper(tmp_path, "UPDATE entry SET id = -5 WHERE id = (SELECT min(id) FROM entry)")
    spool = await opened()
    assert await spool.due(START, 10) == [good]
    assert spool.stats()[State.HELD].messages == 1


async def test_a_mark_of_message_numbers_that_is_none_is_damage(opened: Opener, tmp_path: Path) -> None:
    await (await opened()).close()
    tamper(tmp_path, "UPDATE meta SET value = 9e999 WHERE key = 'reserved'")
    with pytest.raises(StorageError, match="is damaged: the mark of the next message numbers"):
        await opened()


async def test_many_damaged_rows_in_front_do_not_hide_what_is_behind(opened: Opener, tmp_path: Path) -> None:
    spool = await opened()
    entries = [await accept(spool) for _ in range(12)]
    await spool.close()
    tamper(tmp_path, "UPDATE entry SET recipients = '' WHERE id < (SELECT max(id) FROM entry)")
    spool = await opened()
    assert await spool.due(START, 3) == entries[-1:]


async def test_a_body_that_is_missing_is_an_error_that_names_the_message(opened: Opener, tmp_path: Path) -> None:
    spool = await opened()
    entry = await accept(spool)
    await spool.close()
    tamper(tmp_path, "DELETE FROM body")
    spool = await opened()
    with pytest.raises(StorageError, match=entry.id):
        await spool.body(entry)


# Files.


async def test_files_of_bodies_survive_a_restart_and_orphans_do_not(opened: Opener, tmp_path: Path) -> None:
    spool = await opened()
    entry = await accept(spool, body=body_file(spool))
    body_file(spool)
    await spool.close()
    (tmp_path / "bodies" / "0-99").write_bytes(b"orphan of this database")
    (tmp_path / "bodies" / "1-99").write_bytes(b"a neighbour's")
    (tmp_path / "bodies" / "README").write_bytes(b"whose ever")
    (tmp_path / "incoming" / "1-1-1").write_bytes(b"a neighbour's")
    spool = await opened()
    fresh = body_file(spool)
    await until(lambda: files_in(tmp_path / "incoming") == sorted([Path(fresh.path).name, "1-1-1"]))
    await until(lambda: "0-99" not in files_in(tmp_path / "bodies"))
    assert {"1-99", "README"} < set(files_in(tmp_path / "bodies"))
    kept = await spool.body(entry)
    assert isinstance(kept, SpooledBody)
    assert exists(kept.path)


async def test_a_refused_message_leaves_no_file(opened: Opener, tmp_path: Path) -> None:
    disk = Disk()
    spool = await opened(disk.tuning())
    disk.failure = FULL
    with pytest.raises(StorageFull):
        await spool.accept(draft(body=body_file(spool)))
    with pytest.raises(ValueError, match="recipient"):
        spool.accept(replace(draft(body=body_file(spool)), recipients=[]))
    disk.failure = None
    await spool.close()
    with pytest.raises(StorageError):
        await spool.accept(draft(body=body_file(spool)))
    assert files_in(tmp_path / "incoming") == files_in(tmp_path / "bodies") == []


async def test_a_file_that_vanished_refuses_its_message(opened: Opener) -> None:
    spool = await opened()
    body = body_file(spool)
    remove(body.path)
    with pytest.raises(StorageError, match="No such file"):
        await spool.accept(draft(body=body))


async def test_a_file_from_elsewhere_is_not_taken(opened: Opener, tmp_path: Path) -> None:
    """Least of all another message's body."""
    spool = await opened()
    entry = await accept(spool, body=body_file(spool))
    theirs = await spool.body(entry)
    with pytest.raises(ValueError, match="not a new body file"):
        spool.accept(draft(body=theirs))
    assert isinstance(theirs, SpooledBody)
    assert exists(theirs.path)


async def test_a_bounce_may_have_its_body_in_a_file(opened: Opener) -> None:
    spool = await opened()
    listener = Listener()
    entry = await accept(spool)
    spool.subscribe(listener)
    await spool.record(
        entry, AttemptRecord(None, draft("alice@sender.test", sender="", body=body_file(spool, b"x" * 99)))
    )
    kept = await spool.body(listener.entries[0])
    assert isinstance(kept, SpooledBody)
    assert kept.size == 99


async def test_files_go_when_an_operator_deletes_their_message(opened: Opener, tmp_path: Path) -> None:
    spool = await opened()
    await accept(spool, body=body_file(spool))
    assert len(files_in(tmp_path / "bodies")) == 1
    await spool.change(Verb.DELETE, EVERYTHING)
    await until(lambda: not files_in(tmp_path / "bodies"))


# Long queues.


async def test_selections_walk_a_queue_longer_than_a_window(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboat.queue.queries.WINDOW", 10)
    monkeypatch.setattr("mailboat.queue.spool.CHANGE", 7)
    spool = await opened()
    futures = [spool.accept(draft(f"u@{'rare' if n % 20 == 19 else 'common'}.test")) for n in range(60)]
    await asyncio.gather(*futures)
    rare = Selection(domain="rare.test")
    first = await spool.page(rare, 2)
    assert len(first.entries) == 2
    rest = await spool.page(rare, 2, first.next)
    assert [e.domain for e in [*first.entries, *rest.entries]] == ["rare.test"] * 3
    assert await spool.change(Verb.HOLD, Selection(domain="common.test")) == 57
    assert await spool.change(Verb.DELETE, EVERYTHING) == 60


async def test_a_page_ends_with_its_octets_however_many_entries_are_wanted(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailboat.queue.spool.PAGE_OCTETS", 10_000)
    spool = await opened()
    crowd = [f"{'u' * 60}{n}@there.test" for n in range(50)]
    expected = [await accept(spool, *crowd) for _ in range(5)]
    assert [entry.id for page in await pages(spool, EVERYTHING) for entry in page] == [e.id for e in expected]
    assert [len(page) for page in await pages(spool, EVERYTHING)] == [2, 2, 1]
    assert [len(page) for page in await pages(spool, Selection(ids=[e.id for e in expected]))] == [2, 2, 1]
    monkeypatch.setattr("mailboat.queue.spool.PAGE_OCTETS", 1)
    assert [len(page) for page in await pages(spool, EVERYTHING)][:5] == [1] * 5
    assert await spool.change(Verb.HOLD, Selection(ids=[e.id for e in expected])) == 5


async def pages(spool: Spool, selection: Selection) -> list[Sequence[Entry]]:
    """All pages of a selection."""
    found, after = [], None
    while True:
        page = await spool.page(selection, 1000, after)
        found.append(page.entries)
        if (after := page.next) is None:
            return found


async def test_a_listing_goes_on_after_a_restart_that_found_its_adopted_database_gone(opened: Opener) -> None:
    spool = await opened()
    entry = await accept(spool)
    assert (await spool.page(EVERYTHING, 10, "3:7")).entries == [entry]

"""Reading the queue without a relay: complete, without a lock, without writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.stores import draft, files_in

from mailboat.model.envelope import Entry, State
from mailboat.model.observer import Observer
from mailboat.model.sts import StsEntry, StsMode, StsPolicy
from mailboat.queue import offline, schema
from mailboat.queue.offline import OfflineQueue
from mailboat.queue.opening import open_spool
from mailboat.queue.spool import database_path
from mailboat.queue.store import AttemptRecord, Selection, StorageError
from mailboat.queue.sts_copy import StsCopy
from mailboat.queue.sts_table import StsTable

START = 1_000_000.0


async def fill(directory: Path, index: int, count: int) -> list[Entry]:
    spool = await open_spool(directory, index, FixedClock(START + index), Observer())
    entries = [entry for n in range(count) for entry in await spool.accept(draft(f"u{n}@d{n % 3}.test"))]
    await spool.close()
    return entries


async def test_a_stopped_relay_s_queue_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "_BATCH", 2)
    expected = [*await fill(tmp_path, 0, 5), *await fill(tmp_path, 1, 4)]
    before = files_in(tmp_path)
    queue = OfflineQueue(str(tmp_path))
    assert list(queue.entries(Selection())) == expected
    assert list(queue.entries(Selection(domain="d1.test"))) == [e for e in expected if e.domain == "d1.test"]
    wanted = Selection(ids=[e.message.id for e in expected], domain="d2.test")
    assert list(queue.entries(wanted)) == [e for e in expected if e.domain == "d2.test"]
    assert queue.get(expected[6].id) == [expected[6]]
    assert queue.get("nonsense") == []
    stats = queue.stats()[State.ACTIVE]
    assert (stats.messages, stats.oldest) == (9, START)
    assert set(files_in(tmp_path)) - set(before) <= {f"queue-{n}.db-{end}" for n in (0, 1) for end in ("wal", "shm")}


async def test_it_reads_beside_a_running_relay(tmp_path: Path) -> None:
    spool = await open_spool(tmp_path, 0, FixedClock(START), Observer())
    (entry,) = await spool.accept(draft())
    remaining = replace(entry, state=State.DEFERRED, next_attempt=START + 60)
    await spool.record(entry, AttemptRecord(remaining))
    assert list(OfflineQueue(str(tmp_path)).entries(Selection())) == [remaining]
    await spool.accept(draft())
    await spool.close()


async def test_of_what_several_workers_know_of_a_domain_s_policy_the_last_look_counts(tmp_path: Path) -> None:
    checked = {0: (("a.test", 10.0), ("b.test", 10.0)), 1: (("a.test", 20.0), ("c.test", 5.0)), 2: (("b.test", 9.0),)}
    for index, known in checked.items():
        spool = await open_spool(tmp_path, index, FixedClock(START), Observer())
        for domain, when in known:
            policy = StsPolicy(StsMode.ENFORCE, 60 + index, (f"mx.{domain}",))
            await StsTable(spool).write(StsEntry(domain, policy, f"id{index}", checked=when))
        await spool.close()
    queue = OfflineQueue(str(tmp_path))
    assert queue.sts_domains() == {"a.test", "b.test", "c.test"}
    found = {
        domain: entry and (entry.id, entry.policy and entry.policy.max_age)
        for domain in ("a.test", "b.test", "d.test")
        for entry in [queue.sts(domain)]
    }
    assert found == {"a.test": ("id1", 61), "b.test": ("id0", 60), "d.test": None}
    copy = StsCopy(queue)
    await copy.remove(["a.test"])
    await copy.write(StsEntry("b.test", checked=30.0))
    assert await copy.read("a.test") == queue.sts("a.test")
    assert (await copy.read("b.test"), queue.sts("b.test") is None) == (StsEntry("b.test", checked=30.0), False)


async def test_a_spare_database_that_its_worker_removes_meanwhile_was_empty(tmp_path: Path) -> None:
    (entry,) = await fill(tmp_path, 0, 1)
    await fill(tmp_path, 1, 0)
    queue = OfflineQueue(str(tmp_path))
    for path in schema.database_files(database_path(tmp_path, 1)):
        path.unlink(missing_ok=True)
    assert list(queue.entries(Selection())) == [entry]
    assert queue.stats()[State.ACTIVE].messages == 1


async def test_a_log_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    await fill(tmp_path, 0, 1)
    schema.database_files(database_path(tmp_path, 0))[1].mkdir()
    with pytest.raises(StorageError, match=r"queue-0\.db: unable to open"):
        list(OfflineQueue(str(tmp_path)).entries(Selection()))


async def test_damage_is_a_clear_error(tmp_path: Path) -> None:
    database_path(tmp_path, 0).write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match=r"queue-0\.db is damaged"):
        OfflineQueue(str(tmp_path)).stats()


async def test_another_format_is_a_clear_error(tmp_path: Path) -> None:
    await fill(tmp_path, 0, 1)
    with closing(sqlite3.connect(database_path(tmp_path, 0))) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StorageError, match="has format version 9"):
        list(OfflineQueue(str(tmp_path)).entries(Selection()))


def test_a_directory_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is not a directory"):
        OfflineQueue(str(tmp_path / "nowhere"))


def test_an_empty_directory_is_an_empty_queue(tmp_path: Path) -> None:
    queue = OfflineQueue(str(tmp_path))
    assert list(queue.entries(Selection())) == []
    assert queue.stats()[State.HELD].messages == 0

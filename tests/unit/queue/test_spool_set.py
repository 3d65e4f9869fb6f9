"""Adoption: a worker count that shrinks leaves no database behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.stores import BODY, Listener, draft, files_in, until

from mailboat.model.envelope import Entry, EntryKey, State
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_spool, open_store
from mailboat.queue.spool import Spool
from mailboat.queue.spool_set import SpoolSet
from mailboat.queue.store import AttemptRecord, QueueInUse, Selection, StorageError, Store, Verb

START = 1_000_000.0
EVERYTHING = Selection()


async def fill(directory: Path, index: int, *recipients: str, at: float = START) -> list[Entry]:
    """A database left by worker `index`, with one message a recipient."""
    spool = await open_spool(directory, index, FixedClock(at), Observer())
    entries = [entry for to in recipients for entry in await spool.accept(draft(to))]
    await spool.close()
    return entries


async def open_worker(directory: Path, worker: int, nodes: int) -> Store:
    return await open_store(str(directory), worker, nodes, FixedClock(START), Observer())


def databases(directory: Path) -> list[str]:
    return [name for name in files_in(directory) if name.endswith(".db")]


async def test_spare_databases_are_shared_out_among_the_workers(tmp_path: Path) -> None:
    for index in range(5):
        await fill(tmp_path, index, f"u@d{index}.test")
    stores = [await open_worker(tmp_path, worker, 2) for worker in range(2)]
    found = [[entry.domain for entry in await store.due(START, 10)] for store in stores]
    assert found == [["d0.test", "d2.test", "d4.test"], ["d1.test", "d3.test"]]
    for store in stores:
        await store.close()


async def test_without_spare_databases_the_store_is_the_workers_own(tmp_path: Path) -> None:
    await fill(tmp_path, 1, "u@d1.test")
    store = await open_worker(tmp_path, 0, 2)
    assert isinstance(store, Spool)
    await store.close()


async def test_due_entries_of_all_databases_come_in_one_order(tmp_path: Path) -> None:
    own = await fill(tmp_path, 0, "a@x.test", "b@x.test", at=START - 5)
    spare = await fill(tmp_path, 1, "c@x.test", "d@x.test", at=START - 5)
    older = await fill(tmp_path, 2, "e@x.test", at=START - 9)
    store = await open_worker(tmp_path, 0, 1)
    expected = [*older, *own, *spare]
    assert await store.due(START, 10) == expected
    assert await store.due_in("x.test", START, 10) == expected
    seen: list[Entry] = []
    after: tuple[float, EntryKey] | None = None
    while batch := await store.due(START, 1, after):
        seen += batch
        after = (batch[-1].next_attempt or 0.0, batch[-1].key)
    assert seen == expected
    assert await store.next_due(START - 9) == START - 5
    await store.close()


async def test_an_emptied_spare_database_is_removed(tmp_path: Path) -> None:
    (entry,) = await fill(tmp_path, 3, "u@x.test")
    store = await open_worker(tmp_path, 0, 1)
    assert isinstance(store, SpoolSet)
    assert await store.body(entry) == BODY
    await store.record(entry, AttemptRecord(None))
    await until(lambda: databases(tmp_path) == ["queue-0.db"])
    assert await store.due(START, 10) == []
    await store.record(entry, AttemptRecord(None, draft("alice@sender.test", sender="")))
    with pytest.raises(StorageError, match="gone"):
        await store.body(entry)
    await store.close()
    store = await open_worker(tmp_path, 0, 1)
    assert isinstance(store, Spool)
    await store.close()


async def test_a_spare_database_that_is_empty_already_is_removed_at_once(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    store = await open_worker(tmp_path, 0, 1)
    await until(lambda: databases(tmp_path) == ["queue-0.db"])
    await store.close()


async def test_deferrals_bounces_and_verbs_reach_the_right_database(tmp_path: Path) -> None:
    (spare,) = await fill(tmp_path, 1, "u@spare.test")
    store = await open_worker(tmp_path, 0, 1)
    listener = Listener()
    store.subscribe(listener)
    (own,) = await store.accept(draft("u@own.test"))
    assert own.key.spool == 0
    for entry in (own, spare):
        await store.record(entry, AttemptRecord(replace(entry, next_attempt=START + 60, state=State.DEFERRED)))
    assert await store.change(Verb.FLUSH, EVERYTHING) == 2
    assert store.stats()[State.ACTIVE].messages == 2
    bounce = draft("alice@sender.test", sender="", id=store.reserve_id())
    await store.record(spare, AttemptRecord(None, bounce))
    (again,) = [entry for entry in listener.entries if entry.message.sender.is_null]
    assert await store.body(again) == BODY
    assert await store.get(again.message.id) == [again]
    assert await store.change(Verb.HOLD, Selection(ids=[again.id, own.id])) == 2
    assert {key.spool for key in listener.gone} == {0, 1}
    assert await store.change(Verb.DELETE, EVERYTHING) == 2
    await until(lambda: databases(tmp_path) == ["queue-0.db"])
    await store.close()


async def test_pages_go_through_all_databases(tmp_path: Path) -> None:
    for index in (0, 1, 2):
        await fill(tmp_path, index, *[f"u{n}@d{index}.test" for n in range(3)])
    store = await open_worker(tmp_path, 0, 1)
    for limit in (1, 2, 3, 4, 9, 10):
        seen: list[Entry] = []
        after: str | None = None
        while True:
            page = await store.page(EVERYTHING, limit, after)
            assert len(page.entries) <= limit
            seen += page.entries
            if (after := page.next) is None:
                break
        assert [entry.key.spool for entry in seen] == [1] * 3 + [2] * 3 + [0] * 3
    await store.close()


async def test_a_page_goes_on_when_its_database_was_emptied_meanwhile(tmp_path: Path) -> None:
    for index in (0, 1):
        await fill(tmp_path, index, "a@x.test", "b@x.test")
    store = await open_worker(tmp_path, 0, 1)
    page = await store.page(EVERYTHING, 1)
    adopted = [entry.id for entry in await store.due(START, 10) if entry.key.spool == 1]
    await store.change(Verb.DELETE, Selection(ids=adopted))
    await until(lambda: databases(tmp_path) == ["queue-0.db"])
    rest = await store.page(EVERYTHING, 10, page.next)
    assert [entry.key.spool for entry in rest.entries] == [0, 0]
    await store.close()


async def test_a_relay_with_more_workers_on_the_same_directory_is_in_the_way(tmp_path: Path) -> None:
    other = await open_spool(tmp_path, 1, FixedClock(), Observer())
    with pytest.raises(QueueInUse, match=r"queue-1\.lock"):
        await open_worker(tmp_path, 0, 1)
    await other.close()
    await (await open_worker(tmp_path, 0, 1)).close()  # nothing was left locked

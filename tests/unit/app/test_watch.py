"""The look at disk and memory: what ingress is told, and when storage that failed is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.memory_store import MemoryStore

from mailboat.app import watch as watch_module
from mailboat.app.watch import Watch, disk_is_full, memory_in_use
from mailboat.ingress.admission import Load
from mailboat.loading.memory import memory_limit
from mailboat.model.clock import SystemClock
from mailboat.queue.store import StorageFull


async def test_a_scarce_disk_refuses_mail_only_while_the_store_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    load, store = Load(), MemoryStore(SystemClock())
    woken: list[str] = []
    watch = Watch(load, store, "/", 1)
    watch.recovered = lambda: woken.append("now")
    monkeypatch.setattr(watch_module, "disk_is_full", lambda _: True)

    await watch.look()
    assert not load.disk_full  # there is room within its files
    store.failure = StorageFull("no room")
    await watch.look()
    assert load.disk_full
    assert woken == []
    store.failure = None
    await watch.look()
    assert not load.disk_full
    assert woken == ["now"]


async def test_a_queue_that_commits_no_more_is_told_of() -> None:
    store = MemoryStore(SystemClock())
    told: list[str] = []
    watch = Watch(Load(), store, "/", 1)
    watch.failed = lambda: told.append("now")
    await watch.look()
    assert told == []
    store.failed = True
    await watch.look()
    assert told == ["now"]


async def test_workers_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "memory_limit", lambda: 1000.0)
    monkeypatch.setattr(watch_module, "memory_in_use", lambda: 500)
    for workers, full in ((1, False), (2, True)):
        load = Load()
        await Watch(load, MemoryStore(SystemClock()), "/", workers).look()
        assert load.memory_full is full


def test_this_machine_says_what_it_has(tmp_path: Path) -> None:
    assert 0 < memory_in_use() < memory_limit()
    assert not disk_is_full(str(tmp_path / "missing"))


@pytest.mark.parametrize(("workers", "room"), [(1, 128), (4, 32), (1000, 1)])
def test_strangers_have_room_in_a_quarter_of_the_memory_of_a_worker(
    workers: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "memory_limit", lambda: 512.0 * 2**20)
    load = Load()
    Watch(load, MemoryStore(SystemClock()), "/", workers)
    assert load.room_for_strangers == room

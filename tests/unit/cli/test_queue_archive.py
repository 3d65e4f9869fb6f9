"""Exports from a stopped relay's queue whose file does not become whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.stores import draft, files_in

from mailboat.cli.queue_archive import ArchiveWriter, OfflineExport, export_to
from mailboat.cli.queue_source import Offline, QueueCommandError
from mailboat.model.envelope import Entry
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_store
from mailboat.queue.store import Selection, Step


@pytest.fixture
def queue_dir(tmp_path: Path) -> Path:
    asyncio.run(_use(tmp_path / "queue", "a@one.test", "b@two.test"))
    return tmp_path / "queue"


async def _use(queue_dir: Path, *recipients: str) -> Sequence[Entry]:
    """Queue a message if there are recipients; what is queued then."""
    store = await open_store(str(queue_dir), 0, 1, FixedClock(1_000_000.0), Observer())
    if recipients:
        await store.accept(draft(*recipients))
    entries = (await store.page(Selection(), 100)).entries
    await store.close()
    return entries


def test_a_disk_that_is_full_leaves_the_queue_as_it_was(
    queue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.run(_use(queue_dir))

    def write(self: ArchiveWriter, octets: bytes) -> None:
        raise QueueCommandError("no space left on device", os.EX_CANTCREAT)

    monkeypatch.setattr(ArchiveWriter, "write", write)
    with pytest.raises(QueueCommandError, match="no space") as caught:
        export_to(tmp_path / "x", Offline(str(queue_dir)), Selection(), remove=True)
    assert caught.value.status == 73
    assert asyncio.run(_use(queue_dir)) == before
    assert files_in(tmp_path) == ["queue"]


def test_a_name_that_is_taken_meanwhile_leaves_the_queue_as_it_was(
    queue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.run(_use(queue_dir))
    sync = ArchiveWriter.sync

    def take_the_name(self: ArchiveWriter) -> None:
        sync(self)
        (tmp_path / "x").write_text("mine")

    monkeypatch.setattr(ArchiveWriter, "sync", take_the_name)
    with pytest.raises(QueueCommandError, match="cannot be written: File exists") as caught:
        export_to(tmp_path / "x", Offline(str(queue_dir)), Selection(), remove=True)
    assert caught.value.status == 73
    assert asyncio.run(_use(queue_dir)) == before
    assert (tmp_path / "x").read_text() == "mine"


def test_the_file_is_synced_before_it_has_its_name(
    queue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the name before the queue is told: a power cut finds no name without a whole file, and no deleted mail."""
    done: list[str] = []
    real_fsync, real_link, real_finish = os.fsync, os.link, OfflineExport.finish

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(f"sync {'file' if path.suffix == '.partial' else path.name}")
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        done.append("link")
        real_link(source, target)

    def finish(self: OfflineExport, step: Step) -> int:
        done.append("told")
        return real_finish(self, step)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(OfflineExport, "finish", finish)
    assert export_to(tmp_path / "x", Offline(str(queue_dir)), Selection(), remove=True) == 2
    here = [what for what in done if what in ("sync file", f"sync {tmp_path.name}", "link", "told")]
    assert here == ["sync file", f"sync {tmp_path.name}", "link", f"sync {tmp_path.name}", "told"]
    assert asyncio.run(_use(queue_dir)) == []

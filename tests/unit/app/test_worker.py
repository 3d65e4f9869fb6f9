"""A worker ends: whatever goes wrong in its drain, its store is closed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailboat.app.build import Connections, WorkerOptions
from mailboat.app.limits import OwnLimits
from mailboat.app.process import start_worker
from mailboat.app.worker import Worker
from mailboat.delivery.tokens import TokenCache
from mailboat.model.clock import SystemClock


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    (tmp_path / "smtp.ini").write_text("listen=127.0.0.1:0\n")
    (tmp_path / "outbound.ini").write_text("queue_dir=queue\n")
    silent = os.open(os.devnull, os.O_WRONLY)
    started = await start_worker(
        WorkerOptions(tmp_path, drain_timeout=0.0, event_fd=silent),
        Connections(lambda clock, _: TokenCache(clock), OwnLimits(SystemClock()).connect),
    )
    assert isinstance(started, Worker)
    yield started
    os.close(silent)


@pytest.mark.parametrize("part", ["listener", "engine", "plugins"])
async def test_a_drain_that_fails_is_logged_and_the_store_is_closed(
    worker: Worker, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts, closed = worker._parts, []
    right = parts.store.close

    async def close() -> None:
        closed.append("store")
        await right()

    async def fails(*_: object) -> None:
        raise RuntimeError(f"a fault of the {part}")

    ends = {"listener": "finish", "engine": "drain", "plugins": "close"}
    broken = getattr(parts, part)
    still = getattr(broken, ends[part])
    monkeypatch.setattr(parts.store, "close", close)
    monkeypatch.setattr(broken, ends[part], fails)
    await worker.stop()
    assert closed == ["store"]
    assert f"a fault of the {part}" in caplog.text
    await still(0.0)

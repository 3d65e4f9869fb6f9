"""The look at the clocks: a wall clock that was set back, and none that is adjusted or set forward."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.memory_store import MemoryStore
from tests.support.stores import draft

from mailboat.app.clock import ClockWatch
from mailboat.model.envelope import Entry, State
from mailboat.queue.backoff import RetryPlan
from mailboat.queue.store import AttemptRecord, Selection, StorageError

START = 1_000_000.0


class TwoClocks:
    """Set by hand."""

    def __init__(self) -> None:
        self.wall, self.up = START, 5.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.up

    def go_on(self, seconds: float, jump: float = 0.0) -> None:
        self.up += seconds
        self.wall += seconds + jump


class Rig:
    """One message that waits for 60 s, and the watch."""

    def __init__(self) -> None:
        self.clock = TwoClocks()
        self.store = MemoryStore(self.clock)
        self.watch = ClockWatch(self.clock, self.store, lambda: RetryPlan((60.0, 90.0)))

    async def begin(self) -> None:
        (entry,) = await self.store.accept(draft())
        waiting = replace(entry, attempts=1, state=State.DEFERRED, next_attempt=START + 60.0)
        await self.store.record(entry, AttemptRecord(waiting))

    async def wait(self) -> float:
        """Seconds that the message still waits for."""
        (entry,) = (await self.store.page(Selection(), 10)).entries
        assert isinstance(entry, Entry)
        assert entry.next_attempt is not None
        return entry.next_attempt - self.clock.wall


async def test_a_clock_that_is_set_back_costs_no_hour() -> None:
    it = Rig()
    await it.begin()
    it.clock.go_on(10.0, jump=-3600.0)
    assert await it.wait() == 3650.0
    await it.watch.look()
    assert await it.wait() == pytest.approx(66.0)  # as long as it can be after one failure
    it.clock.go_on(10.0)
    await it.watch.look()
    assert await it.wait() == pytest.approx(56.0)


async def test_clocks_that_drift_or_go_forward_change_nothing() -> None:
    it = Rig()
    await it.begin()
    for jump in (-0.5, -1.0, 3600.0):
        it.clock.go_on(1.0, jump)
        await it.watch.look()
    assert await it.wait() == 60.0 - 3.0 + 1.5 - 3600.0


async def test_while_storage_fails_it_is_tried_again() -> None:
    it = Rig()
    await it.begin()
    it.clock.go_on(10.0, jump=-3600.0)
    it.store.failure = StorageError("no disk")
    await it.watch.look()
    assert await it.wait() == 3650.0
    it.store.recover()
    it.clock.go_on(1.0)
    await it.watch.look()
    assert await it.wait() == pytest.approx(66.0)

"""The engine over a fake store and fake attempts: what starts, what is recorded, and what follows."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.support.engine_rig import Rig, StoreWithGates
from tests.support.memory_store import MemoryStore
from tests.support.stores import Listener, until

from mailboat.delivery import engine as engine_module
from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Entry, State
from mailboat.model.observer import BounceResult
from mailboat.model.outcome import Result
from mailboat.queue.store import AttemptRecord, Selection, StorageError, Verb

QUICK = (0.01,)
"""One retry, soon."""


async def test_what_waits_in_the_store_and_what_comes_later_is_delivered() -> None:
    rig = Rig()
    await rig.accept("a@one.test", "b@two.test")
    rig.engine.start()
    await rig.attempted(2)
    await rig.accept("c@three.test")
    await rig.attempted(3)
    assert await rig.left() == []
    assert [e.domain for e in rig.attempter.started] == ["one.test", "two.test", "three.test"]
    await rig.engine.drain(1)


async def test_a_deferred_message_is_tried_again_when_its_time_has_come() -> None:
    rig = Rig(temp_fail_intervals=QUICK * 3)
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.engine.start()
    await rig.accept("a@one.test")
    await rig.attempted(2)
    rig.attempter.results.clear()
    await rig.until(lambda: rig.observer.attempts[-1][2] is None)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_a_new_start_keeps_the_time_of_the_next_attempt() -> None:
    rig = Rig(temp_fail_intervals=(3600.0,))
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.engine.start()
    before = time.time()
    await rig.accept("a@one.test")
    await rig.attempted(1)
    await rig.engine.drain(1)

    again = Rig(store=rig.memory)
    again.engine.start()
    await again.accept("b@two.test")
    await again.attempted(1)
    assert [e.domain for e in again.attempter.started] == ["two.test"]
    (left,) = await again.left()
    assert left.next_attempt is not None
    assert before + 3600 <= left.next_attempt <= time.time() + 3600
    await again.engine.drain(1)


async def test_a_flush_tries_deferred_mail_now() -> None:
    rig = Rig(temp_fail_intervals=(3600.0,))
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.engine.start()
    await rig.accept("a@one.test")
    await rig.attempted(1)
    rig.attempter.results.clear()
    assert await rig.store.change(Verb.FLUSH, Selection()) == 1
    await rig.attempted(2)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_held_mail_waits_for_its_release() -> None:
    rig = Rig(disabled=True)
    rig.engine.start()
    await rig.accept("a@one.test")
    assert await rig.store.change(Verb.HOLD, Selection(domain="one.test")) == 1
    rig.engine.configure(Rig.with_outbound())
    await rig.accept("b@two.test")
    await rig.attempted(1)
    assert [e.domain for e in rig.attempter.started] == ["two.test"]
    await rig.store.change(Verb.RELEASE, Selection())
    await rig.attempted(2)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_mail_deleted_in_flight_stays_deleted_and_mail_held_in_flight_stays_held() -> None:
    rig = Rig()
    rig.attempter.hang("one.test", "two.test")
    rig.attempter.results |= {"one.test": Result.DEFERRED, "two.test": Result.DEFERRED}
    rig.engine.start()
    deleted = await rig.accept("a@one.test")
    await rig.accept("b@two.test")
    await rig.until(lambda: len(rig.attempter.started) == 2)
    await rig.store.change(Verb.DELETE, Selection(ids=[deleted.id]))
    await rig.store.change(Verb.HOLD, Selection(domain="two.test"))
    rig.attempter.release("one.test", "two.test")
    await rig.attempted(2)
    (left,) = await rig.left()
    assert (left.domain, left.state, left.attempts, left.next_attempt) == ("two.test", State.HELD, 1, None)
    await rig.engine.drain(1)


async def test_disabled_mail_is_taken_and_not_tried_until_it_is_enabled() -> None:
    rig = Rig(disabled=True)
    rig.engine.start()
    await rig.accept("a@one.test")
    await asyncio.sleep(0)
    assert rig.attempter.started == []
    rig.engine.configure(Rig.with_outbound())
    await rig.attempted(1)
    await rig.engine.drain(1)


async def test_destinations_that_hang_do_not_hold_back_the_others() -> None:
    rig = Rig(concurrency_max=200, destination_concurrency_max=5)
    hanging = [f"slow{n}.test" for n in range(10)]
    rig.attempter.hang(*hanging)
    for n in range(300):
        await rig.accept(f"u{n}@{hanging[n % 10]}", f"u{n}@quick{n % 20}.test")
    rig.engine.start()
    await rig.attempted(300)
    assert all(entry.domain.startswith("quick") for entry, _, _ in rig.observer.attempts)
    assert {rig.attempter.most_running[domain] for domain in hanging} == {5}
    rig.attempter.release(*hanging)
    await rig.attempted(600)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_a_queue_larger_than_memory_is_delivered_whole_and_each_message_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "IN_MEMORY", 40)
    monkeypatch.setattr(engine_module, "SCAN_BATCH", 16)
    rig = Rig(concurrency_max=20)
    for n in range(600):
        await rig.accept(f"u{n}@big.test", f"u{n}@d{n}.test")
    rig.engine.start()
    await rig.attempted(1200)
    assert len({entry.key for entry in rig.attempter.started}) == len(rig.attempter.started) == 1200
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_one_domains_mail_that_goes_by_sender_is_delivered_whole_though_memory_holds_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "IN_MEMORY", 20)
    monkeypatch.setattr(engine_module, "SCAN_BATCH", 8)
    monkeypatch.setattr(engine_module, "LOW_WATER", 4)
    rig = Rig(concurrency_max=4, destination_concurrency_max=2)
    rig.by_sender = True
    for sender, count in (("a@first.test", 200), ("b@second.test", 60), ("a@first.test", 60)):
        for n in range(count):
            await rig.accept(f"u{n}@big.test", sender=sender)
    rig.engine.start()
    await rig.attempted(320)
    assert len({entry.key for entry in rig.attempter.started}) == 320
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_new_mail_that_finds_no_room_in_memory_is_delivered_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "IN_MEMORY", 10)
    rig = Rig(concurrency_max=2)
    domains = [f"d{n}.test" for n in range(50)]
    rig.attempter.hang(*domains)
    rig.engine.start()
    for domain in domains:
        await rig.accept(f"u@{domain}")
    rig.attempter.release(*domains)
    await rig.attempted(50)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_what_is_delivered_while_the_store_is_read_is_not_delivered_again() -> None:
    gated = StoreWithGates(MemoryStore(SystemClock()))
    rig = Rig(store=gated)  # type: ignore[arg-type]
    rig.engine.start()
    await asyncio.wait_for(gated.read.wait(), 5)
    await rig.accept("first@one.test")
    await rig.attempted(1)
    gated.open.clear()
    gated.read.clear()
    rig.attempter.hang("one.test")
    await rig.accept("second@one.test")
    rig.engine.woken()  # reads the message that is under way
    await asyncio.wait_for(gated.read.wait(), 5)
    rig.attempter.release("one.test")
    await rig.attempted(2)
    gated.open.set()
    await rig.accept("third@two.test")
    await rig.attempted(3)
    assert [str(e.recipients[0].address) for e in rig.attempter.started] == [
        "first@one.test",
        "second@one.test",
        "third@two.test",
    ]
    await rig.engine.drain(1)


async def test_an_outcome_recorded_after_its_retry_time_is_still_retried() -> None:
    """The commit took longer than the delay was: the reader has passed that time already."""
    rig = Rig(temp_fail_intervals=QUICK * 2)
    rig.attempter.results["one.test"] = Result.DEFERRED
    settle = rig.memory.record
    late: list[tuple[Entry, AttemptRecord, asyncio.Future[None]]] = []

    def settle_late(entry: Entry, record: AttemptRecord) -> asyncio.Future[None]:
        late.append((entry, record, asyncio.get_running_loop().create_future()))
        return late[-1][2]

    rig.memory.record = settle_late  # type: ignore[method-assign]
    rig.engine.start()
    await rig.accept("a@one.test")
    await until(lambda: late)
    rig.memory.record = settle  # type: ignore[method-assign]
    entry, record, future = late[0]
    assert record.remaining is not None
    retry_at = record.remaining.next_attempt or 0.0
    await until(lambda: time.time() > retry_at)
    await rig.accept("b@two.test")
    await rig.attempted(1)
    rig.attempter.hang("three.test")
    await rig.accept("c@three.test")
    rig.engine.woken()
    await until(lambda: rig.engine._cursor is not None and rig.engine._cursor[0] > retry_at)

    rig.attempter.results.clear()
    await settle(entry, record)
    future.set_result(None)
    await rig.attempted(3)
    rig.attempter.release("three.test")
    await rig.attempted(4)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_while_outcomes_cannot_be_recorded_nothing_more_is_attempted() -> None:
    rig = Rig(concurrency_max=1)
    rig.attempter.hang("one.test")
    rig.engine.start()
    await rig.accept("a@one.test")
    for n in range(5):
        await rig.accept(f"u{n}@two.test")
    await rig.until(lambda: rig.attempter.started)
    rig.memory.failure = StorageError("out of order")
    rig.attempter.release("one.test")
    await until(lambda: rig.memory.stalled)
    rig.engine.woken()
    for _ in range(20):
        await asyncio.sleep(0)
    # The one that started before the stall was known may have run; no more.
    assert len(rig.attempter.started) <= 2
    rig.memory.recover()
    await rig.attempted(6)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_unrecorded_outcomes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "UNRECORDED_MAX", 10)
    rig = Rig(concurrency_max=3)
    slow: list[asyncio.Future[None]] = []
    settle = rig.memory.record
    later: list[tuple[object, ...]] = []

    def settle_later(*what: object) -> asyncio.Future[None]:
        slow.append(asyncio.get_running_loop().create_future())
        later.append(what)
        return slow[-1]

    rig.memory.record = settle_later  # type: ignore[method-assign, assignment]
    for n in range(50):
        await rig.accept(f"u{n}@d{n}.test")
    rig.engine.start()
    await rig.until(lambda: len(rig.attempter.started) >= 10)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(rig.attempter.started) <= 13
    rig.memory.record = settle  # type: ignore[method-assign]
    for future, (entry, settlement) in zip(slow, later, strict=True):
        await settle(entry, settlement)  # type: ignore[arg-type]
        future.set_result(None)
    await rig.attempted(50)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_a_failed_recipient_makes_one_bounce_with_the_same_commit() -> None:
    rig = Rig()
    rig.attempter.results["one.test"] = Result.BOUNCED
    rig.engine.start()
    await rig.accept("a@one.test", "b@one.test")
    await rig.attempted(2)
    assert rig.observer.bounces == [BounceResult.QUEUED]
    bounce = rig.attempter.started[1]
    assert bounce.message.sender.is_null
    assert [str(r.address) for r in bounce.recipients] == ["alice@sender.test"]
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_a_null_sender_gets_no_bounce_and_it_is_counted() -> None:
    rig = Rig()
    rig.attempter.results["one.test"] = Result.BOUNCED
    rig.engine.start()
    await rig.accept("a@one.test", sender="")
    await rig.attempted(1)
    assert rig.observer.bounces == [BounceResult.SUPPRESSED]
    assert rig.bounces.written == 0
    assert await rig.left() == []
    await rig.engine.drain(1)


@pytest.mark.parametrize("failure", [StorageError("cannot be read"), ValueError("no such template")])
async def test_without_its_bounce_a_failure_is_not_recorded(failure: Exception) -> None:
    rig = Rig()
    rig.attempter.results["one.test"] = Result.BOUNCED
    rig.bounces.failure = failure
    rig.engine.start()
    await rig.accept("a@one.test")
    await rig.attempted(1)
    (left,) = await rig.left()
    assert (left.attempts, left.state) == (0, State.DEFERRED)
    assert rig.observer.bounces == []
    rig.bounces.failure = None
    await rig.store.change(Verb.FLUSH, Selection())
    await rig.until(lambda: rig.observer.bounces == [BounceResult.QUEUED])
    await rig.engine.drain(1)


async def test_a_mistake_in_one_attempt_costs_no_mail_and_no_other_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SET_ASIDE", 0.01)
    rig = Rig()
    rig.attempter.results["one.test"] = RuntimeError("a bug")
    rig.engine.start()
    await rig.accept("a@one.test")
    await rig.accept("b@two.test")
    await rig.attempted(1)
    rig.attempter.results.clear()
    await rig.attempted(2)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_when_the_store_cannot_be_read_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "RECHECK", 0.01)
    rig = Rig()
    due, failures = rig.memory.due, 2

    async def failing(*what: object) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise StorageError("cannot be read")
        return await due(*what)  # type: ignore[arg-type]

    rig.memory.due = failing  # type: ignore[method-assign, assignment]
    await rig.accept("a@one.test")
    rig.engine.start()
    await rig.attempted(1)
    assert failures == 0
    await rig.engine.drain(1)


class SetBackClock(SystemClock):
    """A wall clock that somebody sets."""

    offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset


async def test_a_wall_clock_that_is_set_back_strands_nothing() -> None:
    clock = SetBackClock()
    rig = Rig(clock=clock, temp_fail_intervals=QUICK * 3)
    rig.engine.start()
    await rig.accept("a@one.test")
    await rig.attempted(1)
    clock.offset = -3600.0
    rig.attempter.results["two.test"] = Result.DEFERRED
    await rig.accept("b@two.test")
    await rig.attempted(2)
    rig.attempter.results.clear()
    await rig.attempted(3)
    assert await rig.left() == []
    await rig.engine.drain(1)


async def test_a_deferral_is_found_when_nobody_listened() -> None:
    """The store holds entries of a relay that died: they are due from the beginning."""
    store = MemoryStore(SystemClock())
    store.subscribe(Listener())
    rig = Rig(store=store)
    for n in range(3):
        await rig.accept(f"u{n}@one.test")
    rig.engine.start()
    await rig.attempted(3)
    await rig.engine.drain(1)

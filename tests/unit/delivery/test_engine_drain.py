"""The end of an engine: what is under way finishes or is given up, and nothing is lost or told twice without a word."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.engine_rig import Rig

from mailboat.delivery import engine as engine_module


async def hanging(rig: Rig) -> None:
    rig.attempter.hang("one.test")
    rig.engine.start()
    await rig.accept("a@one.test")
    await rig.until(lambda: rig.attempter.started)


async def test_attempts_finish_within_the_grace_and_no_new_ones_start() -> None:
    rig = Rig()
    await hanging(rig)
    drain = asyncio.create_task(rig.engine.drain(10))
    await asyncio.sleep(0)
    await rig.accept("b@two.test")
    rig.attempter.release("one.test")
    await drain
    await rig.attempted(1)
    assert [e.domain for e in await rig.left()] == ["two.test"]
    assert len(rig.attempter.started) == 1


async def test_what_has_not_sent_its_dot_is_given_up_and_is_due_at_the_next_start() -> None:
    rig = Rig()
    await hanging(rig)
    await rig.engine.drain(0.01)
    assert len(rig.attempter.cancelled) == 1
    assert rig.observer.attempts == []

    again = Rig(store=rig.memory)
    again.engine.start()
    await again.attempted(1)
    assert await again.left() == []
    await again.engine.drain(1)


async def test_past_the_dot_an_attempt_gets_longer_and_its_outcome_is_recorded() -> None:
    rig = Rig()
    await hanging(rig)
    rig.attempter.past.add(rig.attempter.started[0].key)
    drain = asyncio.create_task(rig.engine.drain(0.01))
    await asyncio.sleep(0.05)
    assert not drain.done()
    rig.attempter.release("one.test")
    await drain
    await rig.attempted(1)
    assert rig.attempter.cancelled == []
    assert rig.attempter.hung_up == []
    assert await rig.left() == []


async def test_a_reply_that_never_comes_is_recorded_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "DOT_GRACE", 0.02)
    rig = Rig()
    await hanging(rig)
    key = rig.attempter.started[0].key
    rig.attempter.past.add(key)
    await rig.engine.drain(0.01)
    await rig.attempted(1)
    assert rig.attempter.hung_up == [key]
    ((_, report, remaining),) = rig.observer.attempts
    assert report.outcomes[0].ambiguous
    assert remaining is not None
    assert remaining.attempts == 1


async def test_what_does_not_even_hang_up_does_not_keep_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "DOT_GRACE", 0.01)
    monkeypatch.setattr(engine_module, "HANG_UP_GRACE", 0.01)
    rig = Rig()
    await hanging(rig)
    rig.attempter.past.add(rig.attempter.started[0].key)
    rig.attempter.deaf = True
    await rig.engine.drain(0.01)
    assert len(rig.attempter.cancelled) == 1
    assert len(await rig.left()) == 1


async def test_an_engine_that_never_started_ends_at_once() -> None:
    rig = Rig()
    await rig.engine.drain(10)

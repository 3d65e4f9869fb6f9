"""Entries that are withdrawn while they are attempted, and somebody who waits until that is over."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.engine_rig import Rig

from mailboat.delivery.gate import Busy
from mailboat.model.outcome import Result
from mailboat.queue.store import Selection, Verb


@pytest.mark.parametrize("result", [Result.DELIVERED, Result.DEFERRED, RuntimeError("broken")])
async def test_whoever_waits_is_told_once_the_outcome_is_recorded(result: Result | Exception) -> None:
    rig = Rig()
    rig.attempter.hang("there.test")
    rig.attempter.results["there.test"] = result
    rig.engine.start()
    entry, other = await rig.accept("bob@there.test"), await rig.accept("eve@here.test")
    await rig.attempted(1)
    assert rig.engine.under_way([other.key]) == []
    (given_up,) = rig.engine.under_way([entry.key, other.key])
    given_up.cancel()
    (waiting,) = rig.engine.under_way([entry.key])
    assert not waiting.done()
    rig.attempter.release("there.test")
    await asyncio.wait_for(waiting, 20)
    assert [left.attempts for left in await rig.left()] == {
        Result.DELIVERED: [],
        Result.DEFERRED: [1],
    }.get(result if isinstance(result, Result) else Result.DROPPED, [0])
    await rig.engine.drain(0)


async def test_what_was_held_during_an_attempt_that_came_to_nothing_does_not_start_again() -> None:
    """The destination had no room: without the hold the entry would take its turn again."""
    rig = Rig()
    rig.attempter.hang("there.test")
    rig.attempter.results["there.test"] = Busy()
    rig.engine.start()
    entry = await rig.accept("bob@there.test")
    await rig.until(lambda: rig.attempter.started)
    await rig.store.change(Verb.HOLD, Selection(ids=[entry.id]))
    (waiting,) = rig.engine.under_way([entry.key])
    rig.attempter.release("there.test")
    await asyncio.wait_for(waiting, 20)
    rig.attempter.results["there.test"] = Result.DELIVERED
    await rig.accept("eve@here.test")
    await rig.attempted(1)
    assert len(rig.attempter.started) == 2
    await rig.store.change(Verb.RELEASE, Selection(ids=[entry.id]))
    await rig.attempted(2)
    await rig.engine.drain(0)

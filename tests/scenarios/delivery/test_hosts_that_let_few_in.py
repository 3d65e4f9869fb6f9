"""Hosts that let few connections in: nothing bounces, hardly anything is turned away, and it takes no longer."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.delivery_side import delivery_side, host
from tests.support.jumping_loop import JumpingLoop
from tests.support.strict_host import StrictHost

from mailboat.model.outcome import Result

RETRIES = (5.0,) * 13


async def seconds(count: int, limit: int, *, connections: int, pause: float, messages_each: int = 10**6) -> float:
    """How long a host takes that allows so much, where the relay begins at most `limit` attempts at once."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop)
    async with (
        StrictHost.start(connections=connections, seconds=pause, messages_each=messages_each) as strict,
        delivery_side(
            {"d.test": [host(("127.0.0.1", strict.port))]},
            clock=loop.clock,
            temp_fail_intervals=RETRIES,
            destination_concurrency_max=limit,
        ) as side,
    ):
        await side.accept_many("d.test", count)
        began = loop.time()
        side.engine.start()
        await side.all_settled()
        took = loop.time() - began
        assert strict.messages == count
        assert set(strict.recipients.values()) == {1}
        assert side.results(Result.BOUNCED) == 0
        if limit > connections:
            assert strict.turned_away <= 0.05 * count
            assert strict.most_open == connections
    return took


def is_as_fast(count: int, *, connections: int, pause: float, messages_each: int = 10**6) -> bool:
    """Whether mail takes no longer than with a fixed limit, apart from a few pauses."""
    fixed, learnt = (
        JumpingLoop.run(seconds(count, limit, connections=connections, pause=pause, messages_each=messages_each))
        for limit in (connections, 20)
    )
    return learnt <= fixed + 3 * pause


@pytest.mark.parametrize(("count", "pause"), [(60, 0.05), (300, 0.02), (500, 0.01)])
def test_a_host_that_lets_two_in_gets_its_mail_as_fast_as_with_a_fixed_limit(count: int, pause: float) -> None:
    assert is_as_fast(count, connections=2, pause=pause)


@pytest.mark.parametrize(("count", "pause"), [(60, 0.05), (300, 0.01), (500, 0.005)])
def test_a_host_that_lets_one_in_and_closes_it_at_the_fourth_message_gets_its_mail_as_fast(
    count: int, pause: float
) -> None:
    assert is_as_fast(count, connections=1, pause=pause, messages_each=3)

"""Hosts and DNS servers that never answer hold up their own mail, and nobody else's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.support.delivery_side import DeliverySide, Way, delivery_side, host
from tests.support.scripted_mx import Held, ScriptedMx, Silence
from tests.support.stores import until
from tests.support.strict_host import StrictHost

from mailboat.model.outcome import Result
from mailboat.routing.ahead import AT_ONCE, SLOW_AT_ONCE

OTHERS = [f"good{number}.test" for number in range(5)]
PATIENCE = 60.0
"""Seconds within which others are served on a very busy machine; the silent hosts would hold them for 300."""


@contextlib.asynccontextmanager
async def beside(silent: ScriptedMx, domains: int, **outbound: int) -> AsyncIterator[tuple[DeliverySide, StrictHost]]:
    """A delivery side with mail for domains on a silent host, before that for others."""
    async with StrictHost.start() as good:
        ways: dict[str, Way] = {f"bad{n}.test": [silent.target()] for n in range(domains)}
        ways |= {domain: [host(("127.0.0.1", good.port))] for domain in OTHERS}
        async with delivery_side(ways, concurrency_max=10, **outbound) as side:
            for number in range(20):
                for n in range(domains):
                    await side.accept(f"u{number}@bad{n}.test")
            side.engine.start()
            yield side, good


@pytest.mark.parametrize("domains", [1, 5, 12, 100])
@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "."])
async def test_domains_on_a_host_that_never_answers_hold_nobody_else_up(verb: str, domains: int) -> None:
    async with ScriptedMx.start() as silent:
        silent.on(verb, Silence())
        async with beside(silent, domains) as (side, good):
            await silent.wait_for(lambda mx: mx.connections)
            for number in range(40):
                await side.accept(*(f"u{number}@{domain}" for domain in OTHERS))
            await side.log.until(lambda: side.results(Result.DELIVERED) >= 40 * len(OTHERS), PATIENCE)
            assert good.messages == 40 * len(OTHERS)
            assert len(silent.connections) <= 4, "one host has a bounded part, however many domains lead to it"


async def test_look_ups_that_are_never_answered_hold_up_no_domain_not_even_a_new_one() -> None:
    """One message to 1,000 domains whose DNS keeps silent, before mail for others that are not known either."""
    async with StrictHost.start() as good:
        ways: dict[str, Way] = {domain: [host(("127.0.0.1", good.port))] for domain in OTHERS}
        async with delivery_side(ways, concurrency_max=10) as side:
            side.map.silent = {f"dark{n}.test" for n in range(1000)}
            side.map.patience = 3 * PATIENCE
            await side.accept(*(f"u@{domain}" for domain in sorted(side.map.silent)))
            await side.accept(*(f"v@{domain}" for domain in sorted(side.map.silent)))
            side.engine.start()
            for number in range(40):
                await side.accept(*(f"u{number}@{domain}" for domain in OTHERS))
            await side.log.until(lambda: side.results(Result.DELIVERED) == 40 * len(OTHERS), PATIENCE)
            assert side.map.most_at_once <= AT_ONCE + SLOW_AT_ONCE
            assert len(side.map.looked_up) == len(set(side.map.looked_up)), "one look-up a domain"
            assert len(side.log.attempts) == 40 * len(OTHERS)


async def test_mail_for_a_domain_whose_look_ups_fail_is_not_looked_up_again_at_once() -> None:
    async with delivery_side({}, temp_fail_intervals=(3600.0,)) as side:
        side.engine.start()
        await side.accept("a@nowhere.test")
        await side.log.until(lambda: side.log.attempts, PATIENCE)
        assert side.log.attempts[0].report.counted
        assert side.log.attempts[0].report.outcomes[0].status == "4.4.3"
        for _ in range(2):
            await side.accept("b@nowhere.test")
        await side.log.until(lambda: len(side.log.attempts) >= 3, PATIENCE)
        assert side.map.looked_up == ["nowhere.test"]


async def test_a_dead_host_is_left_alone_its_mail_says_so_and_a_flush_tries_it_at_once() -> None:
    async with StrictHost.start() as good:
        port = good.port
    # Nobody listens there now.
    async with delivery_side({"d.test": [host(("127.0.0.1", port))]}, temp_fail_intervals=(3600.0,) * 3) as side:
        side.engine.start()
        await side.accept_many("d.test", 3)
        await side.log.until(lambda: len(side.log.attempts) >= 3, PATIENCE)
        await side.accept("late@d.test")
        await side.log.until(lambda: len(side.log.attempts) >= 4, PATIENCE)
        late = side.log.attempts[-1]
        assert not late.report.counted
        assert late.remaining is not None
        assert late.remaining.attempts == 0
        assert "not tried until" in late.remaining.last_reply
        assert "connection refused" in late.remaining.last_reply
        assert late.delay is not None
        assert 40 < late.delay < 100
        side.engine.woken()
        await side.accept("now@d.test")
        await side.log.until(lambda: len(side.log.attempts) >= 5, PATIENCE)
        assert side.log.attempts[-1].report.counted


async def test_a_host_that_kept_silent_is_tried_after_all_others_across_preference() -> None:
    async with ScriptedMx.start() as silent, StrictHost.start() as backup:
        silent.on("CONNECT", Silence())
        ways = {"d.test": [silent.target("mx1.test"), host(("127.0.0.1", backup.port), "mx2.test", priority=10)]}
        async with delivery_side(ways, helo_timeout=1.0) as side:
            side.engine.start()
            for number in range(5):
                await side.accept(f"u{number}@d.test")
                await side.log.until(lambda: side.results(Result.DELIVERED) == number + 1, PATIENCE)  # noqa: B023
            assert len(silent.connections) == 1
            assert backup.messages == 5


async def test_an_attempt_tries_five_addresses_and_two_silent_ones_and_the_others_the_next_time() -> None:
    async with contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(ScriptedMx.start()) for _ in range(3)]
        for mx in silent:
            mx.on("CONNECT", Silence())
        ways = {"d.test": [mx.target(f"mx{n}.test", priority=n) for n, mx in enumerate(silent)]}
        side = await stack.enter_async_context(delivery_side(ways, helo_timeout=1.0, temp_fail_intervals=(0.1,) * 2))
        side.engine.start()
        await side.accept("u@d.test")
        await side.log.until(lambda: len(side.log.attempts) == 1, PATIENCE)
        assert [len(mx.connections) for mx in silent] == [1, 1, 0]
        await silent[2].wait_for(lambda mx: mx.connections)
    async with contextlib.AsyncExitStack() as stack:
        refusing = [await stack.enter_async_context(StrictHost.start(connections=0)) for _ in range(7)]
        ways = {"d.test": [host(("127.0.0.1", at.port), f"mx{n}.test", n) for n, at in enumerate(refusing)]}
        side = await stack.enter_async_context(delivery_side(ways, temp_fail_intervals=(3600.0,)))
        side.engine.start()
        await side.accept("u@d.test")
        await side.log.until(lambda: side.log.attempts, PATIENCE)
        assert [at.turned_away for at in refusing] == [1] * 5 + [0] * 2


async def test_an_attempt_that_takes_too_long_before_data_is_ended() -> None:
    async with ScriptedMx.start() as slow:
        slow.on("RCPT", Silence())
        async with delivery_side({"d.test": [slow.target()]}, attempt_timeout=1.0) as side:
            side.engine.start()
            await side.accept("u@d.test")
            await side.log.until(lambda: side.log.attempts, PATIENCE)
            (outcome,) = side.outcomes
            assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.4.1")
            assert "the attempt took 1 s" in outcome.reason


async def test_a_target_may_have_a_time_of_its_own() -> None:
    async with ScriptedMx.start() as slow:
        slow.on("RCPT", Silence())
        target = slow.target(timeouts=(("attempt_timeout", 1.0),))
        async with delivery_side({"d.test": [target]}) as side:
            side.engine.start()
            await side.accept("u@d.test")
            await side.log.until(lambda: side.log.attempts, PATIENCE)
            assert "the attempt took 1 s" in side.outcomes[0].reason


async def test_a_host_may_have_times_of_its_own_for_its_greeting() -> None:
    async with ScriptedMx.start() as slow:
        slow.on("CONNECT", Silence())
        async with delivery_side({"d.test": [slow.target(timeouts=(("helo_timeout", 1.0),))]}) as side:
            side.engine.start()
            await side.accept("u@d.test")
            await side.log.until(lambda: side.log.attempts, PATIENCE)
            assert "no reply in time" in side.outcomes[0].reason


async def test_after_the_dot_only_the_dot_timeout_counts() -> None:
    async with ScriptedMx.start() as slow:
        slow.on(".", Silence())
        async with delivery_side({"d.test": [slow.target()]}, attempt_timeout=0.5, dot_timeout=3.0) as side:
            side.engine.start()
            await side.accept("u@d.test")
            await side.log.until(lambda: side.log.attempts, PATIENCE)
            assert side.outcomes[0].ambiguous
            assert side.log.attempts[0].report.duration >= 2.9


async def test_places_that_silent_peers_gave_up_are_given_back_in_the_end() -> None:
    async with ScriptedMx.start() as slow:
        slow.on("CONNECT", Held("220 mx.test ESMTP"))
        async with delivery_side({"d.test": [slow.target()]}) as side:
            side.engine.start()
            await side.accept("u@d.test")
            await until(lambda: side.gate.places.parked)
            assert side.gate.places.active == 0
            slow.release()
            await side.all_settled()
            assert side.results(Result.DELIVERED) == 1

"""The MTA-STS policies of a worker: when one is fetched, how long it counts, what is stored and fetched again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock

from mailboat.config.settings import Endpoint, OutboundTlsSettings
from mailboat.model.observer import Observer, StsResult
from mailboat.model.sts import StsMode, StsPolicy
from mailboat.queue.opening import open_spool
from mailboat.queue.spool import Spool
from mailboat.queue.sts_table import StsTable
from mailboat.routing import sts_cache
from mailboat.routing.dnsquery import Response
from mailboat.routing.public_https import HttpsSettings
from mailboat.routing.records import RecordType
from mailboat.routing.resolver import Resolver
from mailboat.routing.sts_cache import AT_ONCE, DAY, HOUR, RETRY, StsPolicies
from mailboat.routing.sts_fetch import StsFetchError

D = "d.test"
ENFORCE = StsPolicy(StsMode.ENFORCE, int(7 * DAY), ("mx.d.test",))
NONE = StsPolicy(StsMode.NONE, int(7 * DAY))
BROKEN = StsFetchError(StsResult.FETCH_ERROR, "no connection")


class World(Observer):
    """DNS and HTTPS as the test says, and a worker's policies."""

    def __init__(self, clock: FixedClock) -> None:
        self.clock = clock
        self.ids: dict[str, str | None] = {}
        """The id that a domain announces; None: DNS fails."""
        self.answers: dict[str, StsPolicy | Exception] = {}
        self.fetches: list[str] = []
        self.queries: Counter[str] = Counter()
        self.results: list[StsResult] = []
        self.held: asyncio.Event | None = None
        self.under_way = 0
        self.most = 0
        self.begun = asyncio.Condition()
        self.spool: Spool

    def sts_fetched(self, result: StsResult) -> None:
        self.results.append(result)

    async def query(self, _server: Endpoint, name: str, rdtype: RecordType) -> Response:
        assert rdtype is RecordType.TXT
        self.queries[name] += 1
        announced = self.ids.get(name.removeprefix("_mta-sts."), "")
        if announced is None:
            return Response(failure="SERVFAIL")
        return Response((f"v=STSv1; id={announced}",), 1) if announced else Response(ttl=1, exists=False)

    async def fetch(self, domain: str, _resolver: Resolver, _settings: HttpsSettings) -> StsPolicy:
        self.fetches.append(domain)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        async with self.begun:
            self.begun.notify_all()
        if self.held is not None:
            await self.held.wait()
        self.under_way -= 1
        answer = self.answers.get(domain, ENFORCE)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def publish(self, policy: StsPolicy | Exception = ENFORCE, announced: str | None = "1", domain: str = D) -> None:
        self.ids[domain], self.answers[domain] = announced, policy

    async def refresh(self, policies: StsPolicies) -> None:
        """As the worker does now and then: when what it last learnt has been stored."""
        await self.spool.probe()
        await policies.refresh()
        await self.spool.probe()

    @contextlib.asynccontextmanager
    async def worker(self, directory: Path) -> AsyncIterator[StsPolicies]:
        """A worker with its database, which outlives it."""
        self.spool = spool = await open_spool(directory, 0, self.clock, self)
        resolver = Resolver(observer=self, clock=self.clock, query=self.query)
        resolver.configure((Endpoint("192.0.2.1", 53),))
        policies = StsPolicies(StsTable(spool), resolver, self, self.clock, self.fetch)
        await policies.load()
        policies.configure(OutboundTlsSettings())
        try:
            yield policies
        finally:
            await policies.close()
            await resolver.close()
            await spool.close()


@pytest.fixture
def world() -> World:
    return World(FixedClock(1_000_000_000.0))


async def policy(policies: StsPolicies, domain: str = D) -> StsPolicy | None:
    answer = await policies.find(domain)
    assert answer is not None
    assert not answer.pending
    return answer.policy


async def test_a_policy_is_fetched_once_for_an_id(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        for _ in range(3):
            assert await policy(policies) == ENFORCE
            world.clock.advance(HOUR)
        assert world.fetches == [D]
        world.publish(NONE, "2")
        assert await policy(policies) == NONE
    assert world.fetches == [D, D]
    assert world.results == [StsResult.OK, StsResult.OK]
    assert world.queries[f"_mta-sts.{D}"] == 4


async def test_a_domain_without_a_record_has_none_and_nothing_is_fetched(world: World, tmp_path: Path) -> None:
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) is None
    assert world.fetches == []


async def test_nothing_is_asked_for_while_mta_sts_is_off(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        policies.configure(OutboundTlsSettings(mta_sts=False))
        policies.ask_ahead(D)
        assert await policies.find(D) is None
        await world.refresh(policies)
    assert world.queries == {}


async def test_a_policy_counts_while_dns_fails(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.ids = {D: None, "new.test": None}
        world.clock.advance(6 * DAY)
        assert await policy(policies) == ENFORCE
        assert await policy(policies, "new.test") is None


async def test_a_policy_counts_until_it_runs_out_though_the_record_is_gone(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.ids.clear()
        world.clock.advance(ENFORCE.max_age - 1)
        assert await policy(policies) == ENFORCE
        world.clock.advance(7)
        assert await policy(policies) is None


async def test_a_policy_that_has_run_out_is_fetched_again_for_the_same_id(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.clock.advance(ENFORCE.max_age)
        assert await policy(policies) == ENFORCE
    assert world.fetches == [D, D]


async def test_a_policy_with_max_age_0_counts_for_one_look_up(world: World, tmp_path: Path) -> None:
    momentary = StsPolicy(StsMode.ENFORCE, 0, ("mx.d.test",))
    world.publish(momentary)
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) == momentary
        world.clock.advance(0.001)
        assert await policy(policies) == momentary
    assert world.fetches == [D, D]


async def test_a_failed_fetch_is_not_made_again_within_five_minutes(world: World, tmp_path: Path) -> None:
    world.publish(BROKEN)
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) is None
        world.clock.advance(RETRY - 10)
        assert await policy(policies) is None
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) is None
        assert world.fetches == [D]
        world.clock.advance(20)
        world.publish()
        assert await policy(policies) == ENFORCE
    assert world.results == [StsResult.FETCH_ERROR, StsResult.OK]


async def test_another_id_is_fetched_at_once_after_a_failure(world: World, tmp_path: Path) -> None:
    world.publish(BROKEN)
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.clock.advance(10)
        world.publish(ENFORCE, "2")
        assert await policy(policies) == ENFORCE


async def test_the_last_policy_counts_after_a_failed_fetch_for_a_new_id(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.clock.advance(HOUR)
        world.publish(BROKEN, "2")
        assert await policy(policies) == ENFORCE
        world.clock.advance(ENFORCE.max_age)
        assert await policy(policies) is None


async def test_an_unexpected_exception_counts_as_a_failed_fetch(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish(RuntimeError("a bug"))
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) is None
    assert world.results == [StsResult.FETCH_ERROR]
    assert "a bug" in caplog.text


async def test_policies_outlive_a_restart(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
    world.ids = {D: None}
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) == ENFORCE
    assert world.fetches == [D]


async def test_all_that_ask_at_once_wait_for_one_fetch(world: World, tmp_path: Path) -> None:
    world.publish()
    world.held = asyncio.Event()
    async with world.worker(tmp_path) as policies:
        asking = [asyncio.create_task(policy(policies)) for _ in range(50)]
        async with asyncio.timeout(20), world.begun:
            await world.begun.wait_for(lambda: world.fetches)
        asking[0].cancel()
        world.held.set()
        assert await asyncio.gather(*asking[1:]) == [ENFORCE] * 49
    assert world.fetches == [D]


async def test_sixteen_fetches_run_at_once_at_most(world: World, tmp_path: Path) -> None:
    world.held = asyncio.Event()
    names = [f"d{n}.test" for n in range(40)]
    async with world.worker(tmp_path) as policies:
        for name in names:
            world.publish(domain=name)
        asking = [asyncio.create_task(policy(policies, name)) for name in names]
        async with asyncio.timeout(20), world.begun:
            await world.begun.wait_for(lambda: world.under_way == AT_ONCE)
        world.held.set()
        await asyncio.gather(*asking)
    assert world.most == AT_ONCE


async def test_mail_does_not_go_while_a_policy_is_still_waited_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts_cache, "LONGEST_WAIT", 0.05)
    world.publish()
    world.held = asyncio.Event()
    async with world.worker(tmp_path) as policies:
        answer = await policies.find(D)
        assert answer is not None
        assert (answer.pending, answer.policy) == (True, None)


# Fetched again.


async def test_a_policy_in_use_is_fetched_again_before_it_runs_out(world: World, tmp_path: Path) -> None:
    """Whatever the TXT record says: an attacker would wait for the end."""
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.ids.clear()
        for _ in range(21):
            world.clock.advance(HOUR)
            await world.refresh(policies)
        assert world.fetches == [D]
        for _ in range(5):
            world.clock.advance(HOUR)
            await world.refresh(policies)
        assert world.fetches == [D, D]
        world.clock.advance(ENFORCE.max_age - 10 * HOUR)
        assert await policy(policies) == ENFORCE


async def test_a_short_lived_policy_is_fetched_again_after_half_of_its_life(world: World, tmp_path: Path) -> None:
    world.publish(StsPolicy(StsMode.ENFORCE, int(DAY), ("mx.d.test",)))
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.clock.advance(12 * HOUR - 1)
        await world.refresh(policies)
        assert world.fetches == [D]
        world.clock.advance(2)
        await world.refresh(policies)
    assert world.fetches == [D, D]


async def test_a_policy_that_no_mail_needs_is_not_fetched_again(world: World, tmp_path: Path) -> None:
    year = StsPolicy(StsMode.ENFORCE, int(365 * DAY), ("mx.d.test",))
    world.publish(year)
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.clock.advance(29 * DAY)
        await world.refresh(policies)
        assert len(world.fetches) == 2
        world.clock.advance(2 * DAY)
        await world.refresh(policies)
        assert len(world.fetches) == 2, "the fetch itself is no use"
        assert await policy(policies) == year
        await world.refresh(policies)
    assert len(world.fetches) == 3


async def test_a_policy_of_mode_none_is_not_fetched_again(world: World, tmp_path: Path) -> None:
    world.publish(NONE)
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) == NONE
        world.clock.advance(2 * DAY)
        await world.refresh(policies)
    assert world.fetches == [D]


async def test_a_refresh_that_fails_is_warned_of_and_the_policy_counts(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.publish(BROKEN)
        world.clock.advance(2 * DAY)
        for _ in range(3):
            await world.refresh(policies)
            world.clock.advance(HOUR)
        assert await policy(policies) == ENFORCE
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"the MTA-STS policy of {D} cannot be fetched, the last one applies: no connection"]
    assert world.results == [StsResult.OK, StsResult.FETCH_ERROR]


async def test_a_clock_that_was_set_back_ends_no_policy_and_makes_it_due(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.clock.advance(-3 * DAY)
    async with world.worker(tmp_path) as policies:
        assert await policy(policies) == ENFORCE
        assert world.fetches == [D]
        await world.refresh(policies)
    assert world.fetches == [D, D]


# Forgotten.


async def test_what_is_long_past_is_forgotten(world: World, tmp_path: Path) -> None:
    world.publish(BROKEN)
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        world.clock.advance(2 * DAY)
        await world.refresh(policies)
        assert await policies.flush(D) is False


async def test_flush_forgets_a_domain_and_it_is_fetched_again(world: World, tmp_path: Path) -> None:
    world.publish()
    async with world.worker(tmp_path) as policies:
        await policy(policies)
        assert await policies.flush(D) is True
        assert await policies.flush(D) is False
        assert await policy(policies) == ENFORCE
    assert world.fetches == [D, D]


async def test_of_too_many_domains_those_not_used_for_longest_are_forgotten(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts_cache, "MAX_DOMAINS", 100)
    async with world.worker(tmp_path) as policies:
        for n in range(101):
            world.publish(domain=f"d{n}.test")
            await policy(policies, f"d{n}.test")
            await world.spool.probe()
            world.clock.advance(1)
    async with world.worker(tmp_path) as policies:
        assert await policies.flush("d100.test") is True
        assert await policies.flush("d0.test") is False


async def test_entries_beyond_those_in_memory_are_read_from_the_database(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts_cache, "IN_MEMORY", 2)
    names = [f"d{n}.test" for n in range(5)]
    async with world.worker(tmp_path) as policies:
        for name in names:
            world.publish(domain=name)
            await policy(policies, name)
        world.ids.clear()
        world.clock.advance(60)
        assert [await policy(policies, name) for name in names] == [ENFORCE] * 5
    assert len(world.fetches) == 5


async def test_a_policy_that_cannot_be_had_is_answered_with_the_reason(world: World, tmp_path: Path) -> None:
    world.publish(StsFetchError(StsResult.WEBPKI_INVALID, "its certificate is not valid"))
    async with world.worker(tmp_path) as policies:
        for _ in range(2):  # the second time without a fetch
            answer = await policies.find(D)
            assert answer is not None
            assert answer.failure is StsResult.WEBPKI_INVALID
    async with world.worker(tmp_path) as policies:
        answer = await policies.find(D)
        assert answer is not None
        assert answer.failure is StsResult.FETCH_ERROR, "after a restart only that it failed is known"
        world.clock.advance(RETRY)
        world.publish()
        answer = await policies.find(D)
        assert answer is not None
        assert (answer.policy, answer.failure) == (ENFORCE, None)
    assert world.fetches == [D, D]

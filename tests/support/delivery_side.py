"""The delivery side of a relay, whole but for DNS and disk: engine, gate, attempts and pool over real sockets.

`async with delivery_side({"d.test": [host]}) as side:` leads domains to addresses; `side.accept(...)` queues mail and
`side.all_settled()` returns when none is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.engine_rig import FakeBounces, FakeHopRouter, Rig
from tests.support.memory_store import MemoryStore
from tests.support.stores import draft

from mailboat.config.settings import Settings
from mailboat.delivery.attempt import Attempter
from mailboat.delivery.attempt_parts import AttemptParts
from mailboat.delivery.engine import Engine
from mailboat.delivery.gate import Gate
from mailboat.delivery.hooks import DeliveryHooks
from mailboat.delivery.pipeline import DeliveryParts
from mailboat.delivery.pool import Pool
from mailboat.delivery.source import Sources
from mailboat.delivery.tokens import TokenCache
from mailboat.hooks import NO_HOOKS
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.clock import Clock, SystemClock
from mailboat.model.envelope import Entry
from mailboat.model.observer import Observer
from mailboat.model.outcome import AttemptReport, Outcome, Result
from mailboat.model.tls import NOTHING_ASKED, MessageTls
from mailboat.routing.ahead import Ahead
from mailboat.routing.answers import Located, RoutingAnswer, Site, Spot, Target, Targets, Unroutable

Way = Sequence[Target] | Unroutable
"""Where the mail of a domain leads."""


def host(spot: Spot, name: str = "", priority: int = 0) -> Target:
    """A target at an address."""
    ip, port = spot
    return Target(name or f"{ip}.test", ip, port, priority=priority)


class Map:
    """Routing over what the test says."""

    def __init__(self, ways: Mapping[str, Way]) -> None:
        self.ways = dict(ways)
        self.looked_up: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self.silent: set[str] = set()
        """Domains whose DNS servers never answer: the look-up fails after `patience` seconds."""
        self.patience = 25.0

    async def locate(self, entry: Entry) -> Located:
        """The site of an entry's domain."""
        self.looked_up.append(entry.domain)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if entry.domain in self.silent:
                await asyncio.sleep(self.patience)
        finally:
            self._at_once -= 1
        now = asyncio.get_running_loop().time()
        way = self.ways.get(entry.domain, Unroutable(False, "4.4.3", "no answer"))
        if isinstance(way, Unroutable):
            return Located(way, now + 3)
        tiers: dict[int, list[Spot]] = {}
        for target in way:
            tiers.setdefault(target.priority, []).append(target.spot)
        names = ",".join(sorted({target.host for target in way}))
        return Located(Site(names, tuple(tuple(tiers[p]) for p in sorted(tiers))), now + 60)

    async def route(
        self, domain: str, sender: Address = NULL_SENDER, asked: MessageTls = NOTHING_ASKED, by: str = ""
    ) -> RoutingAnswer:
        """The targets of a domain."""
        way = self.ways.get(domain, Unroutable(False, "4.4.3", "no answer"))
        return way if isinstance(way, Unroutable) else Targets(tuple(way))

    async def route_anew(
        self,
        answer: Targets,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> RoutingAnswer:
        """No domain has an MTA-STS policy here."""
        raise AssertionError(domain)

    async def renewed(
        self,
        target: Target,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> Target | None:
        """No certificate is judged by TLSA records here."""
        raise AssertionError(target)


@dataclass(frozen=True)
class Attempted:
    """What the observer was told of one attempt."""

    entry: Entry
    report: AttemptReport
    remaining: Entry | None
    delay: float | None


class Log(Observer):
    """Remembers attempts."""

    def __init__(self) -> None:
        self.attempts: list[Attempted] = []
        self.open = 0
        self.most_open = 0
        self._changed = asyncio.Event()

    def attempted(self, entry: Entry, report: AttemptReport, remaining: Entry | None, delay: float | None) -> None:
        self.attempts.append(Attempted(entry, report, remaining, delay))
        self._changed.set()

    def outbound_connections(self, change: int) -> None:
        self.open += change
        self.most_open = max(self.most_open, self.open)
        self._changed.set()

    async def until(self, what: Callable[[], object], patience: float) -> None:
        """Wait until something that is told makes `what()` true."""
        async with asyncio.timeout(patience):
            while not what():
                self._changed.clear()
                await self._changed.wait()


class DeliverySide:
    """Everything of one worker that delivers."""

    def __init__(self, ways: Mapping[str, Way], chance: int = 1, clock: Clock | None = None, **outbound: Any) -> None:
        outbound.setdefault("quit_timeout", 1.0)
        self.settings: Settings = Rig.with_outbound(**outbound)
        self.log = Log()
        self.map = Map(ways)
        self.clock = clock or SystemClock()
        self.store = MemoryStore(self.clock)
        self.ahead = Ahead(self.map.locate, self.clock)
        random_numbers = random.Random(chance)
        self.gate = Gate(self.ahead, random_numbers.random)
        sources = Sources("", "", lambda: ())
        self.pool = Pool(observer=self.log, sources=sources, clock=self.clock, parked=lambda: self.gate.places.parked)
        tokens = TokenCache(self.clock)
        attempts = AttemptParts(self.map, self.pool, self.store, self.log, self.clock, self.gate, tokens)
        self.attempter = Attempter(attempts)
        no_hooks = DeliveryHooks(lambda: NO_HOOKS, FakeHopRouter(), self.clock)
        parts = DeliveryParts(
            *(self.store, self.attempter, FakeBounces(), self.log, self.clock, self.gate, no_hooks),
            chance=random_numbers.random,
        )
        self.engine = Engine(parts, lambda entry: entry.domain, self.settings)
        self.ahead.ready = self.engine.located
        self.accepted = 0

    async def accept(self, *recipients: str) -> None:
        """Queue one message."""
        self.accepted += len(await self.store.accept(draft(*recipients)))

    async def accept_many(self, domain: str, count: int) -> None:
        """Queue so many messages for one domain, before any is attempted."""
        for number in range(count):
            await self.accept(f"u{number}@{domain}")

    @property
    def outcomes(self) -> list[Outcome]:
        """Of all attempts."""
        return [outcome for attempted in self.log.attempts for outcome in attempted.report.outcomes]

    def results(self, result: Result) -> int:
        """How many outcomes were so."""
        return sum(outcome.result is result for outcome in self.outcomes)

    async def all_settled(self, patience: float = 120.0) -> None:
        """Wait until nothing is queued."""
        done = lambda: sum(a.remaining is None for a in self.log.attempts) >= self.accepted  # noqa: E731
        await self.log.until(done, patience)


@contextlib.asynccontextmanager
async def delivery_side(ways: Mapping[str, Way], **outbound: Any) -> AsyncIterator[DeliverySide]:
    """A delivery side that runs; `side.engine.start()` begins to deliver."""
    side = DeliverySide(ways, **outbound)
    try:
        yield side
    finally:
        await side.engine.drain(0.0)
        side.ahead.close()
        await side.pool.close()
    assert side.gate.places.active == side.gate.places.parked == 0, "places that were taken and not given back"

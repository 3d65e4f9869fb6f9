"""An engine over the memory store, with attempts that do as a test says, and an observer that remembers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from tests.support.facts import outcome
from tests.support.gates import Anywhere, WideGate
from tests.support.memory_store import MemoryStore
from tests.support.stores import PATIENCE, draft

from mailboat.config.settings import OutboundSettings, Settings
from mailboat.delivery.engine import Engine
from mailboat.delivery.hooks import DeliveryHooks
from mailboat.delivery.pipeline import DeliveryParts
from mailboat.delivery.places import Place
from mailboat.hooks import NO_HOOKS, POINTS, Hook, Hooks, Point
from mailboat.hooks.plugin import HookFunction
from mailboat.model.clock import Clock, SystemClock
from mailboat.model.envelope import Draft, Entry, EntryKey
from mailboat.model.observer import BounceResult, HookFailure, Observer
from mailboat.model.outcome import AttemptReport, Outcome, Result
from mailboat.model.tls import NOTHING_ASKED, MessageTls
from mailboat.queue.entry import Transition
from mailboat.queue.store import Store
from mailboat.routing.answers import RoutingAnswer, Target, Targets
from mailboat.routing.route import Hop

REPLIES = {
    Result.DELIVERED: "250 2.0.0 ok",
    Result.DEFERRED: "450 4.2.0 later",
    Result.BOUNCED: "550 5.1.1 nobody",
}


class FakeAttempter:
    """Ends each attempt with a result chosen by domain; `hang` keeps a domain's attempts until `release`."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.results: dict[str, Result | Exception] = {}
        self.started: list[Entry] = []
        self.running: Counter[str] = Counter()
        self.most_running: Counter[str] = Counter()
        self.cancelled: list[Entry] = []
        self.hung_up: list[EntryKey] = []
        self.answers: list[RoutingAnswer | None] = []
        """What plugins said of the way, attempt by attempt."""
        self.mixed: dict[str, Result] = {}
        """Results by address, where they differ from the domain's."""
        self.past: set[EntryKey] = set()
        """Those that have sent their final dot."""
        self.deaf = False
        """Attempts do not end when their line is cut."""
        self._gates: dict[str, asyncio.Event] = {}
        self._lines: dict[EntryKey, asyncio.Future[None]] = {}
        self._changed = changed

    def hang(self, *domains: str) -> None:
        """Attempts to these domains do not end."""
        for domain in domains:
            self._gates[domain] = asyncio.Event()

    def release(self, *domains: str) -> None:
        """They end."""
        for domain in domains:
            self._gates[domain].set()

    def past_dot(self, key: EntryKey) -> bool:
        return key in self.past

    def hang_up(self, key: EntryKey) -> None:
        self.hung_up.append(key)
        if key in self._lines and not self.deaf:
            self._lines[key].set_result(None)

    async def attempt(
        self, entry: Entry, settings: Settings, answer: RoutingAnswer | None = None, *, place: Place | None = None
    ) -> AttemptReport:
        domain = entry.domain
        self.started.append(entry)
        self.answers.append(answer)
        self.running[domain] += 1
        self.most_running[domain] = max(self.running[domain], self.most_running[domain])
        self._changed()
        try:
            lost = await self._wait(entry)
        except asyncio.CancelledError:
            self.cancelled.append(entry)
            raise
        finally:
            self.running[domain] -= 1
        return AttemptReport(tuple(self._outcome(entry, r.id, lost) for r in entry.recipients), None, 0.0, 0.0)

    async def _wait(self, entry: Entry) -> bool:
        """Whether the line was cut while it waited."""
        await asyncio.sleep(0)
        gate = self._gates.get(entry.domain)
        if gate is None:
            return False
        line = self._lines[entry.key] = asyncio.get_running_loop().create_future()
        opened = asyncio.ensure_future(gate.wait())
        try:
            await asyncio.wait((opened, line), return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
            del self._lines[entry.key]
        return line.done()

    def _outcome(self, entry: Entry, recipient: int, lost: bool) -> Outcome:
        if lost:
            return outcome(recipient, Result.DEFERRED, ambiguous=True)
        address = next(str(r.address) for r in entry.recipients if r.id == recipient)
        result = self.mixed.get(address) or self.results.get(entry.domain, Result.DELIVERED)
        if isinstance(result, Exception):
            raise result
        return outcome(recipient, result, REPLIES[result])


class FakeBounces:
    """Drafts whose text names the recipients."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.written = 0

    async def write(self, entry: Entry, change: Transition, settings: Settings) -> Draft:
        if self.failure is not None:
            raise self.failure
        self.written += 1
        people = {recipient.id: str(recipient.address) for recipient in entry.recipients}
        text = " ".join(people[o.recipient] for o in change.bounced).encode()
        return draft(str(entry.message.sender), sender="", body=text)


class FakeHopRouter:
    """Routing over hops that a plugin chose: remembers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[Hop], bool]] = []

    async def via(self, domain: str, hops: Sequence[Hop], asked: MessageTls = NOTHING_ASKED) -> RoutingAnswer:
        self.asked.append((domain, list(hops), asked.forced))
        return Targets((Target("chosen.test", "192.0.2.1", 25),))


class Remembering(Observer):
    """What the engine told."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.attempts: list[tuple[Entry, AttemptReport, Entry | None]] = []
        self.bounces: list[BounceResult] = []
        self.failures: list[tuple[str, HookFailure]] = []
        self._changed = changed

    def attempted(self, entry: Entry, report: AttemptReport, remaining: Entry | None, delay: float | None) -> None:
        self.attempts.append((entry, report, remaining))
        self._changed()

    def bounce_message(self, entry: Entry, result: BounceResult) -> None:
        self.bounces.append(result)
        self._changed()

    def hook_failed(self, point: str, plugin: str, reason: HookFailure) -> None:
        self.failures.append((point, reason))
        self._changed()


class Rig:
    """An engine and what is around it."""

    def __init__(self, store: Store | None = None, clock: Clock | None = None, **outbound: Any) -> None:
        self.clock = clock or SystemClock()
        self._changed = asyncio.Event()
        self.attempter = FakeAttempter(self._changed.set)
        self.bounces = FakeBounces()
        self.observer = Remembering(self._changed.set)
        self.memory = store if isinstance(store, MemoryStore) else MemoryStore(self.clock)
        self.store: Store = store or self.memory
        self.settings = self.with_outbound(**outbound)
        self.hooks = NO_HOOKS
        self.hop_router = FakeHopRouter()
        self.by_sender = False
        """Whether what goes by one way is known by the sender, not by the domain."""
        hooks = DeliveryHooks(lambda: self.hooks, self.hop_router, self.clock)
        store, attempter, bounces, observer = self.store, self.attempter, self.bounces, self.observer
        self.whereabouts = Anywhere()
        self.gate = WideGate(self.whereabouts)
        self.parts = DeliveryParts(
            *(store, attempter, bounces, observer, self.clock, self.gate, hooks), chance=lambda: 0.5
        )
        self.engine = Engine(self.parts, self.destination, self.settings)

    def destination(self, entry: Entry) -> str:
        return f"route:{entry.message.sender.domain}" if self.by_sender else entry.domain

    def plug(self, **functions: HookFunction) -> None:
        """Have plugins' functions called at these points."""
        hooks = [
            Hook(Point(point), function, point, on_failure=POINTS[Point(point)].failure, timeout=5.0)
            for point, function in functions.items()
        ]
        self.hooks = Hooks(hooks, (), self.observer)

    @staticmethod
    def with_outbound(**outbound: Any) -> Settings:
        """Settings that differ from the defaults in these keys."""
        return Settings("/nowhere", "relay.test", outbound=replace(OutboundSettings(), **outbound))

    async def accept(self, *recipients: str, sender: str = "alice@sender.test") -> Entry:
        """Queue a message; its first entry."""
        entries = await self.store.accept(draft(*recipients, sender=sender))
        return entries[0]

    async def until(self, what: Callable[[], object]) -> None:
        """Wait until something that happens makes `what()` true."""
        async with asyncio.timeout(PATIENCE):
            while not what():
                self._changed.clear()
                await self._changed.wait()

    async def attempted(self, count: int) -> None:
        """Wait until so many attempts are recorded."""
        await self.until(lambda: len(self.observer.attempts) >= count)

    async def left(self) -> Sequence[Entry]:
        """What is in the store."""
        from mailboat.queue.store import Selection

        return (await self.store.page(Selection(), 100_000)).entries


class StoreWithGates:
    """The memory store, whose answers to `due` and `due_in` a test may hold back after they were read."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.open = asyncio.Event()
        self.open.set()
        self.read = asyncio.Event()
        """An answer is held."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def due(self, until: float, limit: int, after: tuple[float, EntryKey] | None = None) -> Collection[Entry]:
        return await self._held(await self.inner.due(until, limit, after))

    async def due_in(self, domain: str, until: float, limit: int) -> Collection[Entry]:
        return await self._held(await self.inner.due_in(domain, until, limit))

    async def _held(self, answer: Sequence[Entry]) -> Sequence[Entry]:
        self.read.set()
        await self.open.wait()
        return answer

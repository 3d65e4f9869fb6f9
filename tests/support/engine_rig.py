"""An engine over the memory store, with attempts that do as a test says, and an observer that remembers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from tests.support.facts import outcome
from tests.support.stores import PATIENCE, draft

from mailboat.config.settings import OutboundSettings, Settings
from mailboat.delivery.engine import Engine, EngineParts
from mailboat.model.clock import Clock, SystemClock
from mailboat.model.envelope import Draft, Entry, EntryKey
from mailboat.model.observer import BounceResult, Observer
from mailboat.model.outcome import AttemptReport, Outcome, Result
from mailboat.queue.memory import MemoryStore
from mailboat.queue.store import Store

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

    async def attempt(self, entry: Entry, settings: Settings) -> AttemptReport:
        domain = entry.domain
        self.started.append(entry)
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
        result = self.results.get(entry.domain, Result.DELIVERED)
        if isinstance(result, Exception):
            raise result
        return outcome(recipient, result, REPLIES[result])


class FakeBounces:
    """Drafts whose text names the recipients."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.written = 0

    async def write(self, entry: Entry, failed: Sequence[Outcome], settings: Settings) -> Draft:
        if self.failure is not None:
            raise self.failure
        self.written += 1
        people = {recipient.id: str(recipient.address) for recipient in entry.recipients}
        text = " ".join(people[o.recipient] for o in failed).encode()
        return draft(str(entry.message.sender), sender="", body=text)


class Remembering(Observer):
    """What the engine told."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.attempts: list[tuple[Entry, AttemptReport, Entry | None]] = []
        self.bounces: list[BounceResult] = []
        self._changed = changed

    def attempted(self, entry: Entry, report: AttemptReport, remaining: Entry | None, delay: float | None) -> None:
        self.attempts.append((entry, report, remaining))
        self._changed()

    def bounce_message(self, entry: Entry, result: BounceResult) -> None:
        self.bounces.append(result)
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
        parts = EngineParts(self.store, self.attempter, self.bounces, self.observer, self.clock, lambda domain: domain)
        self.engine = Engine(parts, self.settings)

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

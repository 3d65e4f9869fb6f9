"""What attempts need around them: entries, settings, known targets, bodies in memory, an observer that remembers.

`Rig` is a whole delivery side without engine and queue: tests say `report = await rig.attempt(...)`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

from tests.support.gates import WideGate

from mailboat.config.settings import IPAddress, OutboundSettings, OutboundTlsSettings, Settings
from mailboat.delivery.attempt import Attempter
from mailboat.delivery.attempt_parts import AttemptParts
from mailboat.delivery.pool import Pool
from mailboat.delivery.source import Sources
from mailboat.delivery.tokens import TokenCache
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Body, Entry, EntryKey, Message, Recipient, SpooledBody
from mailboat.model.observer import Observer
from mailboat.model.outcome import AttemptReport, Outcome
from mailboat.model.tls import NOTHING_ASKED, MessageTls
from mailboat.queue.store import Store
from mailboat.routing.answers import RoutingAnswer, Target, Targets
from mailboat.routing.records import TlsaRecord

BODY = b"Subject: hello\r\n\r\nGood day.\r\n"


def address(text: str) -> Address:
    """An address from its text; the domain must be ASCII."""
    if not text:
        return NULL_SENDER
    local, _, domain = text.rpartition("@")
    return Address(local, domain, domain.lower())


def make_entry(
    *recipients: str, sender: str = "sender@here.test", body: Body = BODY, row: int = 1, **message: Any
) -> Entry:
    """An entry with recipients 1, 2, … (default: one)."""
    names = recipients or ("rcpt@there.test",)
    size = body.size if isinstance(body, SpooledBody) else len(body)
    facts = Message(f"id{row}", address(sender), size, 0.0, **message)
    people = tuple(Recipient(number, address(name)) for number, name in enumerate(names, 1))
    return Entry(EntryKey(0, row), f"id{row}.1", facts, "there.test", people)


class Bodies:
    """The one thing of a store that an attempt asks for."""

    def __init__(self) -> None:
        self.body_of_all: Body = BODY
        self.fault: Exception | None = None
        self.reads = 0

    async def body(self, entry: Entry) -> Body:
        self.reads += 1
        if self.fault is not None:
            raise self.fault
        return self.body_of_all


class KnownRoute:
    """A router that has one answer."""

    def __init__(self, answer: RoutingAnswer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, bool]] = []
        self.new_tlsa: tuple[TlsaRecord, ...] | None = None
        """What the DNS says now."""
        self.renewals = 0

    async def route(
        self, domain: str, sender: Address = NULL_SENDER, asked: MessageTls = NOTHING_ASKED, by: str = ""
    ) -> RoutingAnswer:
        self.asked.append((domain, asked.forced))
        return self.answer

    async def route_anew(
        self,
        answer: Targets,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> RoutingAnswer:
        return await self.route(domain, sender, asked)

    async def renewed(
        self,
        target: Target,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> Target | None:
        self.renewals += 1
        return None if self.new_tlsa is None else replace(target, tls=replace(target.tls, tlsa=self.new_tlsa))


class Memory(Observer):
    """Remembers what delivery tells."""

    def __init__(self) -> None:
        self.open = 0
        self.opened = 0
        self._changed = asyncio.Event()
        self.bind_failures: list[str] = []
        self.authentication_failures: list[tuple[str, str]] = []

    def outbound_connections(self, change: int) -> None:
        self.open += change
        self.opened += max(change, 0)
        self._changed.set()

    async def reached(self, count: int) -> None:
        """Return when so many connections are open."""
        while self.open != count:
            self._changed.clear()
            await self._changed.wait()

    def bind_failed(self, source: str) -> None:
        self.bind_failures.append(source)

    def authentication_failed(self, host: str, reply: str) -> None:
        self.authentication_failures.append((host, reply))


class Rig:
    """Attempter, pool, and what they hang on."""

    def __init__(self, *, pod: str = "", host: str = "", addresses: Sequence[IPAddress] = ()) -> None:
        self.observer = Memory()
        self.bodies = Bodies()
        clock = SystemClock()
        self.clock = clock
        self.gate = WideGate()
        self.gate.configure(100, 100)
        self.pool = Pool(observer=self.observer, sources=Sources(pod, host, lambda: addresses), clock=clock)
        self.router = KnownRoute(Targets((Target("unset.test", "127.0.0.1", 9),)))
        store = cast("Store", self.bodies)
        self.tokens = TokenCache(clock)
        parts = AttemptParts(self.router, self.pool, store, self.observer, clock, self.gate, self.tokens)
        self.attempter = Attempter(parts)
        self.tls = OutboundTlsSettings()
        self.outbound: dict[str, Any] = {"connect_timeout": 5.0, "quit_timeout": 1.0}

    @property
    def settings(self) -> Settings:
        """Settings as `outbound` and `tls` say."""
        outbound = OutboundSettings(**self.outbound)
        return Settings("/nowhere", "relay.test", outbound=outbound, tls_outbound=self.tls)

    async def attempt(
        self, entry: Entry | None = None, *targets: Target, answer: RoutingAnswer | None = None
    ) -> AttemptReport:
        """One attempt on an entry, with these targets in order, or those of a plugin's `answer`."""
        entry = entry if entry is not None else make_entry()
        if answer is None:
            self.router.answer = Targets(targets)
        place = self.gate.place_at(entry.domain, self.clock.monotonic())
        try:
            return await self.attempter.attempt(entry, self.settings, answer, place=place)
        finally:
            self.gate.end(place, self.clock.monotonic())

    async def connections_become(self, count: int) -> None:
        """Return when so many connections are open; TimeoutError after 10 s."""
        async with asyncio.timeout(10):
            await self.observer.reached(count)

    async def outcome(self, *targets: Target, entry: Entry | None = None) -> Outcome:
        """The outcome of an attempt on one recipient."""
        report = await self.attempt(entry, *targets)
        assert len(report.outcomes) == 1
        return report.outcomes[0]


@contextlib.asynccontextmanager
async def delivery_rig(**arguments: Any) -> AsyncIterator[Rig]:
    """A rig whose pool is closed in the end; every connection must be accounted for."""
    rig = Rig(**arguments)
    try:
        yield rig
    finally:
        await rig.pool.close()
    assert rig.observer.open == 0, "connections opened and closed do not add up"

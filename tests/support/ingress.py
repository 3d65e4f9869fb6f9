"""A listening relay without deliveries: `serving()` starts one on a free port, and fails if its loop saw an exception.

`Rig` is what it is made of, so that tests look inside, move its clock and break its store; clients are those of
`tests.support.smtp_client`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.fixed_clock import FixedClock
from tests.support.memory_store import MemoryStore
from tests.support.smtp_client import PATIENCE, Client

from mailboat.config.settings import (
    DEFAULT_RELAY_ACL,
    Endpoint,
    Network,
    OutboundSettings,
    Settings,
    SmtpSettings,
    Tenant,
    TlsSettings,
)
from mailboat.hooks import Hooks
from mailboat.ingress.admission import Admission, Load
from mailboat.ingress.connection import ServerConnection
from mailboat.ingress.context import IngressContext
from mailboat.ingress.listener import Listener
from mailboat.ingress.tls import ServerTls
from mailboat.model.envelope import Entry, SpooledBody
from mailboat.model.observer import HookFailure, Observer, Received, Rejected, RejectReason
from mailboat.queue.store import Selection, Store

ME = "relay.test"

Chain = Callable[[Observer], Hooks]
"""Makes plugins whose failures the observer hears of: `tests.support.plugins.chain`."""


class Facts(Observer):
    """Remembers what ingress tells."""

    def __init__(self) -> None:
        self.mails: list[Received] = []
        self.refusals: list[Rejected] = []
        self.failures: list[tuple[str, str, HookFailure]] = []
        """Point, plugin and reason of each hook that failed."""
        self.nuls: list[str] = []
        """What was done to messages with NUL octets."""
        self.here = 0
        """Clients that are connected."""
        self._changed = asyncio.Event()

    def received(self, fact: Received) -> None:
        self.mails.append(fact)
        self._changed.set()

    def rejected(self, fact: Rejected) -> None:
        self.refusals.append(fact)
        self._changed.set()

    def nul_found(self, action: str) -> None:
        self.nuls.append(action)

    def hook_failed(self, point: str, plugin: str, reason: HookFailure) -> None:
        self.failures.append((point, plugin, reason))
        self._changed.set()

    def inbound_connections(self, change: int) -> None:
        self.here += change
        self._changed.set()

    @property
    def reasons(self) -> list[RejectReason]:
        """Why something was refused, in order."""
        return [fact.reason for fact in self.refusals]

    async def until(self, condition: Callable[[Facts], bool]) -> None:
        """Wait for the facts to make it true."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


@dataclass(frozen=True)
class Mail:
    """A message as it lies in the queue."""

    entry: Entry
    body: bytes

    @property
    def recipients(self) -> list[str]:
        """Of this entry."""
        return [str(recipient.address) for recipient in self.entry.recipients]

    @property
    def sender(self) -> str:
        """Its reverse-path."""
        return str(self.entry.message.sender)

    @property
    def received(self) -> bytes:
        """The trace header that says which client it came from, with its folding."""
        start = self.body.index(b"Received: from ")
        return self.body[start : self.body.index(b" +0000\r\n", start) + 8]


@dataclass
class Rig:
    """A listening relay and its surroundings."""

    store: Store
    clock: FixedClock
    facts: Facts
    context: IngressContext
    listener: Listener
    faults: list[str] = field(default_factory=list)
    """What the event loop's exception handler was told: there must be nothing."""

    @property
    def load(self) -> Load:
        """The marks of the watch."""
        return self.context.admission.load

    @property
    def connections(self) -> list[ServerConnection]:
        """Those that are not gone."""
        return [connection for connection in self.context.connections if isinstance(connection, ServerConnection)]

    async def client(self, *, implicit_tls: bool = False, **options: Any) -> Client:
        """A connected client that has read the greeting."""
        client = await self.stranger(implicit_tls=implicit_tls, **options)
        greeting = await client.reply(enhanced=False)
        assert greeting == f"220 {ME} ESMTP Mailboat"
        return client

    async def stranger(self, *, implicit_tls: bool = False, **options: Any) -> Client:
        """A client that has only connected."""
        return await Client.connect(self.listener.ports[-1 if implicit_tls else 0], **options)

    async def greeted(self, **options: Any) -> Client:
        """A client that has said EHLO."""
        client = await self.client(**options)
        await client.ehlo()
        return client

    async def mails(self) -> list[Mail]:
        """Everything in the queue, oldest first."""
        page = await self.store.page(Selection(), 10_000)
        return [Mail(entry, await self._octets(entry)) for entry in page.entries]

    async def _octets(self, entry: Entry) -> bytes:
        body = await self.store.body(entry)
        return await asyncio.to_thread(Path(body.path).read_bytes) if isinstance(body, SpooledBody) else body

    def later(self, seconds: float) -> None:
        """Let time pass, and the listener look at its clients."""
        self.clock.advance(seconds)
        self.listener.sweep()

    def shrink_send_buffers(self) -> None:
        """Have the kernel keep little of what clients do not read; for those that come from now on."""
        for server in self.listener._servers:
            with socket.fromfd(server.sockets[0].fileno(), socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def configure(self, **changes: Any) -> None:
        """What a reload does."""
        settings = replace(self.context.settings, **changes)
        self.context.tls.configure(settings.tls)
        self.context.settings = settings
        self.context.admission.configure(settings)


def settings(
    *,
    smtps: bool = False,
    submission: bool = False,
    tls: TlsSettings | None = None,
    acl: tuple[Network, ...] = DEFAULT_RELAY_ACL,
    host: str = "127.0.0.1",
    outbound: OutboundSettings | None = None,
    senders: frozenset[str] | None = None,
    tenants: tuple[Tenant, ...] = (),
    **smtp: Any,
) -> Settings:
    """Settings of a relay on a free port of loopback; `smtp` are fields of `SmtpSettings`."""
    return Settings(
        directory=".",
        me=ME,
        smtp=SmtpSettings(
            listen=(Endpoint(host, 0),),
            submission_listen=(Endpoint(host, 0),) * submission,
            smtps_listen=(Endpoint("127.0.0.1", 0),) * smtps,
            **smtp,
        ),
        senders_allow=senders,
        tenants=tenants,
        outbound=outbound or OutboundSettings(),
        tls=tls or TlsSettings(key="", cert=""),
        relay_acl=acl,
    )


def surroundings(
    store: Store | None = None, clock: FixedClock | None = None, facts: Facts | None = None, **changes: Any
) -> IngressContext:
    """What connections share, without a listener; `changes` are those of `settings`."""
    clock, config = clock or FixedClock(), settings(**changes)
    store = store or MemoryStore(clock)
    tls = ServerTls(config.tls)
    return IngressContext(config, store, Admission(store, Load(), config), facts or Facts(), clock, tls, set())


@asynccontextmanager
async def serving(
    store: Store | None = None, clock: FixedClock | None = None, hooks: Chain | None = None, **changes: Any
) -> AsyncIterator[Rig]:
    """A relay that listens; `hooks` makes its plugins, `changes` are those of `settings`.

    All clients must be gone, or go, when it ends.
    """
    clock = clock or FixedClock()
    chosen, facts = store or MemoryStore(clock), Facts()
    context = surroundings(chosen, clock, facts, **changes)
    admission = context.admission
    if hooks is not None:
        context.hooks = hooks(facts)
    rig = Rig(chosen, clock, facts, context, Listener(context))
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, what: rig.faults.append(f"{what.get('message')}: {what.get('exception')!r}"))
    await rig.listener.start(shared=False)
    try:
        yield rig
    finally:
        await rig.listener.close()
        await rig.listener.finish(1.0)
        if store is None:
            await chosen.close()
        if hooks is not None:
            await context.hooks.drained()
        loop.set_exception_handler(None)
    await facts.until(lambda facts: facts.here == 0)
    assert not rig.faults, rig.faults
    assert not context.connections
    assert admission.connections == 0

"""Keeps idle sessions for the next message to the same target, and opens new ones.

A session serves one attempt at a time. It can be reused for the same key: address, source, EHLO name, TLS requirement,
credentials and protocol. Bounded by messages for each connection, idle time, and the number of idle connections. Knows
nothing of messages. Used by `delivery.attempt`; wired by `app.build`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial

from mailboat.config.settings import Settings, TlsSettings
from mailboat.delivery.client import Client, Report
from mailboat.delivery.limits import Hold
from mailboat.delivery.session import Session
from mailboat.delivery.source import BindSource, SourceMissing, Sources
from mailboat.delivery.tls import BrokenTls, ClientContexts
from mailboat.model.clock import Clock
from mailboat.model.observer import Observer
from mailboat.model.tls import PolicySource
from mailboat.routing.answers import Spot, Target


class Pool:
    """The connections of one worker."""

    def __init__(
        self,
        *,
        observer: Observer,
        sources: Sources,
        clock: Clock,
        parked: Callable[[], int] = lambda: 0,
        report: Report | None = None,
    ) -> None:
        """`parked`: number of connections that do not count, because their peers are silent (`places`).

        `report` is called with the result of each connection that is to be reported.
        """
        self._observer = observer
        self._parked = parked
        self._sources = sources
        self._clock = clock
        self._client = Client(
            observer=observer,
            contexts=ClientContexts(),
            broken_tls=BrokenTls(clock.monotonic),
            now=clock.now,
            report=report,
        )
        self._idle: dict[Hashable, list[Session]] = {}
        """The last used one is at the end, and is reused first, so that the others expire."""
        self._expiry: dict[Session, float] = {}
        """When each idle session expires, in the order of release."""
        self._open: set[Session] = set()
        self._dialling = 0
        self._tls: TlsSettings | None = None
        """The settings in force, and how often they changed: comparing a number is faster."""
        self._tls_changes = 0
        self._leaving: set[Session] = set()
        """Sessions of `_open` to which QUIT was sent."""
        self._left = asyncio.Event()
        """Set when one of them has ended."""
        self._timer: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Event | None = None
        self._closing = False

    def reuse(self, target: Target, settings: Settings, hold: Hold | None = None) -> Session | None:
        """An idle session with the target, if there is one. Give it back with `release` or `discard`.

        Raises:
            PeerTrouble: why there can be none.
        """
        session = self._idle_session(self._key(target, self._source(target, settings), settings.tls_outbound, hold))
        if session is not None:
            if hold is not None and session.slot is not None:
                hold.reuse(session.slot)
            session.max_messages, session.idle_timeout = target.max_messages, target.idle_timeout
        return session

    async def open(self, target: Target, settings: Settings, hold: Hold | None = None) -> Session:
        """A new session with the target. Give it back with `release` or `discard`.

        Raises:
            PeerTrouble: why it could not be opened. HeldError: `hold` has no connection for it.
        """
        source = self._source(target, settings)
        key = self._key(target, source, settings.tls_outbound, hold)
        slot = None if hold is None else hold.to_dial()
        while slot is not None and slot.is_open:  # until its last connection is closed
            self._left.clear()
            await self._left.wait()
        try:
            session = await self._dial(target, source, settings)
        except SourceMissing as missing:
            self._observer.bind_failed(missing.source)
            raise
        session.key, session.spot = key, target.spot
        session.max_messages, session.idle_timeout = target.max_messages, target.idle_timeout
        self._open.add(session)
        if slot is not None:
            slot.opened(partial(self._retire, session), self._clock.monotonic())
            session.slot = slot
        session.stream.on_closed = partial(self._gone, session)
        return session

    def refused(self, target: Target) -> None:
        """A target is not connected to, because its TLS policy refuses it."""
        self._client.refused(target)

    def _source(self, target: Target, settings: Settings) -> BindSource:
        try:
            return self._sources.pick(settings, target)
        except SourceMissing as missing:
            self._observer.bind_failed(missing.source)
            raise

    async def _dial(self, target: Target, source: BindSource, settings: Settings) -> Session:
        most = settings.outbound.concurrency_max
        self._dialling += 1
        try:
            while self._count() > most + self._parked() and (self._expiry or self._leaving):
                if self._expiry:
                    self._retire(next(iter(self._expiry)))
                await self._some_left()
            return await self._client.open(target, source, settings)
        finally:
            self._dialling -= 1

    def _count(self) -> int:
        return len(self._open) + self._dialling

    async def _some_left(self) -> None:
        if self._leaving:
            self._left.clear()
            await self._left.wait()

    async def gone(self, session: Session) -> None:
        """Wait until a session that was released without `keep` is closed: its host may allow one connection only."""
        while session in self._leaving:
            await self._some_left()

    def release(self, session: Session, settings: Settings, *, keep: bool = True) -> None:
        """A session between transactions: kept if it may be reused, else (or without `keep`) ended with QUIT."""
        outbound = settings.outbound
        timeout = outbound.connection_idle_timeout if session.idle_timeout is None else session.idle_timeout
        most = session.max_messages or outbound.connection_max_messages
        if (announced := session.offers.limits.transactions) is not None:
            most = min(most, announced)
        if not session.stream.usable:
            session.stream.abort()
        elif not (keep and self._may_stay(session)) or self._closing or timeout <= 0 or session.used >= most:
            self._leave(session)
        else:
            while len(self._expiry) >= outbound.concurrency_max:
                self._retire(next(iter(self._expiry)))
            if session.slot is not None:
                session.slot.rest()
            self._idle.setdefault(session.key, []).append(session)
            self._expiry[session] = self._clock.monotonic() + timeout
            if self._timer is None:
                self._sweep_after(timeout)

    def _may_stay(self, session: Session) -> bool:
        """Whether limits let it be kept while others wait for a connection."""
        return session.slot is None or session.slot.may_stay(self._clock.monotonic())

    def idle_by_spot(self) -> Counter[Spot]:
        """How many idle connections lead to each address."""
        return Counter(session.spot for session in self._expiry)

    def renew(self) -> None:
        """End each connection after its message, at once if it is idle: other limits count it from now on."""
        for session in self._open:
            session.max_messages = 1
        for session in list(self._expiry):
            self._retire(session)

    def end_idle(self, which: Callable[[Hashable], bool]) -> None:
        """End idle connections by the mail that used them last; see `Session.subject`."""
        for session in [session for session in self._expiry if which(session.subject)]:
            self._retire(session)

    def discard(self, session: Session) -> None:
        """A session that must not be reused: closed without QUIT."""
        session.stream.abort()

    async def close(self) -> None:
        """Send QUIT on all idle connections and wait until none is open, at most `quit_timeout`; then abort the rest.

        Call it when no attempt is under way: a session still in use is aborted, too.
        """
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for session in list(self._expiry):
            self._retire(session)
        if not self._open:
            return
        self._all_closed = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(session.quit_timeout for session in self._open)):
                await self._all_closed.wait()
        for session in list(self._open):
            session.stream.abort()
        await self._all_closed.wait()

    def _key(self, target: Target, source: BindSource, tls: TlsSettings, hold: Hold | None) -> Hashable:
        """The properties that two messages must share to use one connection."""
        if tls is not self._tls:
            self._tls_changes += tls != self._tls
            self._tls = tls
        return (
            target.ip,
            target.port,
            target.path,
            source,
            target.protocol,
            target.tls.level,
            _verified_by(target),
            target.credentials,
            self._tls_changes,
            None if hold is None else hold.group,
        )

    def _idle_session(self, key: Hashable) -> Session | None:
        idle = self._idle.get(key)
        while idle:
            session = idle.pop()
            expiry = self._expiry.pop(session)
            if session.slot is not None:
                session.slot.wake()
            if not idle:
                del self._idle[key]
            if session.stream.usable and self._clock.monotonic() < expiry:
                return session
            self._leave(session)
        return None

    def _retire(self, session: Session) -> None:
        self._forget(session)
        self._leave(session)

    def _leave(self, session: Session) -> None:
        """Send QUIT."""
        if session in self._open:
            self._leaving.add(session)
            session.stream.quit(session.quit_timeout)

    def _forget(self, session: Session) -> None:
        """No longer idle."""
        if self._expiry.pop(session, None) is None:
            return
        if session.slot is not None:
            session.slot.wake()
        idle = self._idle[session.key]
        idle.remove(session)
        if not idle:
            del self._idle[session.key]

    def _gone(self, session: Session) -> None:
        """The connection ended, on either side."""
        self._forget(session)
        self._open.discard(session)
        self._leaving.discard(session)
        self._left.set()
        if session.slot is not None:
            session.slot.gone()
            session.slot = None
        self._observer.outbound_connections(-1)
        if not self._open and self._all_closed is not None:
            self._all_closed.set()

    def _sweep_after(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for session in [s for s, expiry in self._expiry.items() if expiry <= now]:
            self._retire(session)
        if self._expiry:
            self._sweep_after(max(min(self._expiry.values()) - now, 0.01))


def _verified_by(target: Target) -> Hashable:
    """What the certificate of a connection was verified by; None: it was not verified."""
    tls = target.tls
    if tls.tlsa:
        return tls.tlsa, tls.servername, tls.names
    if not tls.verifies:
        return None
    return tls.servername or target.host, tls.ca, tls.policy is PolicySource.STS

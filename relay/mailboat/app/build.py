"""Connects the objects of a relay. The only place that builds one."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mailboat.app.limits import LimitsLine, Tell, hear
from mailboat.app.overrides import hear as hear_overrides
from mailboat.app.overrides import told
from mailboat.app.tls_reporter import TlsReporter
from mailboat.config.settings import Settings
from mailboat.delivery.attempt import Attempter
from mailboat.delivery.attempt_parts import AttemptParts
from mailboat.delivery.bounce import Bounces
from mailboat.delivery.engine import Engine
from mailboat.delivery.gate import Gate
from mailboat.delivery.hooks import DeliveryHooks
from mailboat.delivery.leases import Held
from mailboat.delivery.limits import DeliveryLimits
from mailboat.delivery.oauth import TokenSource
from mailboat.delivery.overrides import WorkerOverrides
from mailboat.delivery.pipeline import DeliveryParts
from mailboat.delivery.pool import Pool
from mailboat.delivery.queue_changes import QueueChanges
from mailboat.delivery.source import Sources, chosen_source, pod_ips
from mailboat.delivery.tls_counter import TlsCounter
from mailboat.hooks.loader import Plugins
from mailboat.ingress.admission import Admission, Load, Refusal
from mailboat.ingress.context import IngressContext
from mailboat.ingress.listener import Listener
from mailboat.ingress.tls import ServerTls
from mailboat.metrics.events import EventLog
from mailboat.metrics.recorder import Recorder
from mailboat.metrics.writer import LineWriter
from mailboat.model.clock import Clock, SystemClock
from mailboat.model.envelope import Entry
from mailboat.model.observer import Observer, Observers
from mailboat.queue.opening import open_store
from mailboat.queue.spool_set import Databases
from mailboat.queue.store import Store
from mailboat.queue.sts_table import StsTable
from mailboat.queue.tlsrpt_table import TlsReportTable
from mailboat.routing.ahead import Ahead
from mailboat.routing.answers import Located, Site, Unroutable
from mailboat.routing.local import LocalAddresses
from mailboat.routing.lookups import MAX_AGE
from mailboat.routing.resolver import Resolver
from mailboat.routing.router import Router
from mailboat.routing.sts_cache import StsPolicies
from mailboat.routing.tlsrpt_records import ReportRecords
from mailboat.routing.validation import DnssecProbe
from mailboat.shaping.effective import Facts
from mailboat.submission.submitter import Submitter

log = logging.getLogger(__name__)

Tokens = Callable[[Clock, Observer], TokenSource]
"""Makes the source of access tokens: a cache in a single process, else the supervisor's."""


@dataclass(frozen=True, slots=True)
class Connections:
    """Of a worker to what the workers of a relay share."""

    tokens: Tokens
    limits: Callable[[str, Tell], Tell]
    """The ear of the owner of limits, which stores its state in a directory and speaks by the function it is given."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of one worker, from the command line or the supervisor."""

    directory: Path
    worker: int = 0
    workers: int = 1
    log_format: str = "json"
    """`json` or `text`."""
    drain_timeout: float = 25.0
    """Seconds for attempts and clients to finish after SIGTERM; less than the 30 s of Kubernetes."""
    event_fd: int = 1
    """The output of the event log."""
    last_good: bool = False
    """Store each applied configuration, and start with the last one if the directory has faults."""


@dataclass(frozen=True, slots=True)
class Observability:
    """The observers of facts, and what they write to."""

    writer: LineWriter
    recorder: Recorder
    events: EventLog
    observer: Observer


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one worker that are started, reloaded and stopped."""

    clock: Clock
    observability: Observability
    store: Databases
    local: LocalAddresses
    resolver: Resolver
    dnssec: DnssecProbe
    policies: StsPolicies
    router: Router
    ahead: Ahead
    sources: Sources
    pool: Pool
    gate: Gate
    engine: Engine
    changes: QueueChanges
    load: Load
    context: IngressContext
    listener: Listener
    submitter: Submitter
    plugins: Plugins
    tls_counter: TlsCounter
    tls_reporter: TlsReporter
    overrides: WorkerOverrides

    def unbound(self, settings: Settings) -> Mapping[int, str]:
        """Why deliveries of an IP version wait for their source address; see `Sources.missing`."""
        missing = self.sources.missing(settings)
        if missing:
            self.local.refresh()  # the address may have been added since the last read
            missing = self.sources.missing(settings)
        return missing

    async def apply(self, settings: Settings) -> None:
        """Put new settings into force everywhere. Raises OSError or ValueError before anything has changed."""
        staged = await self.plugins.prepare(settings)
        try:
            self.context.tls.configure(settings.tls)
        except (OSError, ValueError):
            staged.discard()
            raise
        self.context.hooks = self.submitter.hooks = staged.commit()
        if settings.shaping != self.context.settings.shaping:
            self.pool.renew()
        self.context.settings = settings
        self.context.admission.configure(settings)
        self.submitter.settings = settings
        self.router.configure(settings, self.local)
        self.overrides.configure(settings.shaping)
        self.ahead.forget()
        self.engine.configure(settings)
        self.tls_counter.configure(settings.tlsrpt)
        self.dnssec.again()


def build_observability(options: WorkerOptions, clock: Clock) -> Observability:
    """The observers."""
    writer = LineWriter(options.event_fd)
    recorder = Recorder(clock, lambda: writer.lost)
    events = EventLog(
        writer, text=options.log_format == "text", clock=clock, later=asyncio.get_running_loop().call_later
    )
    return Observability(writer, recorder, events, Observers(recorder, events))


async def build(options: WorkerOptions, settings: Settings, connections: Connections) -> Parts:
    """Open the queue of one worker and build its parts.

    Raises PluginsError for plugins that do not load, QueueInUse or StorageError when the queue cannot be opened,
    OSError or ValueError for a certificate.
    """
    clock = SystemClock()
    observability = build_observability(options, clock)
    observer = observability.observer
    plugins = Plugins(observer)
    plugins.workers = options.workers
    plugins.numbers = lambda: _numbers(observability.recorder, store)
    try:
        staged = await plugins.prepare(settings)
        tls = ServerTls(settings.tls)
    except (OSError, ValueError):
        observability.writer.close()  # a second attempt, with the last good set, makes its own
        raise
    store = await open_store(settings.outbound.queue_dir, options.worker, options.workers, clock, observer)
    local = LocalAddresses(clock)
    resolver = Resolver(observer=observer, clock=clock)
    policies = StsPolicies(StsTable(next(store.databases())), resolver, observer, clock)
    await policies.load()
    router = Router(resolver=resolver, observer=observer, clock=clock, policies=policies)
    router.configure(settings, local)
    sources = Sources(os.environ.get("POD_NAME", ""), socket.gethostname(), local.addresses, pod_ips(os.environ))
    delivery_hooks = DeliveryHooks(lambda: plugins.hooks, router, clock)
    locate = partial(_locate, router, delivery_hooks, clock)
    ahead = Ahead(locate, clock)
    gate = Gate(ahead, random.Random().random)  # noqa: S311 - to spread retries, not for secrets
    tls_reports, records = TlsReportTable(next(store.databases())), ReportRecords(resolver, clock)
    tls_counter = TlsCounter(tls_reports, records, clock)
    tls_counter.configure(settings.tlsrpt)
    pool = Pool(sources=sources, observer=observer, clock=clock, parked=gate.parked, report=tls_counter.count)
    limits, overrides = _limits(connections, settings.outbound.queue_dir, observer, clock)
    overrides.changed = partial(_override, overrides, gate, pool)
    parts = AttemptParts(router, pool, store, observer, clock, gate, connections.tokens(clock, observer), overrides)
    bounces = Bounces(store, clock, observer, lambda: plugins.hooks)
    delivery = DeliveryParts(
        store, Attempter(parts), bounces, observer, clock, gate, delivery_hooks, limits, options.worker
    )
    engine = Engine(delivery, partial(_ready_queue, router), settings)
    overrides.configure(settings.shaping)
    ahead.ready = engine.located
    load = Load()
    admission = Admission(store, load, settings)
    context = IngressContext(settings, store, admission, observer, clock, tls, set())
    submitter = Submitter(settings, store, observer, clock, lambda: _no_room(admission))
    context.hooks = submitter.hooks = staged.commit()
    changes = QueueChanges(store, engine, clock, locate, partial(_provider, context))
    return Parts(
        *(clock, observability, store, local, resolver, DnssecProbe(resolver), policies, router, ahead),
        *(sources, pool, gate, engine, changes, load, context),
        listener=Listener(context),
        submitter=submitter,
        plugins=plugins,
        tls_counter=tls_counter,
        tls_reporter=TlsReporter(tls_reports, records, resolver, submitter),
        overrides=overrides,
    )


def _provider(context: IngressContext, facts: Facts) -> str:
    """The provider of mail of which this is known, by the table in force; empty: of none."""
    return context.settings.shaping.provider_of(facts.domain, facts.hosts)


def _limits(
    connections: Connections, queue_dir: str, observer: Observer, clock: Clock
) -> tuple[DeliveryLimits, WorkerOverrides]:
    """This worker's end of the limits, and of what rules from replies put into force."""
    line = LimitsLine()
    limits = DeliveryLimits(line, clock.monotonic)
    overrides = WorkerOverrides(clock, lambda match: line.say(told(match)))
    overrides.alert = lambda rule, reply: log.error("[rule:%s] %s", rule.name, reply)

    def heard(message: list[Any]) -> None:
        hear(limits, message)
        hear_overrides(overrides, observer, message)

    line.say = connections.limits(queue_dir, heard)
    limits.tell = partial(_tell_held, observer, clock)
    return limits, overrides


def _override(overrides: WorkerOverrides, gate: Gate, pool: Pool) -> None:
    """Other overrides are in force: what is suspended keeps no idle connection."""
    gate.suspensions = overrides if overrides.in_force else None
    pool.end_idle(overrides.is_suspended)


def _tell_held(observer: Observer, clock: Clock, entry: Entry, held: Held) -> None:
    observer.held_by_limit(entry, held.check.cause, held.since_epoch(clock.now(), clock.monotonic()))


def _ready_queue(router: Router, entry: Entry) -> str:
    """The ready queue of an entry: its destination, and its source if it has chosen one."""
    destination = router.destination(entry.domain, entry.message.sender, entry.route)
    source = chosen_source(entry)
    return destination if source is None else source.qualified(destination)


async def _locate(router: Router, hooks: DeliveryHooks, clock: Clock, entry: Entry) -> Located:
    """The site of an entry; if plugins choose routes, each domain is its own site."""
    if hooks.chooses_route:
        located = Located(Site(entry.domain, ()), clock.monotonic() + MAX_AGE)
    else:
        located = await router.locate(entry.domain, entry.message.sender, entry.tls, entry.route)
    source = chosen_source(entry)
    if source is None or isinstance(located.where, Unroutable):
        return located
    return replace(located, where=replace(located.where, key=source.qualified(located.where.key)))


def _numbers(recorder: Recorder, store: Store) -> Mapping[str, Mapping[str, float]]:
    """The metrics of this worker without labels of their own, for plugins."""
    now = recorder.snapshot(store.stats())
    return now["counters"] | now["gauges"]


_NO_ROOM = {
    Refusal.STORAGE_FULL: "out of storage",
    Refusal.STORAGE_FAULT: "storage does not work",
    Refusal.OVERLOAD: "the relay is overloaded",
}


def _no_room(admission: Admission) -> str:
    """Why mail that is not from a client cannot be queued now; empty if it can."""
    refusal = admission.room()
    return "" if refusal is None else _NO_ROOM[refusal]

"""Builds and runs the operator: lease, lists, watches, queue, probes. The only place that knows all of them.

Called by the command line. Exits with 0 when told to, and with 1 when a part has failed, to be restarted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import kopf
from kubernetes.aio.config import ConfigException

from mailboat_operator import handlers, logs, names, record_checks
from mailboat_operator.apply import Applier
from mailboat_operator.authority import Authority
from mailboat_operator.events import EventRecorder
from mailboat_operator.health import Health
from mailboat_operator.kube import ApiError, Kube, load_configuration
from mailboat_operator.lease import Lease
from mailboat_operator.listing import Lister
from mailboat_operator.metrics import NEEDED, READY, RECORDS_CONTROLLER, SENDING_CONTROLLER, Metrics
from mailboat_operator.observe import ClusterObserver
from mailboat_operator.observed import ObjectKey
from mailboat_operator.polling import PodPoller
from mailboat_operator.reconcile import Reconciler
from mailboat_operator.record_checks import RecordChecks
from mailboat_operator.relay_views import RelayViews
from mailboat_operator.relays import Relays
from mailboat_operator.resync import Resync
from mailboat_operator.rollout import RolloutTracker
from mailboat_operator.sending.rows import missing_records
from mailboat_operator.sending_apply import SendingApplier
from mailboat_operator.sending_reconcile import SendingReconciler
from mailboat_operator.steady_clock import steady_clock
from mailboat_operator.watch_cache import WatchCache
from mailboat_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

EX_CONFIG = 78
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
RESYNC = 600.0
"""Seconds between two resyncs."""
_STALLED = 120.0
"""Seconds after which a reconciliation, or a watch that does not show a write, counts as dead."""
_STANDBY_SILENCE = 30.0
"""Seconds without an answer of the API server after which a replica without the lease is not ready."""
_LIST_AGAIN = 2.0


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """The options of the command line."""

    namespaces: tuple[str, ...] = ()
    """None for all there are."""
    listen: tuple[str, int] = ("127.0.0.1", 9026)
    version: str = ""
    log_text: bool = False
    resync: float = RESYNC
    resolvers: tuple[tuple[str, int], ...] = ()
    """Host and port of DNS resolvers; none for those of the system."""
    dns_port: int = 53
    """Port of authoritative DNS servers."""


def operator(options: OperatorOptions) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    logs.set_up(text=options.log_text)
    handlers.quiet()
    # Not uvloop: there, a connection whose TLS fails may close the descriptor of another one, and end watches.
    return asyncio.run(_operator(options))


def own_namespace() -> str:
    """The namespace of the pod that this runs in; empty outside of any."""
    if own := os.environ.get("POD_NAMESPACE"):
        return own
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


async def _operator(options: OperatorOptions) -> int:
    try:
        configuration = await load_configuration()
    except (ConfigException, OSError) as error:
        log.critical("no API server is configured: neither KUBECONFIG nor a service account: %s", error)
        return EX_CONFIG
    running = _Operator(options, configuration)
    try:
        return await running.run()
    finally:
        await running.close()


class _Operator:
    """All parts of one replica."""

    def __init__(self, options: OperatorOptions, configuration: Any) -> None:
        self._options = options
        self._metrics = metrics = Metrics(options.version)
        self._kube = kube = Kube(configuration, metrics)
        self._identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._lease = Lease(kube, _lease_namespace(options), self._identity, metrics)
        kube.may_write = self._lease.check
        self._cache = cache = WatchCache(time.monotonic)
        self._relays = Relays()
        self._poller = PodPoller(self._relays.ask)
        views = RelayViews()
        observer = ClusterObserver(kube, cache, self._relays, self._poller, views)
        applier = Applier(kube, cache)
        self._recorder = EventRecorder(kube, self._identity)
        reconcile = Reconciler(
            cache, observer, applier, self._recorder, metrics, RolloutTracker(time.monotonic, metrics)
        )
        checks = RecordChecks(Authority(options.resolvers, options.dns_port), time.monotonic)
        sending = SendingReconciler(
            cache, observer, SendingApplier(kube, cache, applier), self._recorder, checks, steady_clock()
        )
        self._queues: dict[str, WorkQueue[ObjectKey]] = {
            names.KIND: WorkQueue(reconcile, metrics),
            names.SENDING_KIND: WorkQueue(sending, metrics, controller=SENDING_CONTROLLER),
        }
        self._records: WorkQueue[ObjectKey] = WorkQueue(checks, metrics, record_checks.WORKERS, RECORDS_CONTROLLER)
        checks.changed, checks.later = self._add, self._records.add_later
        cache.concerned = self._poller.changed = self._add
        views.changed = self._relay_changed
        kube.recovered = self._recovered
        self._lease.regained = self._hurry
        self._lister = Lister(kube, cache, options.namespaces)
        self._stop = asyncio.Event()
        self._resync = Resync(
            self._lister,
            lambda: cache.resources,
            self._add_later,
            metrics.missed.inc,
            options.resync,
        )
        self._leading = False
        self._listed = False
        self._health = Health(
            metrics,
            {"queue": self._queue_stalled, "watches": self._watches_stalled},
            {"api": self._api_unreachable, "lists": self._not_listed},
        )
        metrics.lag.set_function(cache.lag)
        for ready in READY:
            metrics.resources.labels(ready).set_function(partial(self._count, names.KIND, ready))
            metrics.domains.labels(ready).set_function(partial(self._count, names.SENDING_KIND, ready))
        for state in NEEDED:
            metrics.records_missing.labels(state).set_function(partial(self._records_missing, state))

    async def run(self) -> int:
        """Wait for the lease, then work."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        host, port = self._options.listen
        try:
            port = await self._health.start(host, port)
        except OSError as error:
            log.critical("cannot listen on %s:%s: %s", host, port, error)
            return 1
        log.info("%s %s listens on %s:%s", self._identity, self._options.version, host, port)
        if not await self._unless_stopped(self._lease.acquire()):
            return 0
        self._leading = True
        keeping = asyncio.create_task(self._lease.keep(), name="lease")
        leading = asyncio.create_task(self._lead(), name="lead")
        try:
            await asyncio.wait([keeping, leading], return_when=asyncio.FIRST_COMPLETED)
            return leading.result() if leading.done() else 1
        finally:
            await _end(leading)
            await self._lease.release()
            await _end(keeping)

    async def close(self) -> None:
        """Close everything."""
        await self._relays.close()
        await self._health.close()
        await self._kube.close()

    async def _lead(self) -> int:
        """List everything, then watch and reconcile; ends when told to, or when the watches end."""
        if not await self._unless_stopped(self._first_lists()):
            return 0
        watch_events = handlers.WatchEvents(self._cache, self._add, self._resync.soon, self._metrics)
        registry = handlers.registry(watch_events, load_configuration, signs=self._lister.signs)
        chores = [
            *(asyncio.create_task(queue.run(), name=f"queue of {kind}") for kind, queue in self._queues.items()),
            asyncio.create_task(self._records.run(), name="DNS records"),
            asyncio.create_task(self._recorder.run(), name="events"),
            asyncio.create_task(self._poller.run(), name="polling"),
            asyncio.create_task(self._resync.run(), name="resync"),
        ]
        for key in self._cache.resources:
            self._add(key)
        # kopf takes the signals from here on, and returns on one.
        watching = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=handlers.settings(),
                namespaces=self._options.namespaces,
                clusterwide=not self._options.namespaces,
                stop_flag=self._stop,
                # Without one, kopf asks who the user is, and an image need not know a name for its number.
                identity=cast("Any", self._identity),
            ),
            name="kopf",
        )
        try:
            done, _ = await asyncio.wait([watching, *chores], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and (error := task.exception()):
                    log.error("%s has failed: %r", task.get_name(), error)
                    return 1
            return 0
        finally:
            for task in (*chores, watching):
                await _end(task)

    async def _first_lists(self) -> None:
        await self._lister.wait_for_crd()
        while not self._listed:
            try:
                await self._lister.refresh(set())
                self._listed = True
            except ApiError as error:
                log.warning("%s", error)
                await asyncio.sleep(_LIST_AGAIN)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for the end of a task or of the operator; whether the task ended first."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            return task.done()
        finally:
            await _end(task)
            await _end(stop)

    def _recovered(self) -> None:
        """The API server answers again."""
        self._cache.forget_expectations()
        self._hurry()

    def _add(self, key: ObjectKey) -> None:
        self._queues[key.kind].add(key)

    def _add_later(self, key: ObjectKey, seconds: float) -> None:
        self._queues[key.kind].add_later(key, seconds)

    def _hurry(self) -> None:
        for queue in self._queues.values():
            queue.hurry()

    def _relay_changed(self, relay: ObjectKey, domains: Collection[str] | None) -> None:
        """The pods of an OutboundConfig run something else: keys may be loaded, or out of use."""
        for key in self._cache.signing.waiting(relay, domains):
            self._add(key)

    # Why a probe fails.

    def _queue_stalled(self) -> str:
        running = max(queue.longest_running() for queue in self._queues.values())
        return f"a reconciliation has run for {running:.0f} s" if running > _STALLED else ""

    def _watches_stalled(self) -> str:
        lag = self._cache.lag()
        return f"no watch has shown the write of {lag:.0f} s ago" if self._kube.reachable and lag > _STALLED else ""

    def _api_unreachable(self) -> str:
        silence = self._lease.silence()
        return f"the API server has not answered for {silence:.0f} s" if silence > _STANDBY_SILENCE else ""

    def _not_listed(self) -> str:
        return "" if self._listed or not self._leading else "the first listing is not complete"

    def _count(self, kind: str, ready: str) -> int:
        return sum(_ready(body) == ready for key, body in self._cache.resources.items() if key.kind == kind)

    def _records_missing(self, state: str) -> int:
        domains = (body for key, body in self._cache.resources.items() if key.kind == names.SENDING_KIND)
        return sum(missing_records(body["status"], state) for body in domains)


def _ready(resource: dict[str, Any]) -> str:
    conditions = resource["status"].get("conditions") or ()
    return next((str(c.get("status")) for c in conditions if c.get("type") == "Ready"), "Unknown")


def _lease_namespace(options: OperatorOptions) -> str:
    return own_namespace() or next(iter(options.namespaces), "default")


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; its exception has been logged or is ignored."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task

"""The operator's metrics, named like those of controller-runtime. Served by `health`.

`docs/operator.md` lists them; a test holds the page to the registry.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTROLLER = "outboundconfig"
SENDING_CONTROLLER = "sendingdomain"
RECORDS_CONTROLLER = "dnsrecords"
"""Asks the DNS for the records of SendingDomains."""
CONTROLLERS = (CONTROLLER, SENDING_CONTROLLER, RECORDS_CONTROLLER)
RESULTS = ("success", "requeue_after", "error")
READY = ("True", "False", "Unknown")
NEEDED = ("Active", "Retiring")
"""States of DKIM keys whose records verifiers need."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LOADED = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 90.0, 120.0, 300.0, 900.0)


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry()
        self._controller()
        self._queue()
        self._own()
        self._gauge("mailboat_operator_build_info", "1; the label is the version.", "version").labels(version).set(1)
        self._begin()

    def exposition(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)

    def _controller(self) -> None:
        name = "controller_runtime_reconcile"
        self.reconciles = self._counter(f"{name}_total", "Reconciliations by result.", "controller", "result")
        self.errors = self._counter(
            f"{name}_errors_total", "Reconciliations that failed and are retried.", "controller"
        )
        self.duration = self._histogram(
            f"{name}_time_seconds", "Duration of one reconciliation.", _SECONDS, "controller"
        )
        self.active = self._gauge("controller_runtime_active_workers", "Reconciliations in progress.", "controller")
        self.workers = self._gauge("controller_runtime_max_concurrent_reconciles", "Workers.", "controller")
        self.requests = self._counter(
            "rest_client_requests_total",
            "Calls of the API server, except those of the watches; without an answer the code is <error>.",
            "code",
            "method",
        )
        self.leader = self._gauge("leader_election_master_status", "1 while this replica holds the lease.", "name")

    def _queue(self) -> None:
        self.depth = self._gauge("workqueue_depth", "Resources that wait for a worker.", "name")
        self.adds = self._counter("workqueue_adds_total", "Resources put into the queue.", "name")
        self.retries = self._counter("workqueue_retries_total", "Resources retried.", "name")
        self.queued = self._histogram(
            "workqueue_queue_duration_seconds", "Time that a resource waits for a worker.", _SECONDS, "name"
        )
        self.longest = self._gauge(
            "workqueue_longest_running_processor_seconds", "Age of the oldest reconciliation in progress.", "name"
        )

    def _own(self) -> None:
        name = "mailboat_operator"
        self.events = self._counter(f"{name}_watch_events_total", "Events of the watches.", "resource")
        self.lag = self._gauge(
            f"{name}_watch_lag_seconds", "Age of the oldest write of the operator that no watch has shown yet."
        )
        self.missed = self._counter(
            f"{name}_missed_events_total", "Resources whose change was found by a resync first."
        )
        self.drift = self._counter(
            f"{name}_drift_corrections_total",
            "Children written again because another writer had changed or deleted them.",
            "kind",
        )
        self.loaded = self._histogram(
            f"{name}_apply_to_loaded_seconds",
            "Time from the change of a resource, or of an object that it refers to, until all ready relay pods run it.",
            _LOADED,
        )
        self.resources = self._gauge(
            f"{name}_outboundconfigs", "OutboundConfigs by the status of their condition Ready.", "ready"
        )
        self.domains = self._gauge(
            f"{name}_sendingdomains", "SendingDomains by the status of their condition Ready.", "ready"
        )
        self.records_missing = self._gauge(
            f"{name}_dkim_records_missing",
            "DKIM keys that have signed and whose record a name server does not show, by the state of the key.",
            "state",
        )

    def _begin(self) -> None:
        """Every series with a closed set of labels exists from the start, with 0."""
        controller = (self.errors, self.duration, self.active, self.workers)
        for name in CONTROLLERS:
            for result in RESULTS:
                self.reconciles.labels(name, result)
            for metric in (*controller, self.depth, self.adds, self.retries, self.queued, self.longest):
                metric.labels(name)
        for kind in ("ConfigMap", "Secret"):
            self.drift.labels(kind)
        for ready in READY:
            self.resources.labels(ready)
            self.domains.labels(ready)
        for state in NEEDED:
            self.records_missing.labels(state)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

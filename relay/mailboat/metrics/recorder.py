"""Counts facts: `Recorder` in each process, `Totals` as one sum for a relay of several.

Plain numbers in dicts and lists, no locks: the event loop is the only caller. A `Snapshot` is JSON, so that it can
cross a process boundary. Which metrics there are stands in `catalog`; how they are printed in `prometheus`.
`app` wires both. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from mailboat.metrics import plugins
from mailboat.metrics.catalog import BY_NAME, METRICS, NO_TLS, OTHER_TLS, Merge, MetricKind
from mailboat.model.clock import Clock, SystemClock
from mailboat.model.envelope import Entry, State
from mailboat.model.observer import (
    BounceResult,
    ConfigReloaded,
    DkimResult,
    DnsResult,
    HookFailure,
    Observer,
    Received,
    Rejected,
    StsResult,
    TlsReportResult,
    TokenResult,
)
from mailboat.model.outcome import AttemptReport, ReportAction, Result
from mailboat.model.tls import PolicySource
from mailboat.queue.faults import Disk
from mailboat.queue.store import StateStats

_MET = {policy: f"{policy} met" for policy in PolicySource}
_PREFERENCE = (Result.DELIVERED, Result.DEFERRED, Result.BOUNCED, Result.DROPPED)


class HistogramSnapshot(TypedDict):
    """One histogram series."""

    counts: list[int]
    """How many fell into each bucket of the table and, last, above them all; not cumulative."""
    sum: float


class Snapshot(TypedDict):
    """All series of one process at one instant: name -> label values, with blanks between -> number."""

    counters: dict[str, dict[str, float]]
    gauges: dict[str, dict[str, float]]
    histograms: dict[str, dict[str, HistogramSnapshot]]
    plugins: NotRequired[dict[str, plugins.PluginCounter]]
    """Counters that plugins made; their names are their own."""


class _Histogram:
    """One series while it is counted."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        # A bucket holds what is less than or equal to its bound.
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Recorder(Observer):
    """The numbers of one process. Never reset."""

    def __init__(self, clock: Clock | None = None, events_dropped: Callable[[], int] = lambda: 0) -> None:
        """`events_dropped` tells how many lines the event log of this process has lost so far."""
        self._clock = clock or SystemClock()
        self._events_dropped = events_dropped
        self._counters: dict[str, dict[str, float]] = {
            m.name: dict.fromkeys(m.values, 0) for m in METRICS if m.kind is MetricKind.COUNTER
        }
        self._histograms = {
            m.name: {value: _Histogram(m.buckets) for value in m.values}
            for m in METRICS
            if m.kind is MetricKind.HISTOGRAM
        }
        self._inbound = 0
        self._outbound = 0
        self._reload_ok = True
        # Looked up once, not for each message.
        self._messages = self._counters["mailboat_received_messages_total"]
        self._bytes = self._counters["mailboat_received_bytes_total"]
        self._deliveries = self._counters["mailboat_deliveries_total"]
        self._tls = self._counters["mailboat_tls_deliveries_total"]
        self._durations = self._histograms["mailboat_delivery_duration_seconds"]
        self._age = self._histograms["mailboat_message_age_seconds"][""]
        self._commit_duration = self._histograms["mailboat_commit_duration_seconds"][""]
        self._commit_messages = self._histograms["mailboat_commit_messages"][""]
        self._dns = self._counters["mailboat_dns_queries_total"]
        self._policies = self._counters["mailboat_tls_policy_results_total"]

    def received(self, fact: Received) -> None:
        self._messages[""] += 1
        self._bytes[""] += fact.message.size

    def rejected(self, fact: Rejected) -> None:
        self._counters["mailboat_rejected_total"][fact.reason] += 1

    def dkim_judged(self, result: DkimResult, algorithm: str = "none") -> None:
        self._counters["mailboat_dkim_signatures_total"][f"{algorithm} {result}"] += 1

    def nul_found(self, action: str) -> None:
        self._counters["mailboat_nul_messages_total"][action] += 1

    def attempted(self, entry: Entry, report: AttemptReport, remaining: Entry | None, delay: float | None) -> None:  # noqa: ARG002
        for policy in report.tls_failures:
            self._policies[f"{policy} failed"] += 1
        if report.peer is not None:
            self._policies[_MET[report.tls_policy]] += 1
        if not report.counted:
            return  # a plugin delayed it: nothing was tried
        deliveries = self._deliveries
        ambiguous = 0
        for outcome in report.outcomes:
            deliveries[outcome.result] += 1
            ambiguous += outcome.ambiguous
        if ambiguous:
            self._counters["mailboat_ambiguous_deliveries_total"][""] += ambiguous
        best = _best(report)
        self._durations[best].observe(report.duration)
        if best is Result.DELIVERED:
            self._delivered(entry, report)
        elif best is Result.BOUNCED and entry.message.is_tls_report:
            self.tls_reported(TlsReportResult.FAILED)

    def _delivered(self, entry: Entry, report: AttemptReport) -> None:
        delivered = sum([outcome.result is Result.DELIVERED for outcome in report.outcomes])
        version = (report.peer.tls_version if report.peer else "") or NO_TLS
        self._tls[version if version in self._tls else OTHER_TLS] += delivered
        age = report.started_at + report.duration - entry.message.queued_at
        # A clock that was set back must not lower the sum, which is a counter.
        self._age.observe(max(0.0, age))

    def bounce_message(self, entry: Entry, result: BounceResult) -> None:  # noqa: ARG002
        self._counters["mailboat_bounce_messages_total"][result] += 1

    def dsn_queued(self, action: ReportAction) -> None:
        self._counters["mailboat_dsn_total"][action] += 1

    def committed(self, duration: float, messages: int) -> None:
        self._commit_duration.observe(duration)
        self._commit_messages.observe(messages)

    def sts_fetched(self, result: StsResult) -> None:
        self._counters["mailboat_sts_fetches_total"][result] += 1

    def tls_reported(self, result: TlsReportResult) -> None:
        self._counters["mailboat_tlsrpt_reports_total"][result] += 1

    def dns_query(self, result: DnsResult) -> None:
        self._dns[result] += 1

    def bind_failed(self, source: str) -> None:  # noqa: ARG002
        self._counters["mailboat_bind_failures_total"][""] += 1

    def inbound_connections(self, change: int) -> None:
        self._inbound += change

    def outbound_connections(self, change: int) -> None:
        self._outbound += change

    def authentication_failed(self, host: str, reply: str) -> None:  # noqa: ARG002
        self._counters["mailboat_upstream_auth_failures_total"][""] += 1

    def token_requested(self, result: TokenResult) -> None:
        self._counters["mailboat_oauth_token_requests_total"][result] += 1

    def hook_failed(self, point: str, plugin: str, reason: HookFailure) -> None:  # noqa: ARG002
        self._counters["mailboat_hook_failures_total"][f"{point} {reason}"] += 1

    def config_reloaded(self, fact: ConfigReloaded) -> None:
        self._reload_ok = not fact.error
        self._counters["mailboat_config_reloads_total"]["success" if self._reload_ok else "failure"] += 1

    def snapshot(
        self,
        queue: Mapping[State, StateStats] | None = None,
        unbound: Collection[int] = (),
        disk: Disk | None = None,
        *,
        ready: bool = False,
    ) -> Snapshot:
        """Everything counted so far, and what `queue` (`Store.stats()`), its disk and the process are now.

        `unbound` are the IP versions whose source address is missing. A disk that cannot be asked is None: its gauges
        are absent then, for 0 octets free would be a lie.
        """
        counters = {name: dict(series) for name, series in self._counters.items()}
        counters["mailboat_events_dropped_total"][""] = self._events_dropped()
        counters["process_cpu_seconds_total"][""] = time.process_time()
        gauges = {
            "mailboat_inbound_connections": {"": float(self._inbound)},
            "mailboat_outbound_connections": {"": float(self._outbound)},
            "mailboat_config_last_reload_successful": {"": float(self._reload_ok)},
            "mailboat_bind_address_available": {f"ipv{version}": float(version not in unbound) for version in (4, 6)},
            "mailboat_ready": {"": float(ready)},
            "mailboat_plugin_tasks": {"": 0.0},  # `app` knows
            "mailboat_plugin_stuck_threads": {"": 0.0},
        }
        gauges |= _queue_gauges(queue or {}, self._clock.now())
        gauges |= _disk_gauges(disk) if disk else {}
        gauges |= _process_gauges()
        histograms = {
            name: {value: HistogramSnapshot(counts=list(h.counts), sum=h.sum) for value, h in series.items()}
            for name, series in self._histograms.items()
        }
        return Snapshot(counters=counters, gauges=gauges, histograms=histograms)


def _best(report: AttemptReport) -> Result:
    """The outcome of an attempt as a whole: the best that one of its recipients had."""
    if len(report.outcomes) == 1:
        return report.outcomes[0].result
    results = {outcome.result for outcome in report.outcomes}
    return next((result for result in _PREFERENCE if result in results), Result.DROPPED)


def _queue_gauges(queue: Mapping[State, StateStats], now: float) -> dict[str, dict[str, float]]:
    messages, size, oldest = {}, {}, {}
    for state in State:
        stats = queue.get(state, StateStats())
        messages[state.value] = float(stats.messages)
        size[state.value] = float(stats.size)
        oldest[state.value] = max(0.0, now - stats.oldest) if stats.oldest is not None else 0.0
    return {
        "mailboat_queue_messages": messages,
        "mailboat_queue_bytes": size,
        "mailboat_queue_oldest_seconds": oldest,
    }


def _disk_gauges(disk: Disk) -> dict[str, dict[str, float]]:
    return {
        "mailboat_queue_disk_free_bytes": {"": float(disk.free)},
        "mailboat_queue_disk_size_bytes": {"": float(disk.size)},
    }


_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_STARTED_AT = time.time()


def _process_gauges() -> dict[str, dict[str, float]]:
    """What the kernel knows of this process; absent where there is no /proc."""
    gauges = {"process_start_time_seconds": {"": _STARTED_AT}}
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        gauges["process_resident_memory_bytes"] = {"": float(pages * _PAGE_SIZE)}
        gauges["process_open_fds"] = {"": float(len(os.listdir("/proc/self/fd")))}  # noqa: PTH208 - names only
    except OSError:
        pass  # a hardened container may hide it; the rest is worth having
    return gauges


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several processes: counters and histograms add up, gauges as the table says."""
    merged = Snapshot(counters={}, gauges={}, histograms={})
    for snapshot in snapshots:
        _add_counters(merged["counters"], snapshot["counters"])
        _add_gauges(merged["gauges"], snapshot["gauges"])
        _add_histograms(merged["histograms"], snapshot["histograms"])
        plugins.add(merged.setdefault("plugins", {}), snapshot.get("plugins", {}))
    return merged


def _add_counters(into: dict[str, dict[str, float]], other: dict[str, dict[str, float]]) -> None:
    for name, series in other.items():
        sums = into.setdefault(name, {})
        for value, number in series.items():
            sums[value] = sums.get(value, 0) + number


_FOLD: Mapping[Merge, Callable[[float, float], float]] = {
    Merge.SUM: lambda a, b: a + b,
    Merge.MAX: max,
    Merge.MIN: min,
}


def _add_gauges(into: dict[str, dict[str, float]], other: dict[str, dict[str, float]]) -> None:
    for name, series in other.items():
        fold = _FOLD[BY_NAME[name].merge]
        gauges = into.setdefault(name, {})
        for value, number in series.items():
            gauges[value] = fold(gauges[value], number) if value in gauges else number


def _add_histograms(
    into: dict[str, dict[str, HistogramSnapshot]], other: dict[str, dict[str, HistogramSnapshot]]
) -> None:
    for name, series in other.items():
        sums = into.setdefault(name, {})
        for value, one in series.items():
            so_far = sums.get(value)
            counts = one["counts"] if so_far is None else map(int.__add__, so_far["counts"], one["counts"])
            total = one["sum"] if so_far is None else so_far["sum"] + one["sum"]
            sums[value] = HistogramSnapshot(counts=list(counts), sum=total)


class Totals:
    """One sum for a relay of several processes, over the life of all of them.

    The counters of a worker that died stay in the sum (they must never fall); its gauges do not.
    """

    def __init__(self) -> None:
        self._alive: dict[str, Snapshot] = {}
        self._ended = Snapshot(counters={}, gauges={}, histograms={})

    def update(self, incarnation: str, snapshot: Snapshot) -> None:
        """The newest snapshot of one worker process; `incarnation` names the process, not the worker's number."""
        self._alive[incarnation] = snapshot

    def gone(self, incarnation: str) -> None:
        """This process is dead and will never report again. Unknown names are fine: it may have sent none."""
        last = self._alive.pop(incarnation, None)
        if last is not None:
            merged = merge([self._ended, last])
            merged["gauges"] = {}
            self._ended = merged

    def merged(self) -> Snapshot:
        """The relay's numbers as of the snapshots at hand."""
        return merge([self._ended, *self._alive.values()])

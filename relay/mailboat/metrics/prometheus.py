"""A snapshot as the Prometheus text format. Called by `app` for `GET /metrics`; knows no HTTP and counts nothing.

It has its own registry: metrics that a plugin registers globally are not exposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from mailboat.metrics import catalog, plugins
from mailboat.metrics.catalog import INFOS, METRICS, MetricKind
from mailboat.metrics.recorder import HistogramSnapshot, Snapshot


def exposition(snapshot: Snapshot, *, version: str, config_hash: str) -> bytes:
    """The body of `/metrics` in the text format 0.0.4.

    `snapshot` is one process's, or `Totals.merged()`; `config_hash` is that of `/configz`,
    empty where that is unknown.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot, {"version": version, "hash": config_hash}))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    """Shows a snapshot in the order of the table."""

    def __init__(self, snapshot: Snapshot, info: dict[str, str]) -> None:
        self._snapshot = snapshot
        self._info = info

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        for metric in METRICS:
            yield self._family(metric)
        for info in INFOS:
            if not self._info[info.label]:
                continue  # no worker could say
            family = GaugeMetricFamily(info.name, info.help, labels=[info.label])
            family.add_metric([self._info[info.label]], 1)
            yield family
        yield from plugins.families(self._snapshot.get("plugins", {}))

    def _family(self, metric: catalog.Metric) -> Metric:
        labels = metric.label.split()
        if metric.kind is MetricKind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
            for value, one in self._snapshot["histograms"].get(metric.name, {}).items():
                histogram.add_metric(_values(value), _cumulative(metric.buckets, one), one["sum"])
            return histogram
        numbers = self._snapshot["counters" if metric.kind is MetricKind.COUNTER else "gauges"].get(metric.name, {})
        make = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=labels)
        for value, number in numbers.items():
            family.add_metric(_values(value), number)
        return family


def _values(value: str) -> list[str]:
    return value.split()


def _cumulative(bounds: Sequence[float], one: HistogramSnapshot) -> list[tuple[str, float]]:
    """Prometheus's buckets: how many are less than or equal to each bound."""
    buckets = []
    total = 0
    for bound, count in zip([*map(str, bounds), "+Inf"], one["counts"], strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets

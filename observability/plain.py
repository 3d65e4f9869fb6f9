"""A generated panel for each metric that no other panel shows, made from its row in the table.

Called by `dashboard`, whose own panels say more: they compare, add up and colour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from mailboat.metrics.catalog import Metric, MetricKind
from observability.panels import Look, Query, graph
from observability.promql import quantile, rate, series, total

_UNITS = {"seconds": "s", "bytes": "bytes"}
"""The last word of a metric's name, and what Grafana calls that unit."""


def others(metrics: Iterable[Metric], shown: str) -> Sequence[Builder[Panel]]:
    """A graph for each metric that no expression in the text `shown` names."""
    return [plain(metric) for metric in metrics if not re.search(rf"\b{metric.name}(?:_bucket|_count|_sum)?\{{", shown)]


def plain(metric: Metric) -> Builder[Panel]:
    """A counter's rate and a gauge's value by their labels, or by pod without any; a histogram's 95th percentile."""
    labels = metric.label.split() or ["pod"]
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    title = metric.name.removeprefix("mailboat_").removesuffix("_total").replace("_", " ").capitalize()
    look = Look(_UNITS.get(metric.name.rpartition("_")[2], "short"))
    if metric.kind is MetricKind.HISTOGRAM:
        return graph(title, metric.help, [Query(quantile(0.95, metric.name), "95%")], look)
    if metric.kind is MetricKind.COUNTER:
        return graph(title, metric.help, [Query(total(rate(metric.name), ", ".join(labels)), legend)], Look("cps"))
    return graph(title, metric.help, [Query(total(series(metric.name), ", ".join(labels)), legend)], look)

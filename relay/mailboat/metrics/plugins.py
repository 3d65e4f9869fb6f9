"""Counters of plugins: collected from workers as JSON, summed, and exposed at `/metrics`.

Plugins choose their names and labels, so they are not in `catalog`. `recorder` sums them by its own rules:
a worker that died keeps its part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TypedDict

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from mailboat.hooks.metrics import CounterSnapshot


class PluginCounter(TypedDict):
    """One counter of a plugin."""

    help: str
    labels: list[str]
    series: dict[str, float]
    """By the label values, as a JSON list."""


def pack(counters: Iterable[CounterSnapshot]) -> dict[str, PluginCounter]:
    """The counters of one process, by name."""
    return {
        counter.name: PluginCounter(
            help=counter.help,
            labels=list(counter.labels),
            series={json.dumps(values): number for values, number in counter.series.items()},
        )
        for counter in counters
    }


def add(into: dict[str, PluginCounter], other: Mapping[str, PluginCounter]) -> None:
    """Sum up. If the labels of two differ, because a plugin was changed, those of the later one count."""
    for name, counter in other.items():
        series = dict(into[name]["series"]) if name in into else {}
        for values, number in counter["series"].items():
            series[values] = series.get(values, 0) + number
        into[name] = PluginCounter(help=counter["help"], labels=counter["labels"], series=series)


def families(counters: Mapping[str, PluginCounter]) -> Iterator[Metric]:
    """What `/metrics` shows of them. Series of labels that a plugin no longer has are left out."""
    for name, counter in sorted(counters.items()):
        family = CounterMetricFamily(name, counter["help"], labels=counter["labels"])
        for text, number in counter["series"].items():
            values = json.loads(text)
            if len(values) == len(counter["labels"]):
                family.add_metric(values, number)
        yield family

"""Counters of plugins, for use in any thread; `app` adds `Counters.snapshot` to the relay's own metrics."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

MAX_SERIES = 1000
"""Maximum of series of one counter: all combinations of its labels' values."""
OTHER = "other"
"""Replaces a label value that was not declared."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """One counter at one instant."""

    name: str
    """As exposed: `mailboat_plugin_<plugin>_<name>_total`."""
    help: str
    labels: tuple[str, ...]
    series: Mapping[tuple[str, ...], float]
    """By label values, in the order of `labels`."""


class Counter:
    """A number that only increases. All its series exist from the start, with 0."""

    def __init__(self, name: str, help_: str, labels: Mapping[str, Sequence[str]], lock: threading.Lock) -> None:
        self.name = name
        self.help = help_
        self.labels = tuple(labels)
        self._allowed = [frozenset(values) for values in labels.values()]
        self._lock = lock
        self.series: dict[tuple[str, ...], float] = dict.fromkeys(
            itertools.product(*(dict.fromkeys((*values, OTHER)) for values in labels.values())), 0.0
        )

    def inc(self, *values: str, amount: float = 1.0) -> None:
        """Count. `values` are the labels' values in order; a value that was not declared becomes `other`.

        ValueError for an amount that is negative or not finite, or the wrong number of values.
        """
        if not 0 <= amount < inf or len(values) != len(self.labels):
            raise ValueError(f"{self.name} takes {len(self.labels)} label values and never decreases")
        key = tuple(value if value in allowed else OTHER for value, allowed in zip(values, self._allowed, strict=True))
        with self._lock:
            self.series[key] += amount


class PluginMetrics:
    """The counters of one plugin: `plugin.metrics`."""

    def __init__(self, plugin: str, counters: dict[str, Counter], lock: threading.Lock) -> None:
        self._prefix = f"mailboat_plugin_{re.sub('[^a-z0-9]+', '_', plugin.lower())}_"
        self._counters = counters
        self._lock = lock

    def counter(self, name: str, help: str, labels: Mapping[str, Sequence[str]] | None = None) -> Counter:  # noqa: A002
        """A counter `mailboat_plugin_<plugin>_<name>_total`, summed over all workers.

        `labels` lists every value of each label: the sets are closed, so that a hostile client cannot create endless
        series. Calling it again, as after a reload, returns the same counter. ValueError for a bad name.
        """
        labels = labels or {}
        if not _NAME.fullmatch(name) or not all(map(_NAME.fullmatch, labels)):
            raise ValueError(f"{name!r} or one of its labels is not a valid metric or label name")
        full = f"{self._prefix}{name.removesuffix('_total')}_total"
        counter = Counter(full, help, labels, self._lock)
        if len(counter.series) > MAX_SERIES:
            raise ValueError(f"{name} would have {len(counter.series)} series; {MAX_SERIES} are allowed")
        with self._lock:
            known = self._counters.get(full)
            if known is not None and known.series.keys() == counter.series.keys():
                return known
            self._counters[full] = counter
        return counter


class Counters:
    """All counters of all plugins of one process; it outlives every reload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, Counter] = {}

    def of(self, plugin: str) -> PluginMetrics:
        """The counters of one plugin."""
        return PluginMetrics(plugin, self._counters, self._lock)

    def snapshot(self) -> list[CounterSnapshot]:
        """The present values of all counters."""
        with self._lock:
            return [CounterSnapshot(c.name, c.help, c.labels, dict(c.series)) for c in self._counters.values()]

"""Keeps the series of `mailboat_shaping_waiting_entries` few, however many destinations there are. Pure.

A series is named `PROVIDER CAUSE`, as label values with a blank between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mailboat.metrics.catalog import OTHER_PROVIDER
from mailboat.model.waiting import WaitCause

MOST = 20
"""Providers and destinations with series of their own: those with the most mail."""
_KEPT = 500
"""How many a worker answers with, so that the first ones of all workers are among them."""


class CountsByProvider:
    """Counts by provider or destination, and by cause."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, provider: str, cause: WaitCause | str, entries: float) -> None:
        """Count entries."""
        counts = self._counts.setdefault("".join(provider.split()) or OTHER_PROVIDER, Counter())
        counts[cause] += entries  # type: ignore[assignment]  # whole numbers, as floats
        if len(self._counts) > 4 * _KEPT:
            self._cut(_KEPT)

    def series(self, most: int = _KEPT) -> dict[str, float]:
        """By series, with the rest as `other`."""
        self._cut(most)
        return {f"{name} {cause}": float(n) for name, counts in self._counts.items() for cause, n in counts.items()}

    def _cut(self, most: int) -> None:
        """Leave the first ones."""
        other = self._counts.pop(OTHER_PROVIDER, Counter())
        order = sorted(self._counts, key=lambda name: (-self._counts[name].total(), name))
        for name in order[most:]:
            other.update(self._counts.pop(name))
        if other:
            self._counts[OTHER_PROVIDER] = other


def bounded(series: Mapping[str, float]) -> dict[str, float]:
    """The series of all workers, added up, as they are exposed: those of `other` are always there."""
    counts = CountsByProvider()
    for name, number in series.items():
        provider, _, cause = name.rpartition(" ")
        counts.add(provider, cause, number)
    return {f"{OTHER_PROVIDER} {cause}": 0.0 for cause in WaitCause} | counts.series(MOST)

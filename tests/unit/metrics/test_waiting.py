"""The series of what waits are few, and their sum is what waits."""

from __future__ import annotations

from mailboat.metrics.waiting import MOST, CountsByProvider, bounded
from mailboat.model.waiting import WaitCause


def test_with_ten_thousand_domains_the_first_have_series_and_the_rest_is_other() -> None:
    workers = [CountsByProvider(), CountsByProvider()]
    for n in range(10_000):
        for worker in workers:
            worker.add(f"d{n}.test", WaitCause.RETRY, 1 + n % 3)
            worker.add("google", WaitCause.RATE, 1)
    merged: dict[str, float] = {}
    for worker in workers:
        for name, number in worker.series().items():
            merged[name] = merged.get(name, 0) + number
    series = bounded(merged)
    assert len(series) <= (MOST + 1) * len(WaitCause)
    assert len({name.split()[0] for name in series}) == MOST + 1
    assert series["other window"] == 0
    assert series["google rate"] == 20_000
    assert series["other retry"] > 0
    assert sum(series.values()) == 20_000 + 2 * sum(1 + n % 3 for n in range(10_000))


def test_a_blank_in_a_damaged_name_does_not_make_another_label() -> None:
    counts = CountsByProvider()
    counts.add("a b", WaitCause.TURN, 1)
    counts.add("", WaitCause.TURN, 1)
    assert counts.series() == {"ab turn": 1, "other turn": 1}

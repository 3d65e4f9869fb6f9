"""Counters of plugins: closed sets, any thread, summed over workers, and kept when a worker is gone."""

from __future__ import annotations

import json
import math
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mailboat.hooks.metrics import MAX_SERIES, Counters
from mailboat.metrics.plugins import pack
from mailboat.metrics.prometheus import exposition
from mailboat.metrics.recorder import Snapshot, Totals


def snapshot(counters: Counters) -> Snapshot:
    """A worker's numbers, as they cross a process boundary."""
    packed: Snapshot = json.loads(
        json.dumps(Snapshot(counters={}, gauges={}, histograms={}, plugins=pack(counters.snapshot())))
    )
    return packed


def samples(totals: Totals) -> dict[str, float]:
    text = exposition(totals.merged(), version="1", config_hash="h").decode()
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("mailboat_plugin_p_")
    }


def test_workers_are_summed_and_a_dead_one_stays() -> None:
    totals, one, two = Totals(), Counters(), Counters()
    for counters, times in ((one, 2), (two, 5)):
        counter = counters.of("p").counter("seen", "Seen.", {"kind": ("a",)})
        counter.inc("a", amount=times)
    totals.update("one", snapshot(one))
    totals.update("two", snapshot(two))
    name = "mailboat_plugin_p_seen_total[('kind', 'a')]"
    assert samples(totals)[name] == 7
    totals.gone("two")
    again = Counters()
    again.of("p").counter("seen", "Seen.", {"kind": ("a",)}).inc("a")
    totals.update("three", snapshot(again))
    assert samples(totals)[name] == 8
    assert samples(totals)["mailboat_plugin_p_seen_total[('kind', 'other')]"] == 0


def test_labels_that_a_new_version_does_not_have_are_left_out() -> None:
    totals, old, new = Totals(), Counters(), Counters()
    old.of("p").counter("seen", "Seen.", {"kind": ("a",)}).inc("a")
    new.of("p").counter("seen", "Seen.").inc()
    totals.update("old", snapshot(old))
    totals.gone("old")
    totals.update("new", snapshot(new))
    assert samples(totals) == {"mailboat_plugin_p_seen_total[]": 1}


def test_a_value_that_was_not_declared_makes_no_series() -> None:
    counters = Counters()
    counter = counters.of("p").counter("seen", "Seen.", {"from": ("x", "y"), "to": ("z",)})
    before = len(counter.series)
    counter.inc("evil", "z")
    counter.inc("x", "evil")
    assert len(counter.series) == before == 6
    assert counter.series["other", "z"] == counter.series["x", "other"] == 1


@pytest.mark.parametrize("values", [(), ("a", "b")])
def test_the_number_of_values_must_fit_and_nothing_goes_back(values: tuple[str, ...]) -> None:
    counter = Counters().of("p").counter("seen", "Seen.", {"kind": ("a",)})
    with pytest.raises(ValueError, match="label values"):
        counter.inc(*values)
    for amount in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="never decreases"):
            counter.inc("a", amount=amount)


def test_names_and_numbers_of_series_are_bounded() -> None:
    metrics = Counters().of("p")
    for name in ("", "A", "a-b", "1a", "ä"):
        with pytest.raises(ValueError, match="not a valid metric"):
            metrics.counter(name, "")
    with pytest.raises(ValueError, match="series"):
        metrics.counter("big", "", {"a": tuple(map(str, range(MAX_SERIES)))})


def test_threads_lose_no_count() -> None:
    counter = Counters().of("p").counter("seen", "Seen.")

    def count() -> None:
        for _ in range(2000):
            counter.inc()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.series == {(): 16000}

"""The exposition, read back by Prometheus's own parser, and its names."""

from __future__ import annotations

import re

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from mailboat.metrics.catalog import INFOS, METRICS, Metric, MetricKind
from mailboat.metrics.prometheus import exposition
from mailboat.metrics.recorder import Recorder
from mailboat.model.envelope import State
from mailboat.queue.store import StateStats

# Scripts and dashboards rely on these.
PROMISED = {
    "mailboat_received_messages_total",
    "mailboat_received_bytes_total",
    "mailboat_rejected_total{reason}",
    "mailboat_deliveries_total{outcome}",
    "mailboat_bounce_messages_total{result}",
    "mailboat_queue_messages{state}",
    "mailboat_queue_bytes{state}",
    "mailboat_queue_oldest_seconds{state}",
    "mailboat_delivery_duration_seconds{outcome}",
    "mailboat_message_age_seconds",
    "mailboat_outbound_connections",
    "mailboat_inbound_connections",
    "mailboat_tls_deliveries_total{version}",
    "mailboat_ambiguous_deliveries_total",
    "mailboat_commit_duration_seconds",
    "mailboat_commit_messages",
    "mailboat_dns_queries_total{result}",
    "mailboat_bind_failures_total",
    "mailboat_bind_address_available{family}",
    "mailboat_config_reloads_total{result}",
    "mailboat_config_last_reload_successful",
    "mailboat_config_info{hash}",
    "mailboat_build_info{version}",
}


def families(recorder: Recorder, **queue: StateStats) -> dict[str, Family]:
    text = exposition(
        recorder.snapshot({State(state): stats for state, stats in queue.items()}),
        version="1.2.3",
        config_hash="sha256:ab",
    )
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def test_the_parser_reads_every_metric_back_with_its_kind() -> None:
    parsed = families(Recorder())
    for metric in METRICS + INFOS:
        family = parsed.pop(metric.name.removesuffix("_total"))
        assert family.type == metric.kind
        assert family.documentation == metric.help
    assert not parsed


def test_names_and_labels_are_those_promised() -> None:
    known = {metric.name + (f"{{{metric.label}}}" if metric.label else "") for metric in METRICS + INFOS}
    assert known >= PROMISED


def test_a_histogram_is_cumulative_and_ends_at_infinity() -> None:
    recorder = Recorder()
    for messages in (1, 3, 5000):
        recorder.committed(0.002, messages)
    samples = families(recorder)["mailboat_commit_messages"].samples
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert (buckets["1.0"], buckets["2.0"], buckets["5.0"], buckets["+Inf"]) == (1, 1, 2, 3)
    assert {s.name: s.value for s in samples}["mailboat_commit_messages_count"] == 3
    assert {s.name: s.value for s in samples}["mailboat_commit_messages_sum"] == 5004


def test_gauges_of_the_queue_and_the_infos_carry_their_labels() -> None:
    parsed = families(Recorder(), held=StateStats(4, 44, None))
    assert {s.labels["state"]: s.value for s in parsed["mailboat_queue_messages"].samples}["held"] == 4
    assert [(s.labels, s.value) for s in parsed["mailboat_config_info"].samples] == [({"hash": "sha256:ab"}, 1)]
    assert [(s.labels, s.value) for s in parsed["mailboat_build_info"].samples] == [({"version": "1.2.3"}, 1)]


@pytest.mark.parametrize("metric", METRICS + INFOS, ids=lambda metric: metric.name)
def test_names_pass_the_rules_that_promtool_checks(metric: Metric) -> None:
    assert re.fullmatch(r"(mailboat|process)(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert not re.search(r"_(milliseconds|minutes|hours|kilobytes|megabytes|percent)(_|$)", metric.name), "base units"
    assert not re.search(r"_(count|sum|bucket|counter|gauge|histogram)$", metric.name), "reserved endings"
    assert metric.help.endswith(".")
    assert metric.label not in {"le", "quantile", "job", "instance"}
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)

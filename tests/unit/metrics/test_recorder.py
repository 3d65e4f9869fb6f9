"""What is counted, and that sums survive workers."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.facts import PEER, T0, StoppedClock, entry, message, outcome, report

from mailboat.metrics.catalog import METRICS, MetricKind
from mailboat.metrics.recorder import Recorder, Snapshot, Totals, merge
from mailboat.model.envelope import TLS_REPORT_NOTE, State
from mailboat.model.observer import BounceResult, ConfigReloaded, DnsResult, Received, Rejected, RejectReason
from mailboat.model.outcome import PeerFacts, Result
from mailboat.queue.faults import Disk
from mailboat.queue.store import StateStats

DELIVERED = outcome(1, Result.DELIVERED, "250 2.0.0 Ok")


ADDED_LATER = (
    "mailboat_certificate_expiry_timestamp_seconds",
    "mailboat_dane_available",
    "mailboat_dkim_oldest_key_timestamp_seconds",
    "mailboat_shaping_waiting_entries",
    "mailboat_tlsrpt_complete_until_timestamp_seconds",
    "mailboat_workers_missing",
)
"""By `app.worker`, which knows certificates, keys, the resolver, reports on TLS and what waits, and by `app.control`,
which alone knows all workers."""


def counter(snapshot: Snapshot, name: str, label: str = "") -> float:
    return snapshot["counters"][name][label]


def test_every_series_is_there_from_the_start_with_zero() -> None:
    snapshot = Recorder().snapshot(disk=Disk(size=2, free=1))
    for metric in METRICS:
        if metric.name in ADDED_LATER:
            continue
        family = {MetricKind.COUNTER: "counters", MetricKind.GAUGE: "gauges", MetricKind.HISTOGRAM: "histograms"}[
            metric.kind
        ]
        assert set(snapshot[family][metric.name]) == set(metric.values), metric.name  # type: ignore[literal-required]
    assert not any(snapshot["counters"]["mailboat_rejected_total"].values())


def test_received_counts_messages_and_octets() -> None:
    recorder = Recorder()
    recorder.received(Received(message(size=100), ["a@b", "c@d"], "127.0.0.1", "ESMTP"))
    recorder.received(Received(message(size=50), ["a@b"], "127.0.0.1", "ESMTP"))
    snapshot = recorder.snapshot()
    assert counter(snapshot, "mailboat_received_messages_total") == 2
    assert counter(snapshot, "mailboat_received_bytes_total") == 150


def test_an_attempt_counts_recipients_by_outcome_and_itself_once() -> None:
    recorder = Recorder()
    whole = entry(["a@example.net", "b@example.net", "c@example.net"])
    outcomes = (DELIVERED, outcome(2, Result.BOUNCED, "550 5.1.1 No"), outcome(3, Result.DEFERRED, "451 4.2.0 Later"))
    recorder.attempted(whole, report(*outcomes), None, None)
    snapshot = recorder.snapshot()
    assert snapshot["counters"]["mailboat_deliveries_total"] == {
        "delivered": 1,
        "deferred": 1,
        "bounced": 1,
        "dropped": 0,
    }
    durations = snapshot["histograms"]["mailboat_delivery_duration_seconds"]
    assert {name: sum(one["counts"]) for name, one in durations.items()} == {
        "delivered": 1,
        "deferred": 0,
        "bounced": 0,
        "dropped": 0,
    }
    assert durations["delivered"]["sum"] == 0.25
    age = snapshot["histograms"]["mailboat_message_age_seconds"][""]
    assert (sum(age["counts"]), age["sum"]) == (1, 1.25)


def test_what_a_plugin_put_off_was_no_attempt() -> None:
    recorder = Recorder()
    recorder.attempted(entry(), report(outcome(1, Result.DEFERRED), peer=None, counted=False), None, 60.0)
    assert counter(recorder.snapshot(), "mailboat_deliveries_total", "deferred") == 0


@pytest.mark.parametrize(
    ("peer", "label"),
    [(PEER, "TLSv1.3"), (PeerFacts("mx"), "none"), (PeerFacts("mx", tls_version="TLSv9"), "other")],
)
def test_delivered_recipients_are_counted_by_tls_version(peer: PeerFacts, label: str) -> None:
    recorder = Recorder()
    recorder.attempted(entry(), report(DELIVERED, peer=peer), None, None)
    versions = recorder.snapshot()["counters"]["mailboat_tls_deliveries_total"]
    assert {name for name, number in versions.items() if number} == {label}


def test_an_unanswered_final_dot_is_ambiguous_for_each_recipient() -> None:
    recorder = Recorder()
    lost = [outcome(n, Result.DEFERRED, ambiguous=True) for n in (1, 2)]
    recorder.attempted(entry(["a@example.net", "b@example.net"]), report(*lost), None, 60.0)
    assert counter(recorder.snapshot(), "mailboat_ambiguous_deliveries_total") == 2


def test_a_report_on_tls_that_bounces_has_failed() -> None:
    recorder = Recorder()
    mail = entry(of=replace(message(), notes={TLS_REPORT_NOTE: True}))
    recorder.attempted(mail, report(outcome(1, Result.DEFERRED, "451 4.2.0 Later")), None, 60.0)
    assert counter(recorder.snapshot(), "mailboat_tlsrpt_reports_total", "failed") == 0
    for bounced in (mail, entry()):
        recorder.attempted(bounced, report(outcome(1, Result.BOUNCED, "550 5.1.1 No")), None, None)
    assert counter(recorder.snapshot(), "mailboat_tlsrpt_reports_total", "failed") == 1


def test_a_clock_set_back_takes_nothing_from_a_sum() -> None:
    recorder = Recorder()
    recorder.attempted(entry(), report(DELIVERED, started_at=T0 - 3600), None, None)
    assert recorder.snapshot()["histograms"]["mailboat_message_age_seconds"][""]["sum"] == 0


def test_the_other_facts_have_their_counters() -> None:
    recorder = Recorder(events_dropped=lambda: 7)
    recorder.rejected(Rejected(RejectReason.LOOP, "127.0.0.1", "554 5.4.6 Loop"))
    recorder.bounce_message(entry(), BounceResult.SUPPRESSED)
    recorder.dns_query(DnsResult.NXDOMAIN)
    recorder.bind_failed("192.0.2.9")
    recorder.authentication_failed("mx", "535 5.7.8 No")
    recorder.inbound_connections(+1)
    recorder.inbound_connections(+1)
    recorder.inbound_connections(-1)
    recorder.outbound_connections(+1)
    recorder.committed(0.004, 3)
    snapshot = recorder.snapshot()
    assert counter(snapshot, "mailboat_rejected_total", "loop") == 1
    assert counter(snapshot, "mailboat_bounce_messages_total", "suppressed") == 1
    assert counter(snapshot, "mailboat_dns_queries_total", "nxdomain") == 1
    assert counter(snapshot, "mailboat_bind_failures_total") == 1
    assert counter(snapshot, "mailboat_upstream_auth_failures_total") == 1
    assert counter(snapshot, "mailboat_events_dropped_total") == 7
    assert snapshot["gauges"]["mailboat_inbound_connections"][""] == 1
    assert snapshot["gauges"]["mailboat_outbound_connections"][""] == 1
    assert snapshot["histograms"]["mailboat_commit_messages"][""]["sum"] == 3
    assert counter(snapshot, "process_cpu_seconds_total") > 0
    assert snapshot["gauges"]["process_resident_memory_bytes"][""] > 1_000_000


def test_a_refused_configuration_shows_until_one_is_taken() -> None:
    recorder = Recorder()
    name = "mailboat_config_last_reload_successful"
    assert recorder.snapshot()["gauges"][name][""] == 1
    recorder.config_reloaded(ConfigReloaded("sha256:a", "outbound.ini: no"))
    assert recorder.snapshot()["gauges"][name][""] == 0
    recorder.config_reloaded(ConfigReloaded("sha256:b"))
    snapshot = recorder.snapshot()
    assert snapshot["gauges"][name][""] == 1
    assert snapshot["counters"]["mailboat_config_reloads_total"] == {"success": 1, "failure": 1}


def test_the_queue_is_shown_by_state_with_the_age_of_its_oldest() -> None:
    recorder = Recorder(StoppedClock(T0 + 90))
    gauges = recorder.snapshot({State.DEFERRED: StateStats(3, 999, T0)})["gauges"]
    assert gauges["mailboat_queue_messages"] == {"active": 0, "deferred": 3, "held": 0}
    assert gauges["mailboat_queue_bytes"]["deferred"] == 999
    assert gauges["mailboat_queue_oldest_seconds"] == {"active": 0, "deferred": 90, "held": 0}


def test_the_disk_of_the_queue_is_one_for_all_workers_and_absent_when_it_cannot_be_asked() -> None:
    both = merge([Recorder().snapshot(disk=Disk(size=100, free=40)), Recorder().snapshot(disk=Disk(size=100, free=38))])
    assert both["gauges"]["mailboat_queue_disk_size_bytes"] == {"": 100}
    assert both["gauges"]["mailboat_queue_disk_free_bytes"] == {"": 38}
    assert "mailboat_queue_disk_free_bytes" not in Recorder().snapshot(disk=None)["gauges"]


def test_a_relay_is_ready_when_each_worker_is() -> None:
    ready, not_ready = Recorder().snapshot(ready=True), Recorder().snapshot(ready=False)
    assert merge([ready, ready])["gauges"]["mailboat_ready"] == {"": 1}
    assert merge([ready, not_ready])["gauges"]["mailboat_ready"] == {"": 0}


def test_a_value_on_a_bound_falls_into_that_bucket() -> None:
    recorder = Recorder()
    recorder.committed(0.001, 0)
    counts = recorder.snapshot()["histograms"]["mailboat_commit_duration_seconds"][""]["counts"]
    assert counts[1] == 1  # bounds 0.0005, 0.001: less than or equal


def test_workers_add_up_and_the_oldest_message_wins() -> None:
    one, two = Recorder(StoppedClock(T0 + 10)), Recorder(StoppedClock(T0 + 10))
    one.received(Received(message(), [], "", "ESMTP"))
    two.received(Received(message(), [], "", "ESMTP"))
    two.committed(0.01, 1)
    two.config_reloaded(ConfigReloaded("", "bad"))
    both = merge(
        [one.snapshot({State.ACTIVE: StateStats(1, 1, T0)}), two.snapshot({State.ACTIVE: StateStats(2, 2, T0 + 5)})]
    )
    assert counter(both, "mailboat_received_messages_total") == 2
    assert sum(both["histograms"]["mailboat_commit_messages"][""]["counts"]) == 1
    assert both["gauges"]["mailboat_queue_messages"]["active"] == 3
    assert both["gauges"]["mailboat_queue_oldest_seconds"]["active"] == 10
    assert both["gauges"]["mailboat_config_last_reload_successful"][""] == 0


def test_merging_changes_none_of_its_parts() -> None:
    part = Recorder().snapshot()
    before = json.dumps(part)
    merge([part, part])
    assert json.dumps(part) == before


def test_a_dead_worker_stays_in_the_counters_and_leaves_the_gauges() -> None:
    totals = Totals()
    first = Recorder()
    first.received(Received(message(), [], "", "ESMTP"))
    first.inbound_connections(+1)
    totals.update("worker 0 of pid 10", json.loads(json.dumps(first.snapshot())))
    assert totals.merged()["gauges"]["mailboat_inbound_connections"][""] == 1
    totals.gone("worker 0 of pid 10")
    totals.gone("never heard of")
    second = Recorder()
    second.received(Received(message(), [], "", "ESMTP"))
    totals.update("worker 0 of pid 11", second.snapshot())
    merged = totals.merged()
    assert counter(merged, "mailboat_received_messages_total") == 2
    assert merged["gauges"]["mailboat_inbound_connections"][""] == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["count", "report", "die"])), max_size=30))
def test_the_sum_never_goes_back(steps: list[tuple[str, str]]) -> None:
    totals, lives = Totals(), dict.fromkeys("abc", 0)
    recorders = {name: Recorder() for name in "abc"}
    seen = [0.0]
    for name, step in steps:
        incarnation = f"{name}{lives[name]}"
        if step == "count":
            recorders[name].received(Received(message(), [], "", "ESMTP"))
        elif step == "report":
            totals.update(incarnation, recorders[name].snapshot())
        else:
            totals.gone(incarnation)
            lives[name] += 1
            recorders[name] = Recorder()
        seen.append(totals.merged()["counters"].get("mailboat_received_messages_total", {}).get("", 0))
    assert all(earlier <= later for earlier, later in pairwise(seen))

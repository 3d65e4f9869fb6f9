"""Every metric of the relay in one table: name, kind, labels, help and buckets.

`recorder` counts what stands here, `prometheus` exposes it, and `make docs` prints docs/metrics.md from it. Knows no
socket and no process; never imports its users.
Label values are closed sets: each series exists from the start, with 0, and none is ever added; but for the label
`provider`, whose values are few at any time (`waiting`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from mailboat.config.settings import Nul
from mailboat.hooks.points import Point
from mailboat.model.envelope import State
from mailboat.model.observer import (
    BounceResult,
    DnsResult,
    HookFailure,
    RejectReason,
    StsResult,
    TlsReportResult,
    TokenResult,
)
from mailboat.model.outcome import ReportAction, Result
from mailboat.model.tls import PolicySource
from mailboat.model.waiting import WaitCause

WAITING_ENTRIES = "mailboat_shaping_waiting_entries"
"""The values of its label `provider` are bounded by `waiting`; only these are there from the start."""
OTHER_PROVIDER = "other"
NO_TLS = "none"
OTHER_TLS = "other"
TLS_VERSIONS = (NO_TLS, "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3", OTHER_TLS)
"""The closed set of the label `version`; `other` is any version that a future OpenSSL may add."""


class MetricKind(StrEnum):
    """What Prometheus does with a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """How the gauges of several workers become one value."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    """As exposed, `_total` included."""
    kind: MetricKind
    help: str
    label: str = ""
    """The name of its label, or of several with blanks between; empty: none."""
    values: tuple[str, ...] = ("",)
    """Every value that the label can have, or values with blanks between; one empty text where there is no label."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, ascending; `+Inf` is understood."""
    merge: Merge = Merge.SUM


_DELIVERY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
_AGE_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259200.0)
_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_COMMIT_MESSAGES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

_STATES = tuple(State)
_RESULTS = tuple(Result)

METRICS: tuple[Metric, ...] = (
    Metric(
        "mailboat_received_messages_total",
        MetricKind.COUNTER,
        "Messages answered 250 (202 by HTTP), or sent by a plugin.",
    ),
    Metric("mailboat_received_bytes_total", MetricKind.COUNTER, "Octets of the messages answered 250."),
    Metric(
        "mailboat_rejected_total",
        MetricKind.COUNTER,
        "Refused commands, messages and connections of clients.",
        "reason",
        tuple(RejectReason),
    ),
    Metric(
        "mailboat_dkim_signatures_total",
        MetricKind.COUNTER,
        "DKIM signatures made. If there are keys, also messages with the algorithm `none`: those without a matching "
        "key (`unsigned`), and those whose key could not sign them (`error`).",
        "algorithm result",
        ("rsa signed", "ed25519 signed", "none unsigned", "none error"),
    ),
    Metric(
        "mailboat_nul_messages_total",
        MetricKind.COUNTER,
        "Messages with NUL octets, by what `smtp.ini` `nul` did to them.",
        "action",
        tuple(Nul),
    ),
    Metric(
        "mailboat_deliveries_total",
        MetricKind.COUNTER,
        "Recipients, counted once for each attempt, by outcome.",
        "outcome",
        _RESULTS,
    ),
    Metric(
        "mailboat_bounce_messages_total",
        MetricKind.COUNTER,
        "Bounce messages: queued to the sender, or suppressed (for the null sender, or by a plugin).",
        "result",
        tuple(BounceResult),
    ),
    Metric(
        "mailboat_dsn_total",
        MetricKind.COUNTER,
        "Reports queued to senders: of failure, of delay, or of success that the sender asked for (RFC 3461).",
        "action",
        tuple(ReportAction),
    ),
    Metric("mailboat_queue_messages", MetricKind.GAUGE, "Queue entries now.", "state", _STATES),
    Metric(
        WAITING_ENTRIES,
        MetricKind.GAUGE,
        "Queue entries that wait and are not held by an operator, by the provider of shaping.ini that they are for and "
        "by what holds them: a limit (`rate`, `recipient_rate`, `connections`, `connection_rate`), the learnt `window` "
        "of the hosts, their `backoff` after failures, or `concurrency_max` (`places`); `turn`: nothing does; `retry`: "
        "the last attempt failed, and the next is not due. Mail for no provider counts under its domain or "
        "`route:NAME`. The 20 providers and destinations with the most have series, the rest is `other`; counted about "
        "every 10 s, less often if the queue is very long.",
        "provider cause",
        tuple(f"{OTHER_PROVIDER} {cause}" for cause in WaitCause),
    ),
    Metric("mailboat_queue_bytes", MetricKind.GAUGE, "Octets of the queue entries now.", "state", _STATES),
    Metric(
        "mailboat_queue_oldest_seconds",
        MetricKind.GAUGE,
        "Age of the oldest queue entry; 0 when there is none.",
        "state",
        _STATES,
        merge=Merge.MAX,
    ),
    Metric(
        "mailboat_queue_disk_free_bytes",
        MetricKind.GAUGE,
        "Octets that the relay can still write to the file system of the queue.",
        merge=Merge.MIN,
    ),
    Metric(
        "mailboat_queue_disk_size_bytes",
        MetricKind.GAUGE,
        "Size of the file system of the queue in octets.",
        merge=Merge.MAX,
    ),
    Metric(
        "mailboat_delivery_duration_seconds",
        MetricKind.HISTOGRAM,
        "Duration of one attempt. Its outcome is the best outcome of its recipients, in the order delivered, "
        "deferred, bounced, dropped.",
        "outcome",
        _RESULTS,
        _DELIVERY_SECONDS,
    ),
    Metric(
        "mailboat_message_age_seconds",
        MetricKind.HISTOGRAM,
        "Time from 250 to delivery, observed once for each attempt that delivered.",
        buckets=_AGE_SECONDS,
    ),
    Metric("mailboat_outbound_connections", MetricKind.GAUGE, "Connections to next hops now, idle ones included."),
    Metric("mailboat_inbound_connections", MetricKind.GAUGE, "Connections of clients now."),
    Metric(
        "mailboat_tls_deliveries_total",
        MetricKind.COUNTER,
        "Delivered recipients by the TLS version of the connection; `none` is plain text.",
        "version",
        TLS_VERSIONS,
    ),
    Metric(
        "mailboat_ambiguous_deliveries_total",
        MetricKind.COUNTER,
        "Recipients of messages whose final dot was not answered: they may get the message twice.",
    ),
    Metric(
        "mailboat_commit_duration_seconds",
        MetricKind.HISTOGRAM,
        "Duration of one group commit, its fsync included.",
        buckets=_COMMIT_SECONDS,
    ),
    Metric(
        "mailboat_commit_messages",
        MetricKind.HISTOGRAM,
        "Messages accepted by one group commit.",
        buckets=_COMMIT_MESSAGES,
    ),
    Metric("mailboat_dns_queries_total", MetricKind.COUNTER, "DNS look-ups.", "result", tuple(DnsResult)),
    Metric(
        "mailboat_bind_failures_total",
        MetricKind.COUNTER,
        "Attempts deferred because the source address of this pod is not on this machine.",
    ),
    Metric(
        "mailboat_tls_policy_results_total",
        MetricKind.COUNTER,
        "Attempts that used a host (`met`), and hosts without the TLS that is demanded of them (`failed`), by who "
        "demands it: nobody, the recipients' domain (`sts`, `dane`), a route, `outbound.ini` or `tls.ini` (`config`), "
        "or the message.",
        "policy result",
        tuple(f"{policy} {result}" for policy in PolicySource for result in ("met", "failed")),
    ),
    Metric(
        "mailboat_dane_available",
        MetricKind.GAUGE,
        "1 if DNS answers are validated by a server of `dns_trust_ad`; 0 if not, so that DANE (RFC 7672) is not used.",
        merge=Merge.MIN,
    ),
    Metric(
        "mailboat_bind_address_available",
        MetricKind.GAUGE,
        "0 when `[bind]` names a source address for this pod that is not on this machine, so that mail waits.",
        "family",
        ("ipv4", "ipv6"),
        merge=Merge.MIN,
    ),
    Metric(
        "mailboat_sts_fetches_total",
        MetricKind.COUNTER,
        "Fetches of MTA-STS policies, by how they ended: mail to a domain whose policy cannot be fetched follows the "
        "last one, if it is still valid, or none.",
        "result",
        tuple(StsResult),
    ),
    Metric(
        "mailboat_tlsrpt_reports_total",
        MetricKind.COUNTER,
        "Reports on TLS to the domains of recipients: queued as mail, posted by HTTPS, or failed, if they are refused "
        "or not taken for a day. One that was queued and then bounced counts as both.",
        "result",
        tuple(TlsReportResult),
    ),
    Metric(
        "mailboat_tlsrpt_complete_until_timestamp_seconds",
        MetricKind.GAUGE,
        "Until when all reports on TLS were sent or given up: midnight UTC before the oldest day with one that is not, "
        "or before today; seconds since the epoch. Absent if no reports are sent.",
        merge=Merge.MIN,
    ),
    Metric(
        "mailboat_upstream_auth_failures_total",
        MetricKind.COUNTER,
        "Attempts in which a next hop refused the relay's credentials.",
    ),
    Metric(
        "mailboat_oauth_token_requests_total",
        MetricKind.COUNTER,
        "Requests for access tokens, made once for all workers: `refused` by the token server, or `failed` without a "
        "usable answer.",
        "result",
        tuple(TokenResult),
    ),
    Metric(
        "mailboat_events_dropped_total",
        MetricKind.COUNTER,
        "Lines of the event log that were lost because the reader of stdout was too slow.",
    ),
    Metric(
        "mailboat_hook_failures_total",
        MetricKind.COUNTER,
        "Hooks of plugins that raised, timed out, or gave an answer that is not valid at their point.",
        "point reason",
        tuple(f"{point} {reason}" for point in Point for reason in HookFailure),
    ),
    Metric(
        "mailboat_plugin_tasks",
        MetricKind.GAUGE,
        "Tasks of plugins now: those started by hooks, and hooks that still run after their timeout.",
    ),
    Metric(
        "mailboat_plugin_stuck_threads", MetricKind.GAUGE, "Threads now that are stuck in a hook after its timeout."
    ),
    Metric(
        "mailboat_config_reloads_total",
        MetricKind.COUNTER,
        "Reloads of the configuration; a failed one changed nothing. A start with the last good set counts as one.",
        "result",
        ("success", "failure"),
    ),
    Metric(
        "mailboat_config_last_reload_successful",
        MetricKind.GAUGE,
        "1 if the last reload succeeded; 0 if it was refused and the previous configuration stays in force, or if the "
        "relay started with the last good set.",
        merge=Merge.MIN,
    ),
    Metric(
        "mailboat_certificate_expiry_timestamp_seconds",
        MetricKind.GAUGE,
        "When the first certificate of the chain in `tls.ini` expires, seconds since the epoch: `server` is shown to "
        "clients, `client` to next hops. Absent if there is none.",
        "use",
        ("server", "client"),
        merge=Merge.MIN,
    ),
    Metric(
        "mailboat_dkim_oldest_key_timestamp_seconds",
        MetricKind.GAUGE,
        "When the oldest DKIM key in use was made, by the day in its selector (`mb20261128r`); seconds since the "
        "epoch. Absent where no selector has a day.",
        merge=Merge.MIN,
    ),
    Metric(
        "mailboat_workers_missing",
        MetricKind.GAUGE,
        "Worker processes that are not up or do not answer; their last counters remain in the sums.",
    ),
    Metric("mailboat_ready", MetricKind.GAUGE, "1 when `/readyz` answers 200, else 0.", merge=Merge.MIN),
    Metric(
        "process_cpu_seconds_total", MetricKind.COUNTER, "User and system time of all processes of the relay, seconds."
    ),
    Metric("process_resident_memory_bytes", MetricKind.GAUGE, "Resident memory of all processes of the relay."),
    Metric("process_open_fds", MetricKind.GAUGE, "Open file descriptors of all processes of the relay."),
    Metric(
        "process_start_time_seconds",
        MetricKind.GAUGE,
        "When the oldest process of the relay started, seconds since the epoch.",
        merge=Merge.MIN,
    ),
)

INFOS: tuple[Metric, ...] = (
    Metric(
        "mailboat_config_info",
        MetricKind.GAUGE,
        "1; the label is the configuration's hash, as `/configz` shows it.",
        "hash",
    ),
    Metric("mailboat_build_info", MetricKind.GAUGE, "1; the label is the relay's version.", "version"),
)
"""Gauges that are always 1 and carry information in their label: one series each."""

BY_NAME = MappingProxyType({metric.name: metric for metric in METRICS})

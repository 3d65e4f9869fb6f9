"""What the relay's Grafana dashboard shows: its rows, top to bottom from what matters first, and its variables.

`make docs` prints it to `charts/mailboat-relay/files/dashboard.json`. A test holds that file and this one together,
another runs each expression against a Prometheus that watches a relay under load.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    Panel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from mailboat.metrics.catalog import METRICS
from observability.panels import GREEN, OUTCOME_COLORS, RED, SOURCE, Look, Marks, Query, graph, number, rows_of
from observability.plain import others
from observability.promql import mean, quantile, rate, series, share, total

UID = "mailboat-relay"
_QUANTILES = (0.5, 0.95, 0.99)

_DELIVERIES = "mailboat_deliveries_total"
_WAITING = "mailboat_shaping_waiting_entries"
_TLS = "mailboat_tls_deliveries_total"
_DISK_FREE = f"{series('mailboat_queue_disk_free_bytes')} / {series('mailboat_queue_disk_size_bytes')}"


def now() -> Sequence[Builder[Panel]]:
    """Whether all is well, at one look."""
    waiting = series("mailboat_queue_messages", 'state!="held"')
    oldest = series("mailboat_queue_oldest_seconds", 'state!="held"')
    return [
        number(
            "Relays ready",
            "Share of the relays whose /readyz answers 200.",
            f"avg({series('mailboat_ready')})",
            "percentunit",
            Marks(1, 0.5, low=True),
        ),
        number("Received", "Messages answered 250.", total(rate("mailboat_received_messages_total")), "cps"),
        number("Delivered", "Recipients.", total(rate(_DELIVERIES, 'outcome="delivered"')), "cps"),
        number(
            "Deferred",
            "Share of all outcomes.",
            share(_DELIVERIES, 'outcome="deferred"'),
            "percentunit",
            Marks(0.2, 0.5),
        ),
        number(
            "Bounced",
            "Share of all outcomes.",
            share(_DELIVERIES, 'outcome="bounced"'),
            "percentunit",
            Marks(0.05, 0.1),
        ),
        number("Waiting", "Queue entries that are not held.", total(waiting)),
        number("Oldest", "Age of the oldest entry that is not held.", f"max({oldest})", "s", Marks(3600, 14400)),
        number(
            "Disk free", "Of the fullest queue volume.", f"min({_DISK_FREE})", "percentunit", Marks(0.3, 0.15, low=True)
        ),
    ]


def mail() -> Sequence[Builder[Panel]]:
    """What comes in and what becomes of it."""
    received = total(rate("mailboat_received_messages_total"), "pod")
    return [
        graph("Received", "Messages answered 250, by pod.", [Query(received, "{{pod}}")], Look("cps", stack=True)),
        graph(
            "Outcomes",
            "Recipients, one an attempt: a deferral is counted again at the next try.",
            [Query(total(rate(_DELIVERIES), "outcome"), "{{outcome}}")],
            Look("cps", stack=True, colors=OUTCOME_COLORS),
        ),
        graph(
            "Refused to clients",
            "Commands, messages and connections, by reason; storage and overload are the relay's own trouble. "
            "Messages with NUL octets, by what `nul` made of them.",
            [
                Query(f"{total(rate('mailboat_rejected_total'), 'reason')} > 0", "{{reason}}"),
                Query(f"{total(rate('mailboat_nul_messages_total'), 'action')} > 0", "NUL: {{action}}"),
            ],
            Look("cps"),
        ),
        graph(
            "Deferred and bounced",
            "Share of all outcomes.",
            [Query(share(_DELIVERIES, f'outcome="{outcome}"'), outcome) for outcome in ("deferred", "bounced")],
            Look("percentunit", maximum=1, colors=OUTCOME_COLORS),
        ),
        graph(
            "Bounce messages",
            "Queued to the sender, or suppressed: null sender, or a plugin's wish.",
            [Query(total(rate("mailboat_bounce_messages_total"), "result"), "{{result}}")],
            Look("cps"),
        ),
        graph(
            "Octets received",
            "By pod.",
            [Query(total(rate("mailboat_received_bytes_total"), "pod"), "{{pod}}")],
            Look("Bps"),
        ),
    ]


def dkim() -> Sequence[Builder[Panel]]:
    """Which mail is signed, by how old keys, and whether the DNS has their records. Empty where there are no keys."""
    judged = "mailboat_dkim_signatures_total"
    received = total(rate("mailboat_received_messages_total"), "pod")
    unsigned = total(rate(judged, 'result="unsigned"'), "pod")
    return [
        graph(
            "Signatures",
            "By algorithm; a message has one for each algorithm that its domain has a key of.",
            [Query(total(rate(judged, 'result="signed"'), "algorithm"), "{{algorithm}}")],
            Look("cps", 6),
        ),
        graph(
            "Unsigned",
            "Share of the received messages that no key is for, by pod.",
            [Query(f"{unsigned} / {received}", "{{pod}}")],
            Look("percentunit", 6, maximum=1),
        ),
        graph(
            "Not signed for trouble",
            "Messages that a key is for and that could not be signed: refused with 451, or sent unsigned (`strict`).",
            [Query(total(rate(judged, 'result="error"'), "pod"), "{{pod}}")],
            Look("cps", 6),
        ),
        graph(
            "Age of the oldest key",
            "Of those in use, by the day in the selector.",
            [Query(f"time() - min by (pod) ({series('mailboat_dkim_oldest_key_timestamp_seconds')})", "{{pod}}")],
            Look("s", 6),
        ),
        graph(
            "Records missing",
            "Keys of all SendingDomains that have signed and whose record a name server does not show, by their state.",
            [Query(total("mailboat_operator_dkim_records_missing", "state"), "{{state}}")],
        ),
    ]


def queue() -> Sequence[Builder[Panel]]:
    """What waits, and for how long."""
    return [
        graph(
            "Entries by state",
            "Active ones are due or under way, deferred ones wait for the next try, held ones for people.",
            [Query(total(series("mailboat_queue_messages"), "state"), "{{state}}")],
            Look(width=6, stack=True),
        ),
        graph(
            "Entries by pod",
            "Held ones too.",
            [Query(total(series("mailboat_queue_messages"), "pod"), "{{pod}}")],
            Look(width=6, stack=True),
        ),
        graph(
            "Oldest entry",
            "Age, by state. An old deferred entry is normal for a dead destination, an old active one never.",
            [Query(f"max by (state) ({series('mailboat_queue_oldest_seconds')})", "{{state}}")],
            Look("s", 6),
        ),
        graph(
            "Octets by state",
            "What the messages take.",
            [Query(total(series("mailboat_queue_bytes"), "state"), "{{state}}")],
            Look("bytes", 6, stack=True),
        ),
    ]


def waiting() -> Sequence[Builder[Panel]]:
    """Why mail waits; `mailboat top` says it of each destination."""
    limits, hosts = 'cause=~"rate|recipient_rate|connections|connection_rate"', 'cause=~"window|backoff"'
    return [
        graph(
            "Entries by cause",
            "A limit of shaping.ini, the learnt window of the hosts, their back-off, or concurrency_max (places); "
            "turn: nothing holds it; retry: the next attempt is not due.",
            [Query(total(series(_WAITING), "cause"), "{{cause}}")],
            Look(stack=True),
        ),
        graph(
            "Held by limits",
            "Entries that limits of shaping.ini hold, by provider, or by destination for mail of none.",
            [Query(total(series(_WAITING, limits), "provider"), "{{provider}}")],
            Look(stack=True),
        ),
        graph(
            "Held by hosts",
            "Entries for hosts that take no more at once (window), or that failed several times in a row (backoff).",
            [Query(total(series(_WAITING, hosts), "provider, cause"), "{{provider}}: {{cause}}")],
            Look(stack=True),
        ),
    ]


def delivery() -> Sequence[Builder[Panel]]:
    """How the next hops behave."""
    took, age = "mailboat_delivery_duration_seconds", "mailboat_message_age_seconds"
    return [
        graph(
            "Duration of attempts",
            "From the look-up to the last reply, whatever came of it.",
            [Query(quantile(q, took), f"{q:.0%}") for q in _QUANTILES],
            Look("s"),
        ),
        graph(
            "Age at delivery",
            "From the 250 to the client to the 250 of the next hop.",
            [Query(quantile(q, age), f"{q:.0%}") for q in _QUANTILES],
            Look("s"),
        ),
        graph(
            "Connections",
            "Now; to next hops idle ones included.",
            [
                Query(total(series("mailboat_outbound_connections")), "to next hops"),
                Query(total(series("mailboat_inbound_connections")), "of clients"),
            ],
        ),
        graph(
            "TLS by version",
            "Share of the delivered recipients; none is plain text.",
            [Query(f"{total(rate(_TLS), 'version')} / on () group_left () ({total(rate(_TLS))} > 0)", "{{version}}")],
            Look("percentunit", stack=True, maximum=1, colors=(("none", RED), ("TLSv1.3", GREEN))),
        ),
        graph(
            "DNS look-ups",
            "By result; cached ones asked nobody.",
            [Query(total(rate("mailboat_dns_queries_total"), "result"), "{{result}}")],
            Look("cps", stack=True),
        ),
        graph(
            "Trouble of our own",
            "Source address missing; credentials refused by a next hop; no token; deliveries that may arrive twice.",
            [
                Query(total(rate("mailboat_bind_failures_total")), "source address missing"),
                Query(total(rate("mailboat_upstream_auth_failures_total")), "credentials refused"),
                Query(total(rate("mailboat_oauth_token_requests_total", 'result!="ok"')), "no access token"),
                Query(total(rate("mailboat_ambiguous_deliveries_total")), "may arrive twice"),
            ],
            Look("cps"),
        ),
    ]


def tls_policies() -> Sequence[Builder[Panel]]:
    """Who demands how much TLS, and whether hosts have it."""
    results = "mailboat_tls_policy_results_total"
    return [
        graph(
            "TLS policies that were met",
            "Attempts that used a host, by who demanded TLS of it; none: nobody did.",
            [Query(total(rate(results, 'result="met"'), "policy"), "{{policy}}")],
            Look("cps", stack=True),
        ),
        graph(
            "TLS policies that failed",
            "Hosts without the TLS that is demanded of them, by who demands it: mail for them waits.",
            [Query(total(rate(results, 'policy!="none", result="failed"'), "policy"), "{{policy}}")],
            Look("cps"),
        ),
        graph(
            "DANE available",
            "1, or 0: no DNS server that is trusted to validates answers, and DANE is not used.",
            [Query(f"min by (pod) ({series('mailboat_dane_available')})", "{{pod}}")],
            Look(maximum=1),
        ),
        graph(
            "Fetches of MTA-STS policies",
            "A day, by result; one a domain at first, and again before its policy ends.",
            [Query(total(f"increase({series('mailboat_sts_fetches_total')}[1d])", "result"), "{{result}}")],
        ),
        graph(
            "Reports on TLS",
            "A day, by result: queued as mail, posted by HTTPS, or failed.",
            [Query(total(f"increase({series('mailboat_tlsrpt_reports_total')}[1d])", "result"), "{{result}}")],
        ),
        graph(
            "Reports on TLS complete",
            "Time since until when all were sent or given up: up to 28 hours, or 52 while one is retried.",
            [Query(f"time() - min by (pod) ({series('mailboat_tlsrpt_complete_until_timestamp_seconds')})", "{{pod}}")],
            Look("s"),
        ),
    ]


def storage() -> Sequence[Builder[Panel]]:
    """What the disk costs and how full it is."""
    took, size = "mailboat_commit_duration_seconds", "mailboat_commit_messages"
    return [
        graph(
            "Duration of commits",
            "Every 250 waits for one, its fsync included.",
            [Query(quantile(q, took), f"{q:.0%}") for q in _QUANTILES],
            Look("s", 6),
        ),
        graph(
            "Messages a commit",
            "How many 250 share one fsync; a commit that only records deliveries has none.",
            [Query(mean(size), "mean"), Query(quantile(0.95, size), "95%")],
            Look(width=6),
        ),
        graph(
            "Volume free",
            "Share of the queue volume that the relay may still fill, by pod.",
            [
                Query(
                    f"{series('mailboat_queue_disk_free_bytes')} / {series('mailboat_queue_disk_size_bytes')}",
                    "{{pod}}",
                )
            ],
            Look("percentunit", 6, maximum=1),
        ),
        graph(
            "Volume",
            "Octets, over all pods.",
            [
                Query(total(series("mailboat_queue_disk_size_bytes")), "size"),
                Query(total(series("mailboat_queue_disk_free_bytes")), "free"),
                Query(total(series("mailboat_queue_bytes")), "messages"),
            ],
            Look("bytes", 6),
        ),
    ]


def configuration() -> Sequence[Builder[Panel]]:
    """Which configuration runs where, and what the processes use."""
    return [
        rows_of(
            "Running configuration",
            "Two hashes for longer than a reload takes: not every pod has the configuration yet.",
            f"{series('mailboat_config_info')} * on (namespace, job, pod, instance) group_left (version) "
            f"{series('mailboat_build_info')}",
            [("pod", "Pod"), ("version", "Version"), ("hash", "Configuration")],
            8,
        ),
        graph(
            "Source address there",
            "1, or 0: an address that this pod must send from is not on its machine, and mail waits for it.",
            [Query(f"min by (pod) ({series('mailboat_bind_address_available')})", "{{pod}}")],
            Look(width=5, maximum=1),
        ),
        graph(
            "Last reload taken",
            "1, or 0: the files hold a fault and the last good configuration runs.",
            [Query(series("mailboat_config_last_reload_successful"), "{{pod}}")],
            Look(width=5, maximum=1),
        ),
        graph(
            "Certificates",
            "Time until the first of a chain expires: of the one that clients are shown, and of the one for next hops.",
            [Query(f"min by (use) ({series('mailboat_certificate_expiry_timestamp_seconds')}) - time()", "{{use}}")],
            Look("s", 6),
        ),
        graph(
            "Reloads",
            "A minute, by result.",
            [Query(f"60 * {total(rate('mailboat_config_reloads_total'), 'result')}", "{{result}}")],
            Look("cpm", 6),
        ),
    ]


def plugins() -> Sequence[Builder[Panel]]:
    """How plugins fare."""
    return [
        graph(
            "Failures of plugins",
            "Hooks that raised, took too long or answered nonsense, by point and reason.",
            [
                Query(
                    f"{total(rate('mailboat_hook_failures_total'), 'point, reason')} > 0",
                    "{{point}}: {{reason}}",
                )
            ],
            Look("cps"),
        ),
        graph(
            "Tasks of plugins",
            "Started by hooks, or hooks that were given up and do not end.",
            [Query(total(series("mailboat_plugin_tasks"), "pod"), "{{pod}}")],
        ),
        graph(
            "Threads stuck in plugins",
            "In hooks that were given up.",
            [Query(total(series("mailboat_plugin_stuck_threads"), "pod"), "{{pod}}")],
        ),
    ]


def process() -> Sequence[Builder[Panel]]:
    """What the relays use."""
    started = series("process_start_time_seconds")
    return [
        graph(
            "CPU", "Cores, by pod.", [Query(total(rate("process_cpu_seconds_total"), "pod"), "{{pod}}")], Look(width=6)
        ),
        graph("Memory", "Resident.", [Query(series("process_resident_memory_bytes"), "{{pod}}")], Look("bytes", 6)),
        graph(
            "Workers missing",
            "Worker processes that are not up or do not answer.",
            [Query(series("mailboat_workers_missing"), "{{pod}}")],
            Look(width=4),
        ),
        graph("File descriptors", "Open.", [Query(series("process_open_fds"), "{{pod}}")], Look(width=4)),
        graph("Uptime", "Since the process began.", [Query(f"time() - {started}", "{{pod}}")], Look("s", 4)),
        graph(
            "Event lines lost",
            "Because nobody read the event log fast enough.",
            [Query(total(rate("mailboat_events_dropped_total"), "pod"), "{{pod}}")],
            Look("cps", 4),
        ),
    ]


ROWS = (
    ("Now", now),
    ("Mail", mail),
    ("DKIM", dkim),
    ("Queue", queue),
    ("Why does mail wait", waiting),
    ("Delivery", delivery),
    ("TLS policies", tls_policies),
    ("Storage", storage),
    ("Configuration", configuration),
    ("Plugins", plugins),
    ("Process", process),
)


def build() -> Dashboard:
    """The dashboard, as Grafana's own types. Metrics that no row has a panel for come last, as their table says."""
    board = (
        builders.Dashboard("Mailboat relay")
        .uid(UID)
        .description("Mail in, mail out, what waits, and what the relays live on.")
        .tags(["mailboat", "mail"])
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_label("namespace", "mailboat_build_info", all_value=".*"))
        .with_variable(_label("job", 'mailboat_build_info{namespace=~"$namespace"}'))
        .with_variable(_label("pod", 'mailboat_build_info{namespace=~"$namespace", job=~"$job"}', all_value=".*"))
    )
    for title, panels in ROWS:
        board.with_row(builders.Row(title))
        for panel in panels():
            board.with_panel(panel)
    rest = others(METRICS, json.dumps(board.build(), cls=JSONEncoder))
    if rest:
        board.with_row(builders.Row("More"))
    for panel in rest:
        board.with_panel(panel)
    built = board.build()
    for place, shown in enumerate(built.panels or [], 1):
        shown.id_val = place
    return built


def _label(name: str, of: str, all_value: str = "") -> builders.QueryVariable:
    """A choice of values of a label; `all_value` also matches series without it."""
    variable = (
        builders.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({of}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )
    return variable.all_value(all_value) if all_value else variable


def text() -> str:
    """The dashboard as the file says it."""
    return json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"

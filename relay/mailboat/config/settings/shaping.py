"""`shaping.ini`: limits by destination, and rules from replies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailboat.config import shaping_values, values
from mailboat.config.nouns import InetPrefer, TlsLevel
from mailboat.config.settings.key import setting
from mailboat.config.shaping_values import Unset, said
from mailboat.shaping.limits import Limit, LimitKey, WindowRange, parse_window
from mailboat.shaping.pattern import Pattern, Regex
from mailboat.shaping.rules import ALL_STAGES, RuleAction, RulePer, RuleStage, RuleTrigger, parse_trigger
from mailboat.shaping.scopes import Scope

SHAPED_TLS = (TlsLevel.OPPORTUNISTIC, TlsLevel.REQUIRED)
_LESS_SPECIFIC = "as in a less specific section"
_AS_IN_OUTBOUND = "Property: as in outbound.ini."


INTERVALS = "temp_fail_intervals"
"""The property that says when mail is tried again."""
WINDOW = "window"
"""The property of a destination, which domains share."""
TIMEOUTS = (
    "connect_timeout",
    "helo_timeout",
    "mail_timeout",
    "rcpt_timeout",
    "data_timeout",
    "dot_timeout",
    "quit_timeout",
    "attempt_timeout",
)
"""Properties that outbound.ini has by the same name, in seconds."""


class ShapingTable(StrEnum):
    """The table of providers to begin with."""

    BUILTIN = "builtin"
    NONE = "none"


class BuiltinRules(StrEnum):
    """Which rules of the built-in table count."""

    FIRST_HAND = "first-hand"
    """Those of which the provider itself says what its replies mean."""
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ShapingSettings:
    """`[main]`."""

    table: ShapingTable = setting(
        ShapingTable.BUILTIN,
        values.choice(ShapingTable),
        "`builtin`: the relay's [table of providers](providers.md) holds, except where this file says otherwise; "
        "`none`: this file alone.",
    )
    rules: BuiltinRules = setting(
        BuiltinRules.FIRST_HAND,
        values.choice(BuiltinRules),
        "Rules of that table: `first-hand`, those that rest on what the provider itself publishes; `all`; `none`.",
    )


@dataclass(frozen=True, slots=True)
class ScopeSettings:
    """`[default]`, `[site:HOST]`, `[domain:NAME]` and `[route:NAME]`."""

    connections: Limit | Unset | None = setting(
        None,
        said(shaping_values.limit(LimitKey.CONNECTIONS)),
        "Limit: open connections, idle ones included.",
        shown_default=_LESS_SPECIFIC,
    )
    rate: Limit | Unset | None = setting(
        None,
        said(shaping_values.limit(LimitKey.RATE)),
        "Limit: messages, as `N/T` or `N/T burst B` with T in `s`, `m`, `h` or `d`. Messages that reach DATA count.",
        shown_default=_LESS_SPECIFIC,
    )
    recipient_rate: Limit | Unset | None = setting(
        None,
        said(shaping_values.limit(LimitKey.RECIPIENT_RATE)),
        "Limit: recipients that are accepted, in the same form.",
        shown_default=_LESS_SPECIFIC,
    )
    connection_rate: Limit | Unset | None = setting(
        None,
        said(shaping_values.limit(LimitKey.CONNECTION_RATE)),
        "Limit: connections that are begun, in the same form.",
        shown_default=_LESS_SPECIFIC,
    )
    messages_per_connection: int | Unset | None = setting(
        None,
        said(values.integer(1, 1_000_000)),
        "Property: as `connection_max_messages` in outbound.ini.",
        shown_default=_LESS_SPECIFIC,
    )
    recipients_per_message: int | Unset | None = setting(
        None,
        said(values.integer(1, 10_000)),
        "Property: recipients of one transaction; the others are in the next one.",
        shown_default="as many as the host takes",
    )
    connection_idle_timeout: float | Unset | None = setting(
        None, said(values.seconds(0, 3600)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    window: WindowRange | Unset | None = setting(
        None,
        said(parse_window),
        "Property: concurrent attempts to one destination in each worker, `START-MAX`: the relay begins with START and "
        "learns how many the hosts accept; or a number, and nothing is learnt. Never more than "
        "`destination_concurrency_max` in outbound.ini. Domains share destinations: not in `[domain:NAME]`.",
        shown_default="2-20, with the maximum of outbound.ini",
    )
    temp_fail_intervals: tuple[float, ...] | Unset | None = setting(
        None,
        said(values.intervals),
        "Property: as in outbound.ini. While the hosts of mail are not known, the longest of all delays hold.",
        shown_default=_LESS_SPECIFIC,
    )
    connect_timeout: float | Unset | None = setting(
        None, said(values.seconds(1, 3600)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    helo_timeout: float | Unset | None = setting(
        None, said(values.seconds(1, 86400)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    mail_timeout: float | Unset | None = setting(
        None, said(values.seconds(1, 86400)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    rcpt_timeout: float | Unset | None = setting(
        None, said(values.seconds(1, 86400)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    data_timeout: float | Unset | None = setting(
        None, said(values.seconds(1, 86400)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    dot_timeout: float | Unset | None = setting(
        None, said(values.seconds(1, 86400)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    quit_timeout: float | Unset | None = setting(
        None, said(values.seconds(1, 3600)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    attempt_timeout: float | Unset | None = setting(
        None, said(values.seconds(10, 86400)), _AS_IN_OUTBOUND, shown_default=_LESS_SPECIFIC
    )
    inet: InetPrefer | Unset | None = setting(
        None, said(values.inet_prefer), "Property: as `inet_prefer` in outbound.ini.", shown_default=_LESS_SPECIFIC
    )
    tls: TlsLevel | Unset | None = setting(
        None,
        said(values.choice(SHAPED_TLS)),
        "Property: `required`: verified STARTTLS or defer; `opportunistic`: what else holds. It never lowers what a "
        "policy, tls.ini or a route demands.",
        shown_default=_LESS_SPECIFIC,
    )
    separate: bool | Unset | None = setting(
        None,
        said(values.boolean),
        "Property of a domain: it does not count for its site and its provider, whose limits it leaves.",
        shown_default=_LESS_SPECIFIC,
    )
    replace: bool = setting(
        False, values.boolean, "Nothing holds that the built-in table says in a section of this name."
    )


@dataclass(frozen=True, slots=True)
class ProviderSettings(ScopeSettings):
    """`[provider:NAME]`."""

    mx: tuple[str, ...] = setting(
        (),
        shaping_values.names,
        "Its MX hosts, separated by commas: a name, or `.example.net` for all names below. All hosts of a domain must "
        "be among them.",
        ini="mx[]",
    )
    domain: tuple[str, ...] = setting(
        (),
        shaping_values.names,
        "Recipient domains that belong to it whatever their MX hosts are, in the same form.",
        ini="domain[]",
    )
    sample_mx: tuple[tuple[str, ...], ...] = setting(
        (),
        shaping_values.sample_mx,
        "MX hosts of a domain that belongs to it, separated by commas. At least one, unless it has no `mx`: a provider "
        "that does not match its own samples is refused.",
        ini="sample_mx[]",
    )


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """`[rule:NAME]`."""

    on: tuple[Scope, ...] = setting(
        (),
        shaping_values.scopes,
        "Sections whose replies it looks at, separated by commas, such as `provider:yahoo`.",
        shown_default="all mail, after the rules of sections",
    )
    stage: frozenset[RuleStage] = setting(
        ALL_STAGES,
        shaping_values.stages,
        f"Stages at which the reply arrives, separated by commas: {', '.join(f'`{stage}`' for stage in RuleStage)}.",
        shown_default="all but `connect`",
    )
    reply: tuple[Pattern, ...] = setting(
        (),
        shaping_values.pattern,
        "Pattern of the reply: `*` is anything, `#` one or more digits, `\\*` and `\\#` these characters. It is "
        "compared with the whole reply, without case: the code, and the lines joined by blanks; an enhanced code that "
        "each line repeats is kept once.",
        ini="reply[]",
    )
    regex: tuple[Regex, ...] = setting(
        (),
        shaping_values.regex,
        "Regular expression in Python's syntax, compared like a pattern, for what that cannot say. What is repeated "
        "may not have a repetition or a choice in it, and at most two parts may be repeated without a limit.",
        ini="regex[]",
        no_field="whoever writes resources must not decide how long a comparison takes",
    )
    sample: tuple[str, ...] = setting(
        (), shaping_values.sample, "A reply that must fire it; at least one for each pattern.", ini="sample[]"
    )
    others: tuple[str, ...] = setting((), shaping_values.sample, "A reply that must not match.", ini="not[]")
    trigger: RuleTrigger = setting(
        RuleTrigger(), parse_trigger, "`N/T`: it fires at N matches within T; `1`: at each match."
    )
    per: frozenset[RulePer] = setting(
        frozenset(),
        shaping_values.per,
        f"What it acts on, separated by commas: {', '.join(f'`{per}`' for per in RulePer)}.",
        shown_default="the section of `on`, for each source",
    )
    action: tuple[RuleAction, ...] = setting(
        (),
        shaping_values.action,
        "`suspend`; `rate *F floor N/T` or `rate =N/T`; `connections` and `messages_per_connection` likewise with "
        "numbers; `retry SPAN`; `defer` (a permanent refusal counts as temporary); `fail` (the reverse); `alert`.",
        ini="action[]",
    )
    spans: tuple[float, ...] = setting(
        (),
        shaping_values.spans,
        "How long it holds, such as `2h`; of several, separated by commas, the next one holds if it fires again soon.",
        ini="for",
    )
    recover: float | None = setting(
        None,
        values.optional(shaping_values.recover),
        "`x2 every SPAN`: the time between two steps back to normal.",
        shown_default="a quarter of `for`, at least 5 m",
    )

"""`spec.shaping` of an OutboundConfig: the `shaping.ini` that pods read, the hash that they report, and its faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.outbound_config import KEY, UID, faults_of, files, in_pod, parsed, rendered, resolved
from tests.support.shaping import shaping_table

from mailboat.config.hash import config_hash
from mailboat.shaping.scopes import Scope, ScopeKind
from mailboat.shaping.table import LimitTable
from mailboat_operator.desired.children import build
from mailboat_operator.relay_check import RelayFaults, relay_faults
from mailboat_operator.shaping import COMPARISONS_MAX
from mailboat_operator.status import Findings, Type, verdicts

PROVIDER = {"name": "p", "mx": [".p.test"], "sampleMX": [["a.p.test", "b.p.test"]]}
RULE: dict[str, Any] = {
    "name": "too-many",
    "replies": ["421 *too many*"],
    "samples": ["421 4.7.0 too many connections"],
    "actions": [{"type": "Suspend"}],
    "for": ["15m"],
}


def checked(shaping: dict[str, Any]) -> RelayFaults:
    spec = parsed({"shaping": shaping})
    return relay_faults(spec, build(KEY, UID, spec, resolved(spec), bytes(32)))


def said(table: LimitTable) -> tuple[Any, ...]:
    """A table without the lines in which it is said."""
    sections = {
        str(where): {key: one.value for key, one in section.items()} for where, section in table.sections.items()
    }
    return {where: keys for where, keys in sections.items() if keys}, table.providers, table.rules


def table_of(shaping: dict[str, Any]) -> LimitTable:
    text = files(rendered({"shaping": shaping}))["shaping.ini"].decode()
    return shaping_table(text)


def test_a_pod_reads_the_shaping_of_the_resource_and_reports_the_hash_that_the_operator_expects(tmp_path: Path) -> None:
    spec = {
        "shaping": {
            "providers": [PROVIDER],
            "scopes": [{"scope": "Provider", "name": "p", "limits": {"connections": {"value": 3}}, "inet": "v4-only"}],
        }
    }
    found = in_pod(tmp_path, spec)
    section = found.shaping.sections[Scope(ScopeKind.PROVIDER, "p")]
    assert {key: str(one.value) for key, one in section.items()} == {"connections": "3", "inet": "v4-only"}
    assert found.hash == rendered(spec).hash


def test_without_shaping_there_is_no_file_and_the_hash_is_what_it_was() -> None:
    desired = rendered({})
    found = files(desired)
    assert "shaping.ini" not in found
    assert desired.hash == config_hash(found["outbound.ini"], found["tls.ini"])


def test_shaping_that_says_nothing_changes_nothing_of_the_built_in_table() -> None:
    assert said(table_of({})) == said(shaping_table())


SPAN = st.builds("{}{}".format, st.integers(1, 20), st.sampled_from("smh"))
COUNT = st.integers(1, 10_000)
SUFFIXES = st.fixed_dictionaries(
    {},
    optional={
        "per": st.sampled_from(["Site", "Domain", "Host", "Address"]),
        "allSources": st.booleans(),
        "each": st.sampled_from(["Pod", "Worker"]),
    },
)


def suffixed(amount: str, suffixes: dict[str, Any]) -> str:
    """A limit as it is written by hand."""
    per, each = suffixes.get("per"), suffixes.get("each")
    return (
        amount
        + (f" per {per.lower()}" if per else "")
        + (" all sources" if suffixes.get("allSources") else "")
        + (f" each {each.lower()}" if each else "")
    )


@st.composite
def rates(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    count, period, suffixes = draw(COUNT), draw(SPAN), draw(SUFFIXES)
    burst = draw(st.none() | st.integers(1, count))
    field = {"count": count, "period": period, **suffixes, **({} if burst is None else {"burst": burst})}
    return field, suffixed(f"{count}/{period}" + ("" if burst is None else f" burst {burst}"), suffixes)


NONE = st.just(({"none": True}, "none"))
CONNECTIONS = st.builds(lambda n, more: ({"value": n, **more}, suffixed(str(n), more)), COUNT, SUFFIXES) | NONE
LIMITS: dict[str, tuple[str, st.SearchStrategy[tuple[dict[str, Any], str]]]] = {
    "connections": ("connections", CONNECTIONS),
    "rate": ("rate", rates() | NONE),
    "recipientRate": ("recipient_rate", rates() | NONE),
    "connectionRate": ("connection_rate", rates()),
}
PROPERTIES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "messagesPerConnection": ("messages_per_connection", COUNT),
    "recipientsPerMessage": ("recipients_per_message", COUNT),
    "connectionIdleTimeoutSeconds": ("connection_idle_timeout", st.integers(0, 3600)),
    "window": ("window", st.sampled_from(["2-20", "1-1", "7"])),
    "tempFailIntervals": ("temp_fail_intervals", st.sampled_from(["1m, 5m*2", "none"])),
    "connectTimeoutSeconds": ("connect_timeout", st.integers(1, 3600)),
    "attemptTimeoutSeconds": ("attempt_timeout", st.integers(10, 86400)),
    "inet": ("inet", st.sampled_from(["both", "v4", "v6", "v4-only", "v6-only"])),
    "tls": ("tls", st.sampled_from(["Opportunistic", "Required"])),
    "separate": ("separate", st.booleans()),
    "replace": ("replace", st.booleans()),
}
SCOPES = [
    ("Default", "", "default"),
    ("Provider", "p", "provider:p"),
    ("Provider", "google", "provider:google"),
    ("Site", "mx.example.net", "site:mx.example.net"),
    ("Domain", "example.org", "domain:example.org"),
    ("Domain", ".example.org", "domain:.example.org"),
]


@st.composite
def scopes(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Scopes, and the lines that somebody would write for the same."""
    found, lines = [], []
    for kind, name, section in draw(st.lists(st.sampled_from(SCOPES), unique=True)):
        source = draw(st.sampled_from(["", "default"]))
        scope: dict[str, Any] = {"scope": kind, **({"name": name} if name else {})}
        scope |= {"source": source} if source else {}
        lines.append(f"[{section} @{source}]" if source else f"[{section}]")
        unset = []
        for field, (key, values) in {**LIMITS, **PROPERTIES}.items():
            match draw(st.sampled_from(["", "", "set", "unset"])) if (kind, field) != ("Domain", "window") else "":
                case "unset" if field != "replace":
                    unset.append(field)
                    lines.append(f"{key}=unset")
                case "set" if field in LIMITS:
                    value, text = draw(values)
                    scope.setdefault("limits", {})[field] = value
                    lines.append(f"{key}={text}")
                case "set":
                    scope[field] = draw(values)
                    lines.append(f"{key}={str(scope[field]).lower()}")
        found.append(scope | ({"unset": unset} if unset else {}))
    return found, lines


@settings(max_examples=60, deadline=None)
@given(
    given_scopes=scopes(),
    table=st.sampled_from(["Builtin", "None"]),
    rules=st.sampled_from([("FirstHand", "first-hand"), ("All", "all"), ("None", "none")]),
)
def test_a_rendered_table_is_that_of_the_ini_file_that_says_the_same(
    given_scopes: tuple[list[dict[str, Any]], list[str]], table: str, rules: tuple[str, str]
) -> None:
    by_hand = "\n".join(given_scopes[1])
    google = {"name": "google", "mx": [".google.test"], "sampleMX": [["mx.google.test"]]}
    hand = "[provider:p]\nmx[]=.p.test\nsample_mx[]=a.p.test, b.p.test\n"
    providers = [PROVIDER]
    if table == "None":
        providers.append(google)
        hand += "[provider:google]\nmx[]=.google.test\nsample_mx[]=mx.google.test\n"
    shaping = {"table": table, "rulesFrom": rules[0], "providers": providers, "scopes": given_scopes[0]}

    assert said(table_of(shaping)) == said(shaping_table(f"table={table.lower()}\nrules={rules[1]}\n{hand}{by_hand}\n"))


ACTIONS = st.sampled_from(
    [
        ({"type": "Suspend"}, "suspend"),
        ({"type": "Rate", "factor": 0.5, "floor": {"count": 6, "period": "1m"}}, "rate *0.5 floor 6/1m"),
        ({"type": "Rate", "value": {"count": 9, "period": "1h", "burst": 2}}, "rate =9/1h burst 2"),
        ({"type": "Connections", "factor": 0.25, "floor": {"count": 1}}, "connections *0.25 floor 1"),
        ({"type": "Connections", "value": {"count": 2}}, "connections =2"),
        ({"type": "MessagesPerConnection", "value": {"count": 5}}, "messages_per_connection =5"),
        ({"type": "Retry", "after": "10m"}, "retry 10m"),
        ({"type": "Defer"}, "defer"),
        ({"type": "Fail"}, "fail"),
        ({"type": "Alert"}, "alert"),
    ]
)
STAGES = ["Connect", "Greeting", "Ehlo", "StartTLS", "Auth", "Mail", "Rcpt", "Data", "Dot"]
RULE_PER = ["Source", "Provider", "Site", "Domain", "Tenant", "Entry"]


@st.composite
def rule_pairs(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A rule, and the lines that somebody would write for the same."""
    rule: dict[str, Any] = {**RULE, "not": ["421 too few"]}
    lines = ["[rule:too-many]", f"reply[]={RULE['replies'][0]}", f"sample[]={RULE['samples'][0]}", "not[]=421 too few"]
    actions = draw(st.lists(ACTIONS, min_size=1, max_size=3))
    rule["actions"] = [action for action, _ in actions]
    lines += [f"action[]={text}" for _, text in actions]
    rule["for"] = draw(st.lists(SPAN, min_size=1, max_size=3))
    lines.append(f"for={', '.join(rule['for'])}")
    if stages := draw(st.lists(st.sampled_from(STAGES), unique=True)):
        rule["stages"] = stages
        lines.append(f"stage={', '.join(stages).lower()}")
    if per := draw(st.lists(st.sampled_from(RULE_PER), unique=True)):
        rule["per"] = per
        lines.append(f"per={', '.join(per).lower()}")
    if draw(st.booleans()):
        rule["on"] = [{"scope": "Provider", "name": "p"}, {"scope": "Default"}]
        lines.append("on=provider:p, default")
    if draw(st.booleans()):
        rule["trigger"] = {"count": 2, "period": "1h"}
        lines.append("trigger=2/1h")
    if draw(st.booleans()):
        rule["recover"] = {"every": "5m"}
        lines.append("recover=x2 every 5m")
    return rule, "\n".join(lines)


@settings(max_examples=40, deadline=None)
@given(pair=rule_pairs())
def test_a_rendered_rule_is_that_of_the_ini_file_that_says_the_same(pair: tuple[dict[str, Any], str]) -> None:
    rule, lines = pair
    hand = f"[provider:p]\nmx[]=.p.test\nsample_mx[]=a.p.test, b.p.test\n{lines}\n"
    assert said(table_of({"providers": [PROVIDER], "rules": [rule]})) == said(shaping_table(hand))


def rule(**changes: Any) -> dict[str, Any]:
    return {"rules": [{**RULE, **changes}]}


def scope(**changes: Any) -> dict[str, Any]:
    return {"scopes": [{"scope": "Default", **changes}]}


@pytest.mark.parametrize(
    ("shaping", "fault"),
    [
        ({"providers": [PROVIDER, PROVIDER]}, "providers[1].name: another one is 'p', too"),
        ({"providers": [{**PROVIDER, "name": "a]"}]}, "providers[0].name: 'a]' is not a name"),
        ({"providers": [{**PROVIDER, "mx": ["a,b"]}]}, "providers[0].mx[0]: 'a,b' is not one item"),
        ({"providers": [{**PROVIDER, "sampleMX": [["a,b"]]}]}, "providers[0].sampleMX[0]: is not a list of hosts"),
        ({"scopes": [{"scope": "Default"}] * 2}, "scopes[1]: scopes before number 1 have [default], too"),
        (scope(limits={"connections": {"value": 0}}), "scopes[0].limits.connections: is not a whole number"),
        (scope(limits={"rate": {"count": 3, "period": "1m", "burst": 4}}), "scopes[0].limits.rate: has a burst of 4"),
        (scope(limits={"rate": {"none": True, "per": "Site"}}), "scopes[0].limits.rate: is no limit"),
        (scope(tls="Disabled"), "scopes[0].tls: "),
        (scope(unset=["replace"]), "scopes[0].unset[0]: 'replace' is not the name of a limit or of a property"),
        (scope(inet="v4", unset=["inet"]), "scopes[0].unset[0]: inet is set as well"),
        (scope(scope="Domain", name="a, b"), "scopes[0].name: 'a, b' has a comma"),
        (rule(replies=["a\nb"]), "rules[0].replies[0]: the value has a line end"),
        (rule(replies=["\\x"]), "rules[0].replies[0]: has a backslash"),
        (rule(actions=[{"type": "Rate"}]), "rules[0].actions[0]: is not `rate *FACTOR floor LEAST`"),
        (rule(actions=[{"type": "Suspend", "after": "1m"}]), "rules[0].actions[0]: suspend takes nothing more"),
        (rule(**{"for": ["soon"]}), "rules[0].for[0]: is not a time"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(shaping: dict[str, Any], fault: str) -> None:
    (found,) = faults_of({"shaping": shaping})
    assert found.startswith(f"spec.shaping.{fault}")
    assert found.endswith("(rule too-many)") == ("rules" in shaping)


@pytest.mark.parametrize(
    ("shaping", "fault"),
    [
        (rule(samples=["421 nothing"]), "rules[0].samples: '421 nothing' matches none of its patterns (rule too-many)"),
        (
            {"rules": [RULE, {**RULE, "name": "b"}]},
            f"rules[1].samples: '{RULE['samples'][0]}' never fires it, because [rule:too-many] comes first (rule b)",
        ),
        (rule(on=[{"scope": "Provider", "name": "gogle"}]), "rules[0].on: provider:gogle: there is no provider gogle"),
        ({"providers": [{**PROVIDER, "sampleMX": [["c.test"]]}]}, "providers[0].sampleMX: c.test: not all are in mx"),
        (scope(scope="Route", name="a"), "scopes[0]: outbound.ini has no [route:a]"),
        (scope(source="b"), "scopes[0]: there is no source b"),
    ],
)
def test_what_only_the_whole_table_shows_is_told_with_its_path(shaping: dict[str, Any], fault: str) -> None:
    found = checked(shaping)
    assert found.refs == ()
    assert any(one.startswith(f"spec.shaping.{fault}") for one in found.spec), found.spec


def test_what_pods_only_warn_of_is_no_fault() -> None:
    found = checked(scope(limits={"connections": {"value": 2, "per": "Host"}}))
    assert found.spec == ()
    assert found.warnings[0].startswith("spec.shaping.scopes[0].limits.connections: ")


def test_more_patterns_and_samples_than_the_operator_compares_are_refused() -> None:
    rules = [
        {**RULE, "name": f"r{n}", "replies": [f"*{n}*{p}" for p in range(16)], "samples": ["4" * 512] * 16}
        for n in range(8)
    ]
    assert COMPARISONS_MAX < 8 * 16 * 8 * 16 * 512
    assert faults_of({"shaping": {"rules": rules}}) == (
        "spec.shaping.rules: have too many patterns and samples: fewer, or shorter samples",
    )


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (("spec.shaping.rules[0].for: bad",), "ShapingInvalid"),
        (("spec.shaping.rules[0].for: bad", "spec.routes[0].name: bad"), "InvalidSpec"),
    ],
)
def test_faults_of_shaping_alone_have_a_reason_of_their_own(faults: tuple[str, ...], reason: str) -> None:
    found = verdicts(Findings(faults=faults))
    assert found[Type.ACCEPTED].reason == found[Type.READY].reason == reason
    assert found[Type.READY].status == "False"

"""The dashboard shows only what the relay counts."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from observability.dashboard import UID
from observability.plain import others
from tests.support.monitoring import DASHBOARD, KNOWN, OF_OPERATOR, dashboard, expressions, label_values, panels
from tests.support.promql import selectors

from mailboat.metrics.catalog import Metric, MetricKind

TARGET_LABELS = {"namespace", "job", "pod", "instance"}


def test_its_uid_is_fixed_and_its_data_source_is_the_readers_choice() -> None:
    board = dashboard()
    assert board["uid"] == UID
    sources = {panel["datasource"]["uid"] for panel in panels()}
    sources |= {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert sources == {"${datasource}"}


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_each_expression_uses_metrics_and_labels_that_are_there(title: str, expression: str) -> None:
    used = selectors(expression)
    assert used, title
    for selector in used:
        metric = (KNOWN | OF_OPERATOR)[selector.family]
        assert (selector.name != selector.family) == (metric.kind is MetricKind.HISTOGRAM)
        for label, _, value in selector.matchers:
            if label not in TARGET_LABELS:
                assert set(value.split("|")) <= label_values(metric)[label]


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_each_expression_is_about_the_chosen_relays(title: str, expression: str) -> None:
    for selector in selectors(expression):
        chosen = {label for label, operator, value in selector.matchers if (operator, value) == ("=~", f"${label}")}
        assert chosen == (set() if selector.family in OF_OPERATOR else {"namespace", "job", "pod"}), title


def test_each_variable_is_defined() -> None:
    defined = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) - {"__rate_interval", "__all"}
    assert used == defined


def test_each_metric_of_the_relay_is_shown_somewhere() -> None:
    shown = {selector.family for _, expression in expressions() for selector in selectors(expression)}
    assert KNOWN.keys() - shown == set(), "make docs"


PLAIN = [
    (
        Metric("mailboat_new_total", MetricKind.COUNTER, "New ones.", "reason", ("a", "b")),
        "sum by (reason) (rate({}[",
        "cps",
    ),
    (Metric("mailboat_new", MetricKind.GAUGE, "New ones."), "sum by (pod) ({})", "short"),
    (
        Metric("mailboat_new_seconds", MetricKind.HISTOGRAM, "New ones.", buckets=(1.0,)),
        "histogram_quantile(0.95, ",
        "s",
    ),
]


@pytest.mark.parametrize(("metric", "expression", "unit"), PLAIN, ids=lambda value: str(getattr(value, "kind", "")))
def test_a_metric_without_a_panel_gets_one_from_its_row_in_the_table(
    metric: Metric, expression: str, unit: str
) -> None:
    assert others([metric], f"rate({metric.name}{{pod='x'}}[5m])") == []
    (builder,) = others([metric], "another_" + metric.name + "{}" + metric.name + "_longer{}")
    panel = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    assert (panel["description"], panel["fieldConfig"]["defaults"]["unit"]) == (metric.help, unit)
    (target,) = panel["targets"]
    assert target["expr"].startswith(expression.partition("{}")[0])
    assert {selector.family for selector in selectors(target["expr"])} == {metric.name}


def test_panels_have_numbers_titles_and_words_of_their_own_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations(dashboard()["panels"], 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rectangles share a cell of the grid."""
    return bool(
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )

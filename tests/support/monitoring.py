"""The dashboard and the alerts as the chart ships them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mailboat.metrics.catalog import INFOS, METRICS, Metric, MetricKind
from mailboat_operator.metrics import Metrics

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts" / "mailboat-relay" / "files"
DASHBOARD = FILES / "dashboard.json"
ALERTS = FILES / "alerts.yaml"
ALERT_TESTS = ROOT / "tests" / "observability" / "alerts_test.yaml"
OPERATIONS = ROOT / "docs" / "operations.md"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
KNOWN = {metric.name: metric for metric in METRICS + INFOS}
"""The table of the relay's metrics by name."""
OF_OPERATOR = {
    family.name: Metric(
        family.name,
        MetricKind.GAUGE,
        family.documentation,
        " ".join(family.samples[0].labels),
        tuple(" ".join(sample.labels.values()) for sample in family.samples),
    )
    for family in Metrics().registry.collect()
    if family.type == "gauge" and family.samples
}
"""The operator's gauges by name; whichever relays are chosen, its series are about all of its resources."""


@dataclass(frozen=True)
class Alert:
    """One rule."""

    name: str
    expr: str
    severity: str
    annotations: dict[str, str]


def alerts() -> list[Alert]:
    """Every alert of the rule file."""
    rules = yaml.safe_load(ALERTS.read_text())
    return [
        Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"])
        for group in rules["groups"]
        for rule in group["rules"]
    ]


def label_values(metric: Metric) -> dict[str, set[str]]:
    """Each label of a metric of the table, and the values that it can have; labels and values have blanks between."""
    rows = [value.split() for value in metric.values]
    return {label: {row[place] for row in rows} for place, label in enumerate(metric.label.split()) if any(rows)}


def dashboard() -> dict[str, Any]:
    """The dashboard's JSON."""
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return board


def panels() -> Iterator[dict[str, Any]]:
    """Every panel that shows something."""
    return (panel for panel in dashboard()["panels"] if panel["type"] != "row")


def expressions() -> list[tuple[str, str]]:
    """Each panel's title and one expression of it."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]

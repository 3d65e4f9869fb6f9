"""Each alert says what it means and where help is, and stands on what the relay counts."""

from __future__ import annotations

import re

import pytest
import yaml
from tests.support.monitoring import ALERT_TESTS, KNOWN, OF_OPERATOR, OPERATIONS, RUNBOOKS, Alert, alerts, label_values
from tests.support.promql import selectors

EACH = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)


@EACH
def test_an_alert_has_a_severity_words_and_a_runbook(alert: Alert) -> None:
    assert alert.severity in {"critical", "warning", "info"}
    assert alert.annotations.keys() == {"summary", "description", "runbook_url"}
    assert alert.annotations["summary"].endswith(".")
    assert "{{" not in alert.annotations["summary"]  # one text for all instances: notifications are grouped by it
    assert alert.annotations["runbook_url"] == f"docs/runbooks.md#{alert.name.lower()}"


@EACH
def test_an_alert_uses_metrics_and_labels_that_are_there(alert: Alert) -> None:
    used = selectors(alert.expr)
    assert used
    for selector in used:
        metric = (KNOWN | OF_OPERATOR)[selector.family]
        for label, _, value in selector.matchers:
            assert set(value.split("|")) <= label_values(metric)[label]


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    sections = re.split(r"^## ", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    books = {section.partition("\n")[0]: section for section in sections}
    assert list(books) == [alert.name for alert in alerts()]
    for book in books.values():
        assert re.findall(r"^- \*\*(\w+)\*\*: ", book, re.MULTILINE) == ["Means", "Effect", "Look", "Fix"]


def test_the_page_of_operations_lists_each_alert() -> None:
    listed = re.findall(r"`(Mailboat\w+)`", OPERATIONS.read_text())
    assert sorted(listed) == sorted(alert.name for alert in alerts())


def test_each_alert_has_a_test_in_which_it_does_not_fire_and_then_does() -> None:
    tested: dict[str, list[bool]] = {}
    for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            tested.setdefault(case["alertname"], []).append(bool(case["exp_alerts"]))
    assert tested == {alert.name: [False, True] for alert in alerts()}

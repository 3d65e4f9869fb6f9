"""docs/operator.md says what the code does: reasons and metrics."""

from __future__ import annotations

import re
from pathlib import Path

from mailboat_operator.checks import RefReason
from mailboat_operator.metrics import Metrics
from mailboat_operator.pod_status import LoadReason
from mailboat_operator.status import Reason, Type

OPERATOR = (Path(__file__).resolve().parents[2] / "docs" / "operator.md").read_text()


def test_the_page_explains_every_reason_and_no_other() -> None:
    told = re.findall(r"^\| (?:`(\w+)`)? ?\| (?:True|False|Unknown) \| `(\w+)` \|", OPERATOR, re.MULTILINE)

    assert {reason for _, reason in told} == {*Reason, *RefReason, *LoadReason}
    assert [condition for condition, _ in told if condition] == list(Type)


def test_the_page_lists_every_metric_with_its_kind() -> None:
    told = re.findall(r"^\| `((?:mailboat|controller|work|rest|leader)\w+)` \| (\w+) \|", OPERATOR, re.MULTILINE)
    known = [(name(family.name, family.type), family.type) for family in Metrics().registry.collect()]

    assert sorted(told) == sorted(known)


def name(family: str, kind: str) -> str:
    return f"{family}_total" if kind == "counter" else family

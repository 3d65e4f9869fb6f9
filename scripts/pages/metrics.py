"""docs/metrics.md: the prose of `metrics.md.in`, the table from the catalog of metrics.

Called by `scripts.docs`; a test fails when the page has drifted.
"""

from __future__ import annotations

from pathlib import Path

from mailboat.metrics.catalog import INFOS, METRICS, Metric


def render() -> str:
    """The whole page."""
    page = Path(__file__).with_name("metrics.md.in").read_text(encoding="utf-8")
    return page.replace("@metrics@", "\n".join(map(_row, METRICS + INFOS)))


def _row(metric: Metric) -> str:
    columns = [list(dict.fromkeys(column)) for column in zip(*map(str.split, metric.values), strict=True)]
    label = "; ".join(
        f"`{name}`" + (" = " + ", ".join(f"`{value}`" for value in column) if column else "")
        for name, column in zip(metric.label.split(), columns or [[]], strict=False)
    )
    return f"| `{metric.name}` | {metric.kind} | {label} | {metric.help} |"

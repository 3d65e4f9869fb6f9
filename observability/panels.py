"""The shapes of the dashboard's panels: a number, a graph, a table. Knows no metric; `dashboard` says what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Panel,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whatever Prometheus the reader chooses."""
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """How a panel shows its numbers."""

    unit: str = "short"
    """Grafana's name of it."""
    width: int = 8
    """Of 24 columns."""
    stack: bool = False
    """Areas on top of each other: for parts of a whole."""
    maximum: float | None = None
    colors: tuple[tuple[str, str], ...] = ()
    """A series' name and its colour, where one means something."""


@dataclass(frozen=True, slots=True)
class Marks:
    """From which value on a number is yellow or red; with `low`, down from which."""

    warn: float
    bad: float
    low: bool = False


OUTCOME_COLORS = (("delivered", GREEN), ("deferred", YELLOW), ("bounced", RED), ("dropped", "purple"))


def number(title: str, text: str, expr: str, unit: str = "short", marks: Marks | None = None) -> Builder[Panel]:
    """One large number with the line of its past behind it."""
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(3)
        .height(4)
        .unit(unit)
        .decimals(1 if unit in ("percentunit", "s") else 0)
        .no_value("none")
        .thresholds(_thresholds(marks))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(prometheus.Dataquery().expr(expr).ref_id("A").datasource(SOURCE).range())
    )


def graph(title: str, text: str, queries: Sequence[Query], look: Look = Look()) -> Builder[Panel]:
    """Lines over time, with the largest and the latest value of each below."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(look.width)
        .height(8)
        .unit(look.unit)
        .min(0)
        .draw_style(GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(25 if look.stack else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if look.stack:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if look.maximum is not None:
        panel.max(look.maximum)
    for name, color in look.colors:
        panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})])
    for place, query in enumerate(queries):
        panel.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + place))
            .datasource(SOURCE)
            .range()
        )
    return panel


def rows_of(title: str, text: str, expr: str, columns: Sequence[tuple[str, str]], width: int) -> Builder[Panel]:
    """A table of labels as they are now; `columns` are the labels shown, in order, and their headings."""
    shown = {
        "includeByName": {label: True for label, _ in columns},
        "indexByName": {label: place for place, (label, _) in enumerate(columns)},
        "renameByName": dict(columns),
    }
    return (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(width)
        .height(8)
        .with_target(
            prometheus.Dataquery().expr(expr).ref_id("A").datasource(SOURCE).instant().format(PromQueryFormat.TABLE)
        )
        .with_transformation(DataTransformerConfig(id_val="organize", options=shown))
    )


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["max", "lastNotNull"])
    )


def _thresholds(marks: Marks | None) -> ThresholdsConfig:
    if marks is None:
        steps = [Threshold(value=None, color="blue")]
    elif marks.low:
        steps = [
            Threshold(value=None, color=RED),
            Threshold(value=marks.bad, color=YELLOW),
            Threshold(value=marks.warn, color=GREEN),
        ]
    else:
        steps = [
            Threshold(value=None, color=GREEN),
            Threshold(value=marks.warn, color=YELLOW),
            Threshold(value=marks.bad, color=RED),
        ]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)

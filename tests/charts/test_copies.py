"""What the charts hold that has its source elsewhere is equal to its source; `make charts` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from scripts.charts import CHARTS, CRD_COPIES, CRDS, readme

from mailboat import __version__

CRD_FILES = sorted(CRDS.glob("*.yaml"))
ALL = sorted(path.parent for path in CHARTS.glob("*/Chart.yaml"))


def test_there_are_two_charts() -> None:
    assert [chart.name for chart in ALL] == ["mailboat-operator", "mailboat-relay"]


def test_the_operator_chart_holds_the_resource_types_as_they_are() -> None:
    copies = {path.name: path.read_bytes() for path in CRD_COPIES.iterdir()}
    assert copies == {path.name: path.read_bytes() for path in CRD_FILES}


@pytest.mark.parametrize("crd", CRD_FILES, ids=lambda path: path.stem)
def test_a_resource_type_can_be_kept_or_not(crd: Path) -> None:
    """The chart takes these two lines away where `crds.keep` is off."""
    assert crd.read_text().count("  annotations:\n    helm.sh/resource-policy: keep\n") == 1


@pytest.mark.parametrize("chart", ALL, ids=lambda path: path.name)
def test_the_table_of_values_is_fresh(chart: Path) -> None:
    assert readme(chart) == (chart / "README.md").read_text()


@pytest.mark.parametrize("chart", ALL, ids=lambda path: path.name)
def test_chart_application_and_package_have_one_version(chart: Path) -> None:
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert described["name"] == chart.name
    assert described["version"] == described["appVersion"] == __version__

"""Each test that asks for `helm` runs with both versions that the charts promise to work with."""

from __future__ import annotations

import pytest
from tests.support.helm import VERSIONS, Helm, helm


@pytest.fixture(scope="session", params=VERSIONS, name="helm")
def _helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return helm(request.param, tmp_path_factory.mktemp("helm"))

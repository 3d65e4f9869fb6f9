"""Each test that asks for `helm` runs with the versions of Helm that HELM chooses: 4, or 3, or both."""

from __future__ import annotations

import pytest
from tests.support.helm import Helm, helm
from tools.cluster.programs import HELMS


@pytest.fixture(scope="session", params=HELMS, name="helm")
def _helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return helm(request.param, tmp_path_factory.mktemp("helm"))

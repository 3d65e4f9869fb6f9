"""What scenarios with a whole relay and one next hop start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.plugin_relay import PluginConfig
from tests.support.scripted_mx import ScriptedMx


@pytest.fixture
async def mx() -> AsyncIterator[ScriptedMx]:
    """Where all mail goes."""
    async with ScriptedMx.start() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, mx: ScriptedMx) -> PluginConfig:
    """A directory for a relay whose mail goes to `mx`, for plugins or keys to be put into."""
    return PluginConfig(tmp_path / "config", mx.port)

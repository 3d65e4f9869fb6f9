"""A whole relay with keys, and a sink whose mails are verified."""

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
    """A configuration directory without keys."""
    return PluginConfig(tmp_path / "config", mx.port)

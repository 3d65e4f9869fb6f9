"""What every scenario of a whole relay starts from."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.scripted_mx import ScriptedMx


@pytest.fixture
async def mx() -> AsyncIterator[ScriptedMx]:
    """Where all mail goes."""
    async with ScriptedMx.start() as server:
        yield server

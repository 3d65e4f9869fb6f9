"""What every test with a real client has: a sink that keeps each octet, and a relay that leads there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_relay import TlsRelay, route


@pytest.fixture
async def sink() -> AsyncIterator[ScriptedMx]:
    """Stands for every domain, and takes everything that Mailboat can hand on."""
    async with ScriptedMx.start() as mx:
        mx.extensions = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        yield mx


@pytest.fixture
async def relay(sink: ScriptedMx, tmp_path: Path) -> AsyncIterator[TlsRelay]:
    """Hands everything to the sink."""
    async with TlsRelay.start(tmp_path / "relay", route(sink.port)) as running:
        yield running

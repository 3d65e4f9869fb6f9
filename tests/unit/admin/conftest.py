"""A client of an admin server, in front of a control that answers from memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.support.fake_control import FakeControl

from mailboat.admin.server import AdminServer
from mailboat.config.settings import Endpoint, HttpSettings


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
async def client(control: FakeControl) -> AsyncIterator[aiohttp.ClientSession]:
    server = AdminServer(control, HttpSettings(listen=(Endpoint("127.0.0.1", 0),)))
    await server.start()
    async with aiohttp.ClientSession(f"http://{server.endpoints[0]}") as session:
        yield session
    await server.close()

"""Listings of the queue: one at a time on all listeners, a pause after each, and an answer for who waits too long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest
from tests.support.fake_control import FakeControl

from mailboat.admin import listings
from mailboat.admin.control import EntryJson
from mailboat.admin.listings import Listings
from mailboat.admin.problem import ProblemError
from mailboat.admin.server import AdminServer
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.queue.store import Selection


class SlowControl(FakeControl):
    """Lists the queue when it is let, and remembers how many wanted that at once."""

    def __init__(self) -> None:
        super().__init__([])
        self.go = asyncio.Event()
        self.under_way = self.most = 0

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go.wait()
        await asyncio.sleep(0)
        self.under_way -= 1
        return [], None


async def test_readers_on_all_listeners_are_served_one_after_the_other() -> None:
    control = SlowControl()
    server = AdminServer(control, HttpSettings(listen=(Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", 0))))
    await server.start()
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):

            async def read(endpoint: Endpoint) -> int:
                async with session.get(f"http://{endpoint}/v1/queue") as answer:
                    return answer.status

            readers = [asyncio.create_task(read(endpoint)) for endpoint in server.endpoints * 3]
            async with session.get(f"http://{server.endpoints[0]}/readyz") as answer:  # nobody else waits
                assert answer.status == 200
            control.go.set()
            assert await asyncio.gather(*readers) == [200] * 6
    finally:
        await server.close()
    assert control.most == 1


async def test_nobody_is_served_for_a_while_after_a_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "PAUSE", 3.0)
    loop = asyncio.get_running_loop()
    turns = Listings()
    began = loop.time()
    async with turns.turn():
        await asyncio.sleep(0.05)
    took = loop.time() - began
    async with turns.turn():
        assert loop.time() - began >= 4.0 * took - 0.01


async def test_who_waits_too_long_for_a_turn_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "PATIENCE", 0.05)
    turns = Listings()
    async with turns.turn():
        with pytest.raises(ProblemError) as refused:
            async with turns.turn():
                pass
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})

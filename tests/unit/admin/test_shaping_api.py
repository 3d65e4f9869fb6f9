"""`GET /v1/shaping` and `DELETE /v1/shaping/ID`."""

from __future__ import annotations

import aiohttp
from tests.support.fake_control import FakeControl


async def test_overrides_are_listed_and_ended_by_id(client: aiohttp.ClientSession, control: FakeControl) -> None:
    control.override_ids = ["a", "b"]
    async with client.get("/v1/shaping") as answer:
        assert (answer.status, await answer.json()) == (200, {"overrides": [{"id": "a"}, {"id": "b"}]})
    async with client.delete("/v1/shaping/a") as answer:
        assert (answer.status, await answer.json()) == (200, {"count": 1})
    assert control.override_ids == ["b"]


async def test_an_id_that_is_not_in_force_is_not_found(client: aiohttp.ClientSession) -> None:
    async with client.delete("/v1/shaping/a") as answer:
        assert answer.status == 404

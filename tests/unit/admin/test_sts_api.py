"""`POST /v1/sts/flush`."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from tests.support.fake_control import FakeControl

from mailboat.app.submissions import WorkerGoneError


@pytest.mark.parametrize(("given", "domain"), [("example.test", "example.test"), ("BÜCHER.test", "xn--bcher-kva.test")])
async def test_the_policy_of_a_domain_is_forgotten(
    client: aiohttp.ClientSession, control: FakeControl, given: str, domain: str
) -> None:
    async with client.post("/v1/sts/flush", json={"domain": given}) as answer:
        assert (answer.status, await answer.json()) == (200, {"count": 2})
    assert control.flushed == [domain]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "domain: must be a string that is not empty"),
        ({"domain": "a b"}, "domain: not a domain name or address literal"),
        ({"domain": "a.test", "all": True}, "all: unknown key; known: domain"),
    ],
)
async def test_a_wrong_request_names_what_is_wrong(
    client: aiohttp.ClientSession, control: FakeControl, body: Any, detail: str
) -> None:
    async with client.post("/v1/sts/flush", json=body) as answer:
        assert (answer.status, (await answer.json(content_type=None))["detail"]) == (400, detail)
    assert control.flushed == []


async def test_a_worker_that_is_missing_makes_it_503(client: aiohttp.ClientSession, control: FakeControl) -> None:
    control.fault = WorkerGoneError("1 of 2 workers are up")
    async with client.post("/v1/sts/flush", json={"domain": "a.test"}) as answer:
        assert answer.status == 503

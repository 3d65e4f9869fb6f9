"""`POST /v1/tlsrpt/report`."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from tests.support.fake_control import FakeControl


@pytest.mark.parametrize(("body", "day"), [({}, None), ({"day": None}, None), ({"day": "2026-01-31"}, 20_484)])
async def test_reports_of_past_days_or_one_day_are_sent_and_named(
    client: aiohttp.ClientSession, control: FakeControl, body: Any, day: int | None
) -> None:
    async with client.post("/v1/tlsrpt/report", json=body) as answer:
        assert answer.status == 200
        (report,) = (await answer.json())["reports"]
    assert report == {"day": "2026-01-31", "domain": "a.test", "address": "r@a.test", "id": "1@b.test", "state": "sent"}
    assert control.report_days == [day]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"day": "yesterday"}, "day: is not a day such as 2026-01-31"),
        ({"day": 5}, "day: is not a day such as 2026-01-31"),
        ({"domain": "a.test"}, "domain: unknown key; known: day"),
        ([], "the body must be a JSON object"),
    ],
)
async def test_a_wrong_request_names_what_is_wrong(
    client: aiohttp.ClientSession, control: FakeControl, body: Any, detail: str
) -> None:
    async with client.post("/v1/tlsrpt/report", json=body) as answer:
        assert (answer.status, (await answer.json(content_type=None))["detail"]) == (400, detail)
    assert control.report_days == []

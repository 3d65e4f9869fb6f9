"""`GET /v1/destinations`."""

from __future__ import annotations

import aiohttp
import pytest
from tests.support.facts import T0
from tests.support.fake_control import FakeControl
from tests.support.waiting import waiting_row

from mailboat.model.waiting import GroupBy, SortBy


async def test_rows_come_in_pages(client: aiohttp.ClientSession, control: FakeControl) -> None:
    control.rows = [waiting_row(f"d{n}.test") for n in range(5)]
    control.rows[0]["next_attempt_at"] = T0
    found, after = [], "0"
    while after is not None:
        async with client.get(f"/v1/destinations?limit=2&by=site&sort=oldest&after={after}") as answer:
            page = await answer.json()
        found += page["destinations"]
        after = page["next"]
    assert [row["destination"] for row in found] == [f"d{n}.test" for n in range(5)]
    assert found[0]["next_attempt_at"].endswith("Z")
    assert set(control.wanted) == {(GroupBy.SITE, SortBy.OLDEST)}


async def test_what_is_not_said_is_the_domains_with_the_most(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    async with client.get("/v1/destinations?by=") as answer:
        assert await answer.json() == {"destinations": [], "next": None}
    assert control.wanted == [(GroupBy.DOMAIN, SortBy.WAITING)]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("by=host", "by: must be one of site, domain, tenant, source"),
        ("sort=name", "sort: must be one of waiting, oldest"),
        ("limit=0", "limit: must be a number from 1 to 1000"),
        ("after=x", "after: not a `next` of this relay"),
        ("after=2000", "after: not a `next` of this relay"),
        ("domain=a.test", "domain: unknown parameter; known: after, by, limit, sort"),
    ],
)
async def test_a_wrong_request_names_what_is_wrong(client: aiohttp.ClientSession, query: str, detail: str) -> None:
    async with client.get(f"/v1/destinations?{query}") as answer:
        assert (answer.status, (await answer.json(content_type=None))["detail"]) == (400, detail)

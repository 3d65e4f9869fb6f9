"""`GET /v1/destinations`: what waits, how long, and what holds it. Mounted by `server`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from aiohttp import web

from mailboat.admin.control import Control
from mailboat.admin.listings import Listings
from mailboat.admin.problem import json_response
from mailboat.admin.queue_api import bad, limit_of, single
from mailboat.model.clock import rfc3339
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow

DEFAULT_LIMIT = 20
LAST = 2_000
"""Rows that can be seen in all."""
_PARAMETERS = frozenset({"by", "sort", "limit", "after"})

_Word = TypeVar("_Word", bound=StrEnum)


class DestinationsApi:
    """The handler, over whatever relay `control` is."""

    def __init__(self, control: Control, listings: Listings) -> None:
        self._control = control
        self._listings = listings

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [web.get("/v1/destinations", self._list)]

    async def _list(self, request: web.Request) -> web.Response:
        query = {name: value for name, value in single(request, _PARAMETERS).items() if value}
        by, sort = _word("by", query, GroupBy.DOMAIN), _word("sort", query, SortBy.WAITING)
        limit, after = limit_of(query.get("limit"), DEFAULT_LIMIT), _after(query.get("after"))
        end = min(after + limit, LAST)
        async with self._listings.turn():
            rows = await self._control.destinations(by, sort, end + 1)
        following = str(end) if len(rows) > end and end < LAST else None
        return json_response({"destinations": [_shown(row) for row in rows[after:end]], "next": following})


def _word(name: str, query: dict[str, str], otherwise: _Word) -> _Word:
    try:
        return type(otherwise)(query.get(name, otherwise))
    except ValueError:
        raise bad(name, f"must be one of {', '.join(type(otherwise))}") from None


def _after(value: str | None) -> int:
    if value is None:
        return 0
    if not (value.isascii() and value.isdigit() and len(value) < 6 and int(value) < LAST):
        raise bad("after", "not a `next` of this relay")
    return int(value)


def _shown(row: WaitingRow) -> dict[str, Any]:
    when = row["next_attempt_at"]
    return {
        **row,
        "oldest": round(row["oldest"], 3),
        "next_attempt_at": None if when is None else rfc3339(when),
    }

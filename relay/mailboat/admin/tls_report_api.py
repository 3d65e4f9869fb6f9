"""`POST /v1/tlsrpt/report`: sends the reports on TLS of past days that are not sent yet. Mounted by `server`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import web

from mailboat.admin.control import Control
from mailboat.admin.problem import ProblemError, json_response
from mailboat.admin.queue_api import json_object, only, single
from mailboat.tlsrpt.report import day_from


class TlsReportApi:
    """The handler, over whatever relay `control` is."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [web.post("/v1/tlsrpt/report", self._report)]

    async def _report(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        day = _day(only(await json_object(request), ["day"]))
        return json_response({"reports": list(await self._control.report_tls(day))})


def _day(wanted: dict[str, Any]) -> int | None:
    day = wanted.get("day")
    if day is None:
        return None
    try:
        return day_from(day if isinstance(day, str) else "")
    except ValueError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"day: {error}") from None

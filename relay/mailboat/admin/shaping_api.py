"""`GET /v1/shaping` and `DELETE /v1/shaping/ID`: what rules from replies have put into force. Mounted by `server`."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from mailboat.admin.control import Control
from mailboat.admin.problem import ProblemError, json_response
from mailboat.admin.queue_api import single


class ShapingApi:
    """The handlers, over whatever relay `control` is."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [web.get("/v1/shaping", self._list), web.delete("/v1/shaping/{id}", self._end)]

    async def _list(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        return json_response({"overrides": list(await self._control.overrides())})

    async def _end(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        if not await self._control.end_override(request.match_info["id"]):
            raise ProblemError(HTTPStatus.NOT_FOUND, "no override with this id is in force")
        return json_response({"count": 1})

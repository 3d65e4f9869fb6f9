"""`POST /v1/sts/flush`: forgets the MTA-STS policy of a domain. Mounted by `server`."""

from __future__ import annotations

from aiohttp import web

from mailboat.admin.control import Control
from mailboat.admin.problem import json_response
from mailboat.admin.queue_api import domain_of, json_object, only, single


class StsApi:
    """The handler, over whatever relay `control` is."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [web.post("/v1/sts/flush", self._flush)]

    async def _flush(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        wanted = only(await json_object(request), ["domain"])
        domain = domain_of(wanted.get("domain"))
        return json_response({"count": await self._control.flush_sts(domain)})

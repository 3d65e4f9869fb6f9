"""`/v1/queue/bounce`, `/v1/queue/reroute`, `/v1/suspensions`: what an administrator wants done with mail.

Mounted by `server`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from mailboat.admin.control import Control
from mailboat.admin.problem import ProblemError, json_response
from mailboat.admin.queue_api import json_object, only, single
from mailboat.config.mail_selection import FIELDS, mail_selection
from mailboat.model.clock import rfc3339
from mailboat.shaping.directive import Directive, DirectiveVerb
from mailboat.shaping.overrides import Override
from mailboat.shaping.rules import parse_span
from mailboat.shaping.suspension import said_of
from mailboat.submission.request import RefusedError

_LONGEST_REASON = 500
_OWN_KEYS = {DirectiveVerb.BOUNCE: ("dsn",), DirectiveVerb.REROUTE: ("route",)}


class DirectiveApi:
    """The handlers, over whatever relay `control` is."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [
            *(web.post(f"/v1/queue/{verb}", self._applying(verb)) for verb in DirectiveVerb),
            web.post("/v1/suspensions", self._suspend),
            web.get("/v1/suspensions", self._list),
            web.delete("/v1/suspensions/{id}", self._resume),
        ]

    async def _suspend(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        wanted = only(await json_object(request), [*FIELDS, "reason", "for"])
        try:
            selection = mail_selection({name: value for name, value in wanted.items() if name in FIELDS})
            seconds, reason = _span(wanted), _line(wanted, "reason")
        except ValueError as error:
            raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from None
        one = await self._control.suspend(selection, seconds, reason)
        response = json_response(_shown(one), HTTPStatus.CREATED)
        response.headers["Location"] = f"/v1/suspensions/{one.id}"
        return response

    async def _list(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        return json_response({"suspensions": [_shown(one) for one in self._control.suspensions()]})

    async def _resume(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        name = request.match_info["id"]
        if not await self._control.resume(name):
            raise ProblemError(HTTPStatus.NOT_FOUND, f"no suspension {name} is in force")
        return json_response({"id": name})

    def _applying(self, verb: DirectiveVerb) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            single(request, frozenset())
            wanted = only(await json_object(request), [*FIELDS, "reason", *_OWN_KEYS[verb]])
            directive = _directive(verb, wanted)
            try:
                return json_response({"count": await self._control.direct(directive)})
            except RefusedError as error:
                raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from None

        return handle


def _directive(verb: DirectiveVerb, wanted: Mapping[str, Any]) -> Directive:
    try:
        selection = mail_selection({name: value for name, value in wanted.items() if name in FIELDS})
        route = _line(wanted, "route") if verb is DirectiveVerb.REROUTE else ""
        return Directive(verb, selection, _line(wanted, "reason"), _flag(wanted, "dsn"), route)
    except ValueError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from None


def _shown(one: Override) -> Mapping[str, Any]:
    times = {"since": rfc3339(one.since), "until": rfc3339(one.until)}
    return {"id": one.id, "verb": "suspend", **(said_of(one) or {}), "reason": one.reason, **times}


def _span(wanted: Mapping[str, Any]) -> float:
    value = wanted.get("for")
    try:
        return parse_span(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"for: {error}") from None


def _flag(wanted: Mapping[str, Any], name: str) -> bool:
    """True if it is not given."""
    value = wanted.get(name, True)
    if value not in (True, False):
        raise ValueError(f"{name}: must be true or false")
    return bool(value)


def _line(wanted: Mapping[str, Any], name: str) -> str:
    value = wanted.get(name)
    if not isinstance(value, str) or not (line := " ".join(value.split())):
        raise ValueError(f"{name}: must be a string that is not empty")
    if len(line) > _LONGEST_REASON or not line.isprintable():
        raise ValueError(f"{name}: at most {_LONGEST_REASON} printable characters")
    return line

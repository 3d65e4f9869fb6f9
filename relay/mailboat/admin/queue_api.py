"""`/v1/queue`: lists and changes the queue over HTTP. Parses requests into a `Selection`; the relay does the rest.

Every fault of a request names the parameter. Mounted by `server`; docs/admin.md shows the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from mailboat.admin.control import BadCursorError, Control
from mailboat.admin.listings import Listings
from mailboat.admin.problem import ProblemError, json_response
from mailboat.model.envelope import State
from mailboat.queue.store import Selection, Verb
from mailboat.smtp.grammar import GrammarError, normalize_domain

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_IDS = 10_000
_MAX_ID = 128
_BODY_SECONDS = 10.0
_LIST_PARAMETERS = frozenset({"state", "domain", "sender", "tenant", "label", "limit", "after"})
_CHANGE_KEYS = frozenset({"ids", "domain", "sender", "state", "tenant", "label", "all"})


class QueueApi:
    """The handlers, over whatever relay `control` is."""

    def __init__(self, control: Control, listings: Listings) -> None:
        self._control = control
        self._listings = listings

    def routes(self) -> list[web.RouteDef]:
        """For `Application.add_routes`."""
        return [
            web.get("/v1/queue", self._list),
            *(web.post(f"/v1/queue/{verb}", self._changing(verb)) for verb in Verb),
            web.get("/v1/queue/{id}", self._get),
            web.delete("/v1/queue/{id}", self._delete),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        # An empty parameter of a listing does not restrict, because a form sends blank fields so.
        query = {name: value for name, value in single(request, _LIST_PARAMETERS).items() if value}
        limit = limit_of(query.get("limit"), DEFAULT_LIMIT)
        selection = selection_of(query)
        async with self._listings.turn():
            try:
                messages, following = await self._control.queue_page(selection, limit, query.get("after"))
            except BadCursorError as error:
                raise bad("after", str(error) or "not a `next` of this relay") from None
            return json_response({"messages": messages, "next": following})

    async def _get(self, request: web.Request) -> web.Response:
        """One entry as M; a message id gives the list of its entries, in the shape of a listing."""
        single(request, frozenset())
        name = _id(request.match_info["id"])
        messages = await self._control.queue_get(name)
        if not messages:
            raise _unknown(name)
        if messages[0]["id"] == name:
            return json_response(messages[0])
        return json_response({"messages": messages, "next": None})

    async def _delete(self, request: web.Request) -> web.Response:
        single(request, frozenset())
        name = _id(request.match_info["id"])
        count = await self._control.change(Verb.DELETE, Selection(ids=(name,)))
        if not count:
            raise _unknown(name)
        return json_response({"count": count})

    def _changing(self, verb: Verb) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            single(request, frozenset())
            wanted = scope(await json_object(request))
            if verb is Verb.DELETE and not wanted:
                raise ProblemError(
                    HTTPStatus.BAD_REQUEST, 'give ids, domain, sender, state, tenant or label, or {"all": true}'
                )
            return json_response({"count": await self._control.change(verb, selection_of(wanted))})

        return handle


def single(request: web.Request, allowed: Collection[str]) -> dict[str, str]:
    """The query with each parameter once; others are refused, since a misspelt filter would mean everything."""
    query: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise bad(name, f"unknown parameter; known: {known}")
        if name in query:
            raise bad(name, "given twice")
        query[name] = value
    return query


async def json_object(request: web.Request) -> dict[str, Any]:
    """The body of a request; without one an empty object. Raises ProblemError."""
    try:
        # Only the body is timed: changing a large queue may take long.
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, f"the body took more than {_BODY_SECONDS:g} s") from None
    try:
        wanted = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(wanted, dict):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
    return wanted


def only(wanted: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The same object. Raises ProblemError if it has a key that is not known."""
    for name in wanted:
        if name not in known:
            raise bad(name, f"unknown key; known: {', '.join(sorted(known))}")
    return wanted


def scope(wanted: dict[str, Any]) -> dict[str, Any]:
    """The body of a change, its keys checked: `all` stands alone."""
    only(wanted, _CHANGE_KEYS)
    if "all" in wanted and wanted["all"] is not True:
        raise bad("all", "must be true if it is given")
    if "all" in wanted and len(wanted) > 1:
        raise bad("all", "contradicts the other keys")
    return wanted


def selection_of(wanted: Mapping[str, Any]) -> Selection:
    """The selection of a query or body. An empty value is refused: in a `Selection` it would mean everything."""
    return Selection(
        ids=_ids(wanted["ids"]) if "ids" in wanted else (),
        domain=domain_of(wanted["domain"]) if "domain" in wanted else "",
        sender=_text("sender", wanted["sender"]) if "sender" in wanted else "",
        state=_state(wanted["state"]) if "state" in wanted else None,
        tenant=_text("tenant", wanted["tenant"]) if "tenant" in wanted else "",
        label=_text("label", wanted["label"]) if "label" in wanted else "",
    )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise bad(name, "must be a string that is not empty")
    return value.strip()


def _state(value: object) -> State:
    try:
        return State(_text("state", value))
    except ValueError:
        raise bad("state", f"must be one of {', '.join(State)}") from None


def domain_of(value: object) -> str:
    """A domain that is given, normalised as `Entry.domain` is: lower case, A-labels. Raises ProblemError."""
    try:
        return normalize_domain(_text("domain", value))
    except GrammarError:
        raise bad("domain", "not a domain name or address literal") from None


def _ids(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise bad("ids", "must be a list that is not empty")
    if len(value) > MAX_IDS:
        raise bad("ids", f"at most {MAX_IDS} at once")
    return tuple(_id(one) for one in value)


def _id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID:
        raise bad("id", "not a queue id")
    return value


def limit_of(value: str | None, otherwise: int) -> int:
    """The most rows of an answer. Raises ProblemError."""
    if value is None:
        return otherwise
    if not value.isascii() or not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= MAX_LIMIT:
        raise bad("limit", f"must be a number from 1 to {MAX_LIMIT}")
    return int(value)


def bad(name: str, reason: str) -> ProblemError:
    """A fault of a request, which names the parameter."""
    return ProblemError(HTTPStatus.BAD_REQUEST, f"{name}: {reason}")


def _unknown(name: str) -> ProblemError:
    return ProblemError(HTTPStatus.NOT_FOUND, f"no message {name} in the queue; delivered ones leave it")

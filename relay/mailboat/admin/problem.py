"""Errors of the admin API as JSON problems (RFC 9457), whatever raised them. Used by `server` and `queue_api`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from mailboat.queue.store import StorageError

_log = logging.getLogger(__name__)


class ProblemError(Exception):
    """A refused request: the status, and an explanation for people."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def json_response(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON. A lone surrogate in an address is shown as `?`: JSON cannot carry it."""
    try:
        body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        body = orjson.dumps(_encodable(value), option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(
        body=body, status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _encodable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(one) for one in value]
    return value


def _problem(status: HTTPStatus, detail: str, headers: Mapping[str, str]) -> web.Response:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return web.Response(
        body=orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Converts exceptions of a handler to problems; an unexpected one is logged with its traceback, and not shown."""
    try:
        return await handler(request)
    except ProblemError as error:
        return _problem(error.status, error.detail, error.headers)
    except web.HTTPException as error:
        kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return _problem(HTTPStatus(error.status), error.text or error.reason, kept)
    except StorageError as error:
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, f"storage: {error}", {"Retry-After": "5"})
    except TimeoutError:
        return _problem(HTTPStatus.GATEWAY_TIMEOUT, "the relay did not answer in time", {"Retry-After": "5"})
    except Exception:  # noqa: BLE001 - the last resort: one bad request must not look like a dead relay
        _log.exception("%s %s failed", request.method, request.path)
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; see the log of the relay", {})

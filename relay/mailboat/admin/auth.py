"""Decides who may use `/v1/` of the admin listener. Called by `server` first.

On a loopback listener every process on this machine may, but no web page in a browser on this machine: those are
recognised by `Origin`, and a page that has its name resolve to loopback (DNS rebinding) by `Host`. Elsewhere the
bearer token of `http.ini` `token_file` is asked for (RFC 6750), of readers too: the queue names senders and recipients.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from mailboat.admin.problem import ProblemError

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_TOKEN = 4096


class TokenFile:
    """The bearer token in a file, read each time: a Secret that is rotated needs no restart."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self) -> str:
        """The token; empty when no file is named or it cannot be read: no request passes then."""
        if not self._path:
            return ""
        try:
            with Path(self._path).open("rb") as file:
                return file.read(_MAX_TOKEN).decode("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""


class Guard:
    """The decision for one listener."""

    def __init__(self, *, loopback: bool, token: Callable[[], str], open_reads: bool = False) -> None:
        """`loopback`: only this machine can connect. `open_reads`: otherwise, reading needs no token."""
        self._open_reads = loopback or open_reads
        self._loopback = loopback
        self._token = token

    def admit(self, request: web.Request) -> None:
        """Let the request pass or raise `ProblemError`. Not called for probes and metrics, which need no token."""
        presented = request.headers.get("Authorization")
        if presented is not None and self._known(presented):
            return
        if self._loopback:
            _require_local_host(request)
        if request.method in _SAFE and self._open_reads:
            return
        if not self._loopback:
            raise self._unauthorized(presented)
        if "Origin" in request.headers:
            raise ProblemError(HTTPStatus.FORBIDDEN, "Origin: a web page must not change the queue")

    def _known(self, authorization: str) -> bool:
        scheme, _, presented = authorization.partition(" ")
        token = self._token()
        if scheme.lower() != "bearer" or not token:
            return False
        return hmac.compare_digest(presented.strip().encode("utf-8", "surrogateescape"), token.encode())

    def _unauthorized(self, presented: str | None) -> ProblemError:
        if not self._token():
            detail = "no token: name a token_file in http.ini, or use the relay's loopback listener"
            return ProblemError(HTTPStatus.FORBIDDEN, detail)
        detail = "Authorization: the token is not that of token_file" if presented else "a bearer token is needed"
        challenge = 'Bearer realm="mailboat"' + (', error="invalid_token"' if presented else "")
        return ProblemError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": challenge})


def _require_local_host(request: web.Request) -> None:
    """The host in the request (RFC 9110 7.2) must be a name that always means this machine."""
    host = request.headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if not is_loopback(name):
        raise ProblemError(HTTPStatus.MISDIRECTED_REQUEST, f"Host: {host!r} is not this machine's loopback")


def is_loopback(host: str) -> bool:
    """Whether a name or address always means this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)

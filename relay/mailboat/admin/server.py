"""The admin listener: probes, `/metrics`, `/configz` and the queue API over HTTP/1.1. Started by `app`.

Uses the relay through `control.Control` only. Probes must always be answered: a slow client is disconnected, and if
there are too many connections the oldest one is closed, never the new one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

from mailboat.admin.archive_api import ArchiveApi
from mailboat.admin.auth import Guard, TokenFile, is_loopback
from mailboat.admin.control import Check, Control, Probe
from mailboat.admin.destinations_api import DestinationsApi
from mailboat.admin.directive_api import DirectiveApi
from mailboat.admin.listings import Listings
from mailboat.admin.messages_api import MessagesApi
from mailboat.admin.problem import json_response, problems
from mailboat.admin.queue_api import QueueApi
from mailboat.admin.shaping_api import ShapingApi
from mailboat.admin.sts_api import StsApi
from mailboat.admin.tls_report_api import TlsReportApi
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.model.clock import rfc3339

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MAX_BODY = 256 * 1024
_MAX_CONNECTIONS = 128
_IDLE_SECONDS = 30.0
"""Also how long a client may take for the head of a request."""
_PROBE_SECONDS = 8.0
"""More than the relay gives each worker, so that its answer names the one that hangs."""
_METRICS_SECONDS = 10.0
_CLOSE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class AdminServer:
    """All listeners of `http.ini`."""

    def __init__(self, control: Control, settings: HttpSettings) -> None:
        self._control = control
        self._settings = settings
        self._token = TokenFile(settings.token_file)
        self._listings = Listings()
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is listened on, with the ports that the system chose."""
        return tuple(_endpoint(sock.getsockname()) for server in self._servers for sock in server.sockets)

    async def start(self) -> None:
        """Listen on every address, or on none: `OSError` names the one that failed."""
        try:
            for endpoint in self._settings.listen:
                for sock in await _bind(endpoint):
                    await self._serve(sock)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening; requests under way get a moment to finish."""
        for server in self._servers:
            server.close()
        for runner in self._runners:
            await runner.cleanup()
        self._servers, self._runners = [], []

    async def _serve(self, sock: socket.socket) -> None:
        where = _endpoint(sock.getsockname())
        loopback = is_loopback(where.host)
        if not loopback and not self._token():
            level = logging.WARNING if self._settings.token_file else logging.INFO  # most configurations have none
            refused = "every change" if self._settings.read_without_token else "/v1/"
            _log.log(level, "admin listener %s: no usable token_file, so %s is refused", where, refused)
        guard = Guard(loopback=loopback, token=self._token, open_reads=self._settings.read_without_token)
        application = build(self._control, guard, self._listings)
        # handler_cancellation stays off: a change is finished even if the client disconnects.
        runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=_IDLE_SECONDS, shutdown_timeout=_CLOSE_SECONDS
        )
        await runner.setup()
        self._runners.append(runner)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(_doorman(runner), sock=sock))


def build(control: Control, guard: Guard, listings: Listings) -> web.Application:
    """The web application for one listener."""
    application = web.Application(middlewares=[problems, _guarded(guard)], client_max_size=_MAX_BODY)
    application.add_routes([web.get(f"/{kind}", _probe(control, kind)) for kind in Probe])
    application.add_routes([web.get("/metrics", _metrics(control)), web.get("/configz", _configz(control))])
    application.add_routes(QueueApi(control, listings).routes())
    application.add_routes(DestinationsApi(control, listings).routes())
    application.add_routes(ArchiveApi(control).routes())
    application.add_routes(MessagesApi(control).routes())
    application.add_routes(TlsReportApi(control).routes())
    application.add_routes(StsApi(control).routes())
    application.add_routes(ShapingApi(control).routes())
    application.add_routes(DirectiveApi(control).routes())
    return application


def _guarded(guard: Guard) -> Middleware:
    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/v1/"):
            guard.admit(request)
        return await handler(request)

    return admit


def _probe(control: Control, kind: Probe) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                checks = await control.checks(kind)
        except TimeoutError:
            checks = [Check("answer", ok=False, detail=f"none within {_PROBE_SECONDS:g} s")]
        good = all(check.ok for check in checks)
        text = "".join(f"{_line(check)}\n" for check in checks) + f"{kind} {'ok' if good else 'failed'}\n"
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return web.Response(text=text, status=status, headers={"Cache-Control": "no-store"})

    return handle


def _line(check: Check) -> str:
    detail = f": {' '.join(check.detail.split())}" if check.detail else ""
    return f"[+] {check.name} ok" if check.ok else f"[-] {check.name} failed{detail}"


def _metrics(control: Control) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        async with asyncio.timeout(_METRICS_SECONDS):
            body = await control.metrics()
        return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})

    return handle


def _configz(control: Control) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        status = await control.configz()
        answer = {
            "hash": status.hash,
            "loaded_at": rfc3339(status.loaded_at),
            "error": status.error,
            "warnings": list(status.warnings),
            "unbound": list(status.unbound),
            "dane": status.dane,
        }
        return json_response(answer)

    return handle


def _doorman(runner: web.AppRunner) -> Callable[[], RequestHandler]:
    """Closes the oldest connection for a new one, so that a flood does not block the probes."""

    def enter() -> RequestHandler:
        server = runner.server
        assert server is not None
        connections = server.connections
        if len(connections) >= _MAX_CONNECTIONS and connections[0].transport is not None:
            # Not close: that would wait for a client that does not read.
            connections[0].transport.abort()
        return server()

    return enter


async def _bind(endpoint: Endpoint) -> Sequence[socket.socket]:
    """Sockets bound to every address of `endpoint`, ready to listen."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind(address)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise OSError(error.errno, f"admin listener {endpoint}: {error.strerror}") from error
    return sockets


def _endpoint(name: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    return Endpoint(name[0], name[1])

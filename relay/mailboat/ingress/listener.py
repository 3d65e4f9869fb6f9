"""The listening sockets of one worker, and the sweep that closes connections after a timeout."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from mailboat.config.settings import Endpoint
from mailboat.ingress import replies
from mailboat.ingress.connection import ServerConnection
from mailboat.ingress.context import IngressContext, OpenConnection

log = logging.getLogger(__name__)

BACKLOG = 1024
SWEEP = 1.0
"""Seconds between two sweeps, by which a timeout may be late."""


class Listener:
    """Accepts SMTP on the endpoints of `smtp.ini`."""

    def __init__(self, context: IngressContext) -> None:
        self._context = context
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, *, shared: bool) -> None:
        """Bind and accept; with `shared` other workers listen on the same ports (SO_REUSEPORT). Raises OSError."""
        smtp = self._context.settings.smtp
        try:
            connection = partial(ServerConnection, self._context)  # and then the endpoint
            await self._listen(smtp.listen, connection, shared=shared)
            await self._listen(smtp.submission_listen, partial(connection, submission=True), shared=shared)
            await self._listen(smtp.smtps_listen, partial(connection, implicit_tls=True), shared=shared)
        except OSError:
            await self.close()
            raise
        self._sweeper = asyncio.create_task(self._sweep(), name="slow-clients")

    async def _listen(
        self, endpoints: Sequence[Endpoint], connection: Callable[[Endpoint], ServerConnection], *, shared: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        for endpoint in endpoints:
            sock = listening_socket(endpoint, shared=shared)
            server = await loop.create_server(partial(connection, endpoint), sock=sock, backlog=BACKLOG)
            self._servers.append(server)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that are listened on, in the order of `SmtpSettings.endpoints`."""
        return tuple(server.sockets[0].getsockname()[1] for server in self._servers)

    @property
    def is_up(self) -> bool:
        """Whether every endpoint is listened on."""
        return bool(self._servers) and all(server.is_serving() for server in self._servers)

    async def close(self) -> None:
        """Accept no more, and tell idle clients 421; those in a transaction may finish it."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._each(lambda connection: connection.shut_down())

    async def finish(self, grace: float) -> None:
        """Wait up to `grace` seconds for the remaining clients, then abort their connections."""
        all_closed = self._context.all_closed
        all_closed.clear()
        if self._context.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(all_closed.wait(), grace)
        self._each(lambda connection: connection.abort())
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self.sweep()

    def sweep(self) -> None:
        """Check all clients once: send delayed replies that are due, and close connections after a timeout."""
        now = self._context.clock.monotonic()
        self._each(partial(_look_at, now=now))
        try:
            self._context.admission.relieve()
        except Exception:
            log.exception("closing strangers to free memory failed")

    def _each(self, act: Callable[[OpenConnection], None]) -> None:
        """Do this to every connection. One for which it fails is closed, and the others continue."""
        for connection in list(self._context.connections):
            try:
                act(connection)
            except Exception:
                log.exception("a connection failed and is closed")
                with suppress(Exception):
                    connection.abort()


def _look_at(connection: OpenConnection, now: float) -> None:
    connection.tick(now)
    if connection.expired(now):
        connection.time_out()
    elif connection.is_outdated:
        connection.shut_down(replies.TLS_REPLACED)


def listening_socket(endpoint: Endpoint, *, shared: bool) -> socket.socket:
    """A bound socket; an IPv6 wildcard is IPv6 only, so that `0.0.0.0` can be bound, too. The OSError names the
    endpoint."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {endpoint}: {error.strerror}") from None
    return sock

"""A token server (RFC 6749) over HTTPS with a certificate of its own, on a real socket of this process.

`async with TokenServer.start() as server:`; each request is answered with the next token, `token-1`, `token-2` and so
on, unless `server.answers` says otherwise. `server.requests` holds the forms that came; `server.ca` verifies it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.support import tasks
from tests.support.pem import self_signed


@dataclass(frozen=True)
class HttpAnswer:
    """What is answered instead of a token."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Silent:
    """No answer until `TokenServer.release`."""


class TokenServer:
    """The server."""

    def __init__(self) -> None:
        self.ca = ""
        self.port = 0
        self.scheme = "https"
        self.requests: list[dict[str, str]] = []
        self.lines: list[str] = []
        """Request lines."""
        self.answers: list[HttpAnswer | Silent | dict[str, Any]] = []
        """Given one after the other, the last for ever; a dict is added to, or takes from (None), a usual answer."""
        self.connections = 0
        self._released = asyncio.Event()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, *, plain: bool = False) -> AsyncIterator[TokenServer]:
        """Run until the block ends; `plain`: over HTTP."""
        self = cls()
        context = None
        if plain:
            self.scheme = "http"
        else:
            context, self.ca = _certificate()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await tasks.end(self._tasks)

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"{self.scheme}://localhost:{self.port}/tenant/token"

    def release(self) -> None:
        """Let those go on that are kept waiting."""
        self._released.set()

    async def wait_for(self, what: Callable[[TokenServer], object]) -> None:
        """Return when `what(self)` is true; TimeoutError after 20 s."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: what(self))

    def route(self, mx_port: int, *more: str, mechanism: str = "xoauth2") -> list[str]:
        """A section of `outbound.ini` with the files of `write`."""
        return [
            "[route:sink]",
            "domains=*",
            f"hosts=127.0.0.1:{mx_port}",
            f"auth_type={mechanism}",
            "auth_user=relay@example.com",
            f"oauth_token_url={self.url}",
            "oauth_client_id=the-client",
            "oauth_client_secret_file=client_secret",
            *(["oauth_ca=token_ca.pem"] if self.ca else []),
            *more,
        ]

    def write(self, directory: Path) -> None:
        """The files that `route` names."""
        directory.mkdir(exist_ok=True)
        (directory / "client_secret").write_text("the-client-secret\n")
        (directory / "token_ca.pem").write_text(self.ca)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            length = next(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
            request = dict(parse_qsl((await reader.readexactly(length)).decode(), strict_parsing=True))
            self.lines.append(lines[0])
            self.requests.append(request)
            async with self._changed:
                self._changed.notify_all()
            await self._answer(writer, len(self.requests))
        with contextlib.suppress(OSError):
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, number: int) -> None:
        answer: HttpAnswer | Silent | dict[str, Any] = {}
        if self.answers:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Silent):
            await self._released.wait()
            answer = {}
        if isinstance(answer, dict):
            usual = {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": 3600} | answer
            body = json.dumps({name: value for name, value in usual.items() if value is not None}).encode()
            answer = HttpAnswer(200, body, {"Content-Type": "application/json"})
        headers = {"Content-Length": str(len(answer.body)), "Connection": "close", **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
        await writer.drain()


def _certificate() -> tuple[ssl.SSLContext, str]:
    """A server's context for localhost, and its certificate in PEM."""
    key, certificate = self_signed("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key + certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context, certificate.decode()

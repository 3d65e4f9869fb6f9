"""An HTTPS server for MTA-STS policies, on a real socket of this process, that answers as a test says.

`async with PolicyServer.start(authority, "example.test") as server:` has a certificate for `mta-sts.example.test`;
`server.answers[domain]` is the text of a policy or a `Reply`. A domain without an answer is 404.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.support import tasks
from tests.support.authority import Authority

PATH = "/.well-known/mta-sts.txt"


@dataclass(frozen=True)
class Reply:
    """What is sent instead of a good answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """What Content-Length says; None: the truth."""
    raw: bytes | None = None
    """The octets of the whole answer."""
    drips: bool = False
    """An octet of an endless body, and another one whenever the client has read the last."""
    silent: bool = False
    """No answer before `PolicyServer.release`."""


@dataclass(frozen=True)
class Request:
    """What was asked."""

    line: str
    headers: dict[str, str]
    """Names in lower case."""
    sni: str | None

    @property
    def domain(self) -> str:
        """Whose policy."""
        return self.headers["host"].removeprefix("mta-sts.")


class PolicyServer:
    """The server."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[str, str | Reply] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self.open = 0
        """Connections that are not closed yet."""
        self.changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sni: dict[ssl.SSLObject, str | None] = {}
        self._server: asyncio.Server | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, authority: Authority, *domains: str, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[PolicyServer]:
        """Run until the block ends; `context` shows another certificate."""
        self = cls()
        context = context or authority.context(*(f"mta-sts.{domain}" for domain in domains))
        context.sni_callback = self._note_sni
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await self.vanish()

    async def vanish(self) -> None:
        """Stop to answer; connections are refused from now on."""
        assert self._server is not None
        self._server.close()
        await tasks.end(self._tasks)

    def asked_for(self, domain: str) -> int:
        """How often a policy was asked for."""
        return sum(request.domain == domain for request in self.requests)

    async def wait_for_request(self, domain: str, count: int = 1) -> None:
        """Return when a policy was asked for that often; TimeoutError after 30 s."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: self.asked_for(domain) >= count)

    def release(self) -> None:
        """Answer those that wait."""
        self._released.set()

    def _note_sni(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._sni[connection] = name

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open += 1
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            try:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
                }
                request = Request(lines[0], headers, self._sni.get(writer.get_extra_info("ssl_object")))
                self.requests.append(request)
                await self._tell()
                await self._answer(writer, self.answers.get(request.domain, Reply(404)))
            finally:
                writer.close()
                self.open -= 1
                await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _answer(self, writer: asyncio.StreamWriter, answer: str | Reply) -> None:
        if isinstance(answer, str):
            answer = Reply(body=answer.encode())
        if answer.silent:
            await self._released.wait()
        if answer.raw is not None:
            writer.write(answer.raw)
            return
        length = answer.length if answer.length is not None else len(answer.body)
        headers = {"Content-Type": "text/plain", "Content-Length": str(length), "Connection": "close", **answer.headers}
        head = [f"HTTP/1.1 {answer.status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*head, "", ""]).encode() + answer.body)
        await writer.drain()
        if answer.drips:
            await asyncio.Event().wait()


def policy_text(*mx: str, mode: str = "enforce", max_age: int = 86_400) -> str:
    """A policy."""
    return "".join(
        f"{line}\r\n"
        for line in ("version: STSv1", f"mode: {mode}", f"max_age: {max_age}", *(f"mx: {name}" for name in mx))
    )

"""An SMTP or LMTP server in this process, on a real socket, that does as its script says: well, badly, or not at all.

Used as `async with ScriptedMx.start() as mx:`; a test writes the script with `mx.on(verb, answer, ...)` and
`mx.on_rcpt(address, answer, ...)`, then reads `mx.connections` and `mx.mails`. The answers of a verb are given one
after the other, the last for ever. Verbs are those of SMTP, and `CONNECT` (the greeting), `TLS` (instead of a
handshake), `BODY` (while the message comes in) and `.` (its end). Nothing here waits for time to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.support import tasks
from tests.support.mx_conversation import (
    DEFAULTS,
    After,
    Answer,
    Connection,
    Conversation,
    Drip,
    Drop,
    Endless,
    Held,
    Mail,
    Over,
    Raw,
    Silence,
)

from mailboat.config.settings import Protocol
from mailboat.routing.answers import Target

__all__ = [
    "After",
    "Answer",
    "Connection",
    "Drip",
    "Drop",
    "Endless",
    "Held",
    "Mail",
    "Raw",
    "ScriptedMx",
    "Silence",
]


class ScriptedMx:
    """The server."""

    def __init__(self, *, lmtp: bool = False) -> None:
        self.lmtp = lmtp
        self.extensions: list[str] = ["PIPELINING", "8BITMIME"]
        self.extensions_in_tls: list[str] | None = None
        """Offered after STARTTLS; None: the same, without STARTTLS."""
        self.context: ssl.SSLContext | None = None
        self.implicit_tls = False
        self.tokens: set[str] | None = None
        """Access tokens that AUTH takes with its initial response; None: as the script says."""
        self.sloppy = False
        """Take commands out of sequence."""
        self.stop_reading_after: int | None = None
        """Read no more of a message once this many octets of it are in."""
        self.connections: list[Connection] = []
        self.mails: list[Mail] = []
        self.ip = ""
        self.port = 0
        self.path = ""
        self._script: dict[str, list[Answer]] = {}
        self._rcpts: dict[str, list[Answer]] = {}
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._snis: dict[ssl.SSLObject, str | None] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, *, lmtp: bool = False, ip: str = "127.0.0.1", path: str = "", port: int = 0
    ) -> AsyncIterator[ScriptedMx]:
        """Run until the block ends; on a unix socket with `path`."""
        self = cls(lmtp=lmtp)
        if path:
            server = await asyncio.start_unix_server(self._accept, path)
            self.path = path
        else:
            server = await asyncio.start_server(self._accept, ip, port)
            self.ip, self.port = ip, server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await tasks.end(self._tasks)

    def on(self, verb: str, *answers: Answer) -> None:
        """Answer a verb so."""
        self._script[verb] = list(answers)

    def on_rcpt(self, address: str, *answers: Answer) -> None:
        """Answer RCPT for one address so."""
        self._rcpts[address] = list(answers)

    def starttls(self, context: ssl.SSLContext) -> None:
        """Offer STARTTLS with this certificate."""
        self.context = context
        self.extensions = [*self.extensions, "STARTTLS"]
        context.sni_callback = self._note_sni

    async def hang_up(self) -> None:
        """End all connections, as a server does that restarts."""
        await tasks.end(self._tasks)

    def release(self) -> None:
        """Give the answers that were held."""
        self._released.set()

    async def wait_for(self, what: Callable[[ScriptedMx], object]) -> None:
        """Return when `what(self)` is true; TimeoutError after 10 s."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: what(self))

    def target(self, host: str = "mx.test", **more: Any) -> Target:
        """Where to find this server."""
        protocol = Protocol.LMTP if self.lmtp else Protocol.SMTP
        return Target(host, self.ip, self.port, path=self.path, protocol=protocol, **more)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of all mails."""
        return [mail.body for mail in self.mails]

    def next_answer(self, verb: str, address: str = "") -> Answer:
        """What to answer now."""
        answers = self._rcpts.get(address) if address else None
        if answers is None:
            answers = self._script.get(verb)
        if answers is None:
            return DEFAULTS.get(verb, "500 5.5.1 no such command")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def scripted(self, verb: str) -> bool:
        """Whether the script says anything of a verb."""
        return verb in self._script

    async def changed(self) -> None:
        """Tell those who wait."""
        async with self._changed:
            self._changed.notify_all()

    async def released(self) -> None:
        """Wait for `release`."""
        await self._released.wait()

    def _note_sni(self, tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self._snis[tls] = name

    def sni_of(self, tls: ssl.SSLObject) -> str | None:
        """The name that a client asked for."""
        return self._snis.get(tls)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        peer = writer.get_extra_info("peername")
        connection = Connection(peer if isinstance(peer, tuple) else (peer,))
        self.connections.append(connection)
        await self.changed()
        try:
            await Conversation(self, connection, reader, writer).run()
        except (OSError, Over, asyncio.CancelledError):
            pass  # asyncio's streams would log the cancellation at the end of the test
        finally:
            connection.closed = True
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()
            await self.changed()

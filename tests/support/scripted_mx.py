"""An SMTP or LMTP server in this process, on a real socket, that answers as its script says: well, badly, or not at all.

Used as `async with ScriptedMx.start() as mx:`; a test writes the script with `mx.on(verb, answer, ...)` and
`mx.on_rcpt(address, answer, ...)`, then reads `mx.connections` and `mx.mails`. The answers of a verb are given one
after the other, the last for ever. Verbs are those of SMTP, and `CONNECT` (the greeting), `TLS` (instead of a
handshake), `BODY` (while the message comes in) and `.` (its end). Nothing here waits for time to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from mailboat.config.settings import Protocol
from mailboat.routing.answers import Target

DEFAULTS = {
    "CONNECT": "220 mx.test ESMTP",
    "HELO": "250 mx.test",
    "STARTTLS": "220 2.0.0 go on",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    ".": "250 2.0.0 queued as 1",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
    "AUTH": "235 2.7.0 welcome",
}


@dataclass(frozen=True)
class Raw:
    """These octets, and nothing else."""

    octets: bytes


@dataclass(frozen=True)
class Drop:
    """Say this (nothing when empty), then end the connection; `reset` ends it by RST."""

    text: str = ""
    reset: bool = False


@dataclass(frozen=True)
class Silence:
    """No answer, to this or anything that comes after, before `ScriptedMx.release`."""


@dataclass(frozen=True)
class Held:
    """This answer, but not before `ScriptedMx.release`."""

    text: str


@dataclass(frozen=True)
class Endless:
    """These octets again and again, as fast as they are taken."""

    octets: bytes


@dataclass(frozen=True)
class Drip:
    """These octets again and again, one by one, with a pause after each."""

    octets: bytes
    pause: float = 0.01


@dataclass(frozen=True)
class After:
    """For BODY: when this many octets of the message are in, do `then` without waiting for its end."""

    octets: int
    then: Drop | Raw | Silence


Answer = str | Raw | Drop | Silence | Held | Endless | Drip | After


@dataclass
class Connection:
    """What one client did."""

    peer: tuple[Any, ...]
    names: list[str] = field(default_factory=list)
    """Names of EHLO, HELO or LHLO."""
    verbs: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Commands in full, and AUTH's further lines."""
    reads: list[bytes] = field(default_factory=list)
    """Octets as they arrived: what was written at once is in one, within reason."""
    tls: bool = False
    sni: str | None = None
    closed: bool = False


@dataclass
class Mail:
    """A message whose end was seen, whatever was answered."""

    sender: str
    params: list[str]
    recipients: list[str]
    """Those that were accepted."""
    body: bytes
    """Without dot-stuffing."""
    connection: Connection


class ScriptedMx:
    """The server."""

    def __init__(self, *, lmtp: bool = False) -> None:
        self.lmtp = lmtp
        self.extensions: list[str] = ["PIPELINING", "8BITMIME"]
        self.extensions_in_tls: list[str] | None = None
        """Offered after STARTTLS; None: the same, without STARTTLS."""
        self.context: ssl.SSLContext | None = None
        self.implicit_tls = False
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
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

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
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
        try:
            await _Conversation(self, connection, reader, writer).run()
        except (OSError, _Over, asyncio.CancelledError):
            pass  # asyncio's streams would log the cancellation at the end of the test
        finally:
            connection.closed = True
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()
            await self.changed()


class _Over(Exception):  # noqa: N818
    """The conversation has ended."""


class _Conversation:
    """One connection."""

    def __init__(
        self, mx: ScriptedMx, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._mx = mx
        self._connection = connection
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._sender: str | None = None
        self._params: list[str] = []
        self._recipients: list[str] = []

    async def run(self) -> None:
        if self._mx.implicit_tls:
            await self._start_tls()
        await self._answer(self._mx.next_answer("CONNECT"))
        while True:
            line = (await self._line()).decode("utf-8", "surrogateescape")
            verb = "." if line == "." else line.split(" ", 1)[0].split(":", 1)[0].upper()
            self._connection.verbs.append(verb)
            self._connection.lines.append(line)
            await self._mx.changed()
            await self._command(verb, line)

    async def _command(self, verb: str, line: str) -> None:
        mx = self._mx
        if verb in ("EHLO", "HELO", "LHLO"):
            self._connection.names.append(line.split(" ", 1)[1] if " " in line else "")
            if verb != "HELO" and not mx.scripted(verb):
                await self._answer("\n".join(["250-mx.test", *(f"250-{e}" for e in self._offered()), "250 HELP"]))
                return
        if verb == "AUTH":
            await self._auth(line)
        elif verb == "MAIL":
            if self._sender is not None and not mx.sloppy:
                await self._answer("503 5.5.1 RSET first")
                return
            path, _, params = line.partition(":")[2].strip().partition("> ")
            if (await self._answer(mx.next_answer(verb))).startswith("2"):
                self._sender, self._params = path.strip("<>"), params.split()
                self._recipients = []
        elif verb == "RCPT":
            address = line.partition(":")[2].strip().strip("<>")
            if self._sender is None and not mx.sloppy:
                await self._answer("503 5.5.1 MAIL first")
            elif (await self._answer(mx.next_answer(verb, address))).startswith("2"):
                self._recipients.append(address)
        elif verb == "DATA":
            if not self._recipients and not mx.sloppy:
                await self._answer("503 5.5.1 RCPT first")
            elif (await self._answer(mx.next_answer(verb))).startswith("3"):
                await self._message()
        elif verb == "STARTTLS":
            if (await self._answer(mx.next_answer(verb))).startswith("2"):
                self._buffer = b""
                await self._start_tls()
        else:
            if verb == "RSET":
                self._forget()
            await self._answer(mx.next_answer(verb))
            if verb == "QUIT":
                raise _Over

    def _forget(self) -> None:
        self._sender, self._params, self._recipients = None, [], []

    def _offered(self) -> list[str]:
        if not self._connection.tls:
            return self._mx.extensions
        if self._mx.extensions_in_tls is not None:
            return self._mx.extensions_in_tls
        return [e for e in self._mx.extensions if e != "STARTTLS"]

    async def _auth(self, line: str) -> None:
        """AUTH, its challenges as the script gives them (`334 …`) until another answer."""
        while (await self._answer(self._mx.next_answer("AUTH"))).startswith("334"):
            self._connection.lines.append((await self._line()).decode())

    async def _message(self) -> None:
        body = await self._body()
        mail = Mail(self._sender or "", self._params, self._recipients, body, self._connection)
        self._mx.mails.append(mail)
        await self._mx.changed()
        for _ in range(len(self._recipients) if self._mx.lmtp else 1):
            await self._answer(self._mx.next_answer("."))
        self._forget()

    async def _body(self) -> bytes:
        seen = b"\r\n"
        early = self._mx.next_answer("BODY") if self._mx.scripted("BODY") else None
        while True:
            seen, self._buffer = seen + self._buffer, b""
            if isinstance(early, After) and len(seen) - 2 >= early.octets:
                await self._answer(early.then)
                early = None
            if self._mx.stop_reading_after is not None and len(seen) > self._mx.stop_reading_after:
                await self._mx.released()
            end = seen.find(b"\r\n.\r\n")
            if end >= 0:
                self._buffer = seen[end + 5 :]
                return (seen[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
            await self._read()

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            await self._read()
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.rstrip(b"\r")

    async def _read(self) -> None:
        data = await self._reader.read(1_048_576)
        if not data:
            raise _Over
        self._connection.reads.append(data)
        self._buffer += data

    async def _start_tls(self) -> None:
        assert self._mx.context is not None
        if self._mx.scripted("TLS"):
            await self._read()
            await self._answer(self._mx.next_answer("TLS"))
            raise _Over
        await self._writer.start_tls(self._mx.context)
        self._connection.tls = True
        tls = self._writer.get_extra_info("ssl_object")
        self._connection.sni = self._mx.sni_of(tls) if tls is not None else None

    async def _answer(self, answer: Answer) -> str:
        """Give an answer; the text of it, empty when there is none."""
        writer = self._writer
        if isinstance(answer, Silence | Held):
            await self._mx.released()
        if isinstance(answer, Held):
            answer = answer.text
        if isinstance(answer, Drop):
            if answer.text:
                writer.write(_lines(answer.text))
            if answer.reset:
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            raise _Over
        if isinstance(answer, Endless):
            while True:
                writer.write(answer.octets)
                await writer.drain()
                await asyncio.sleep(0)
        if isinstance(answer, Drip):
            while True:
                for octet in answer.octets:
                    writer.write(bytes([octet]))
                    await writer.drain()
                    await asyncio.sleep(answer.pause)
        if isinstance(answer, str):
            writer.write(_lines(answer))
            return answer
        if isinstance(answer, Raw):
            writer.write(answer.octets)
            return answer.octets.decode("latin-1")
        return ""


def _lines(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + b"\r\n"

"""One connection of `tests.support.scripted_mx`: reads commands, gives the answers of the script, notes what came."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.scripted_mx import ScriptedMx

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


class Over(Exception):  # noqa: N818
    """The conversation has ended."""


class Conversation:
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
        handlers: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._hello,
            "HELO": self._hello,
            "LHLO": self._hello,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "STARTTLS": self._starttls,
            "RSET": self._rset,
        }
        handler = handlers.get(verb)
        if handler is not None:
            await handler(line)
            return
        await self._answer(self._mx.next_answer(verb))
        if verb == "QUIT":
            raise Over

    async def _hello(self, line: str) -> None:
        verb, _, name = line.partition(" ")
        self._connection.names.append(name)
        if verb == "HELO" or self._mx.scripted(verb):
            await self._answer(self._mx.next_answer(verb))
        else:
            await self._answer("\n".join(["250-mx.test", *(f"250-{e}" for e in self._offered()), "250 HELP"]))

    def _offered(self) -> list[str]:
        if not self._connection.tls:
            return self._mx.extensions
        if self._mx.extensions_in_tls is not None:
            return self._mx.extensions_in_tls
        return [e for e in self._mx.extensions if e != "STARTTLS"]

    async def _auth(self, line: str) -> None:
        """AUTH, its challenges as the script gives them (`334 …`) until another answer."""
        if self._mx.tokens is not None:
            response = base64.b64decode(line.split()[2]).decode()
            known = any(f"auth=Bearer {token}\1" in response for token in self._mx.tokens)
            await self._answer("235 2.7.0 welcome" if known else "535 5.7.3 Authentication unsuccessful")
            return
        while (await self._answer(self._mx.next_answer("AUTH"))).startswith("334"):
            self._connection.lines.append((await self._line()).decode())

    async def _mail(self, line: str) -> None:
        if self._sender is not None and not self._mx.sloppy:
            await self._answer("503 5.5.1 RSET first")
            return
        path, _, params = line.partition(":")[2].strip().partition("> ")
        if (await self._answer(self._mx.next_answer("MAIL"))).startswith("2"):
            self._sender, self._params, self._recipients = path.strip("<>"), params.split(), []

    async def _rcpt(self, line: str) -> None:
        address = line.partition(":")[2].strip().partition("> ")[0].strip("<>")
        if self._sender is None and not self._mx.sloppy:
            await self._answer("503 5.5.1 MAIL first")
        elif (await self._answer(self._mx.next_answer("RCPT", address))).startswith("2"):
            self._recipients.append(address)

    async def _data(self, _line: str) -> None:
        if not self._recipients and not self._mx.sloppy:
            await self._answer("503 5.5.1 RCPT first")
        elif (await self._answer(self._mx.next_answer("DATA"))).startswith("3"):
            await self._message()

    async def _starttls(self, _line: str) -> None:
        if (await self._answer(self._mx.next_answer("STARTTLS"))).startswith("2"):
            self._buffer = b""
            await self._start_tls()

    async def _rset(self, _line: str) -> None:
        self._forget()
        await self._answer(self._mx.next_answer("RSET"))

    def _forget(self) -> None:
        self._sender, self._params, self._recipients = None, [], []

    async def _message(self) -> None:
        body = await self._body()
        mail = Mail(self._sender or "", self._params, self._recipients, body, self._connection)
        self._mx.mails.append(mail)
        await self._mx.changed()
        for _ in range(len(self._recipients) if self._mx.lmtp else 1):
            await self._answer(self._mx.next_answer("."))
        self._forget()

    async def _body(self) -> bytes:
        seen = bytearray(b"\r\n")
        early = self._mx.next_answer("BODY") if self._mx.scripted("BODY") else None
        looked = 0
        while True:
            seen += self._buffer
            self._buffer = b""
            if isinstance(early, After) and len(seen) - 2 >= early.octets:
                await self._answer(early.then)
                early = None
            if self._mx.stop_reading_after is not None and len(seen) > self._mx.stop_reading_after:
                await self._mx.released()
            end = seen.find(b"\r\n.\r\n", max(looked - 4, 0))
            looked = len(seen)
            if end >= 0:
                self._buffer = bytes(seen[end + 5 :])
                return bytes(seen[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
            await self._read()

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            await self._read()
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.rstrip(b"\r")

    async def _read(self) -> None:
        data = await self._reader.read(1_048_576)
        if not data:
            raise Over
        self._connection.reads.append(data)
        self._buffer += data
        await self._mx.changed()

    async def _start_tls(self) -> None:
        assert self._mx.context is not None
        if self._mx.scripted("TLS"):
            await self._read()
            await self._answer(self._mx.next_answer("TLS"))
            raise Over
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
            self._drop(answer)
        if isinstance(answer, Endless | Drip):
            await self._go_on_and_on(answer)
        if isinstance(answer, str):
            writer.write(_lines(answer))
            return answer
        if isinstance(answer, Raw):
            writer.write(answer.octets)
            return answer.octets.decode("latin-1")
        return ""

    def _drop(self, drop: Drop) -> None:
        if drop.text:
            self._writer.write(_lines(drop.text))
        if drop.reset:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        raise Over

    async def _go_on_and_on(self, answer: Endless | Drip) -> None:
        pieces = [answer.octets] if isinstance(answer, Endless) else [bytes([octet]) for octet in answer.octets]
        while True:
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()
                await asyncio.sleep(answer.pause if isinstance(answer, Drip) else 0)


def _lines(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + b"\r\n"

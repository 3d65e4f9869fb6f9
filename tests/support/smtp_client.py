"""An SMTP client that says exactly what a test wants, and nothing by itself.

It checks what every reply must have: lines that agree, and an enhanced status code of the right class (RFC 2034 4).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Iterable
from typing import Self

PATIENCE = 20.0
"""Seconds after which a test that waits has failed."""
TEXT = b"Subject: hello\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@client.test>\r\n\r\nGood day.\r\n"
"""A message that lacks nothing."""

_ENHANCED = re.compile(r"([245])\d\d[ -]([245])\.\d{1,3}\.\d{1,3} \S.*")


class Client:
    """One connection to the relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        host: str = "127.0.0.1",
        source: str | None = None,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int = 0,
    ) -> Self:
        """Connect, from `source` where it is given, in TLS from the first octet where there is a context."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except OSError:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname="relay.test" if tls else None, limit=2**22
        )
        return cls(reader, writer)

    def send(self, octets: bytes) -> None:
        """Send, without waiting for anything."""
        self.writer.write(octets)

    async def reply(self, *, enhanced: bool = True) -> str:
        """The next reply, its lines joined by line feeds."""
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while not lines or lines[-1][3:4] == "-":
                line = (await self.reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")
                assert len(line) <= 510, "longer than RFC 5321 4.5.3.1.5 allows"
                assert not lines or line[:3] == lines[0][:3]
                lines.append(line)
        if enhanced and not lines[0].startswith("354 "):
            for line in lines:
                match = _ENHANCED.fullmatch(line)
                assert match is not None, f"{line!r} has no enhanced status code"
                assert match[1] == match[2], f"{line!r} has one of another class"
        return "\n".join(lines)

    async def replies(self, count: int) -> list[str]:
        """The next replies."""
        return [await self.reply() for _ in range(count)]

    async def ask(self, line: str | bytes) -> str:
        """Send one command and read its reply."""
        octets = line if isinstance(line, bytes) else line.encode()
        self.send(octets + b"\r\n")
        return await self.reply(enhanced=octets[:4].upper() not in (b"EHLO", b"HELO"))

    async def ehlo(self, name: str = "client.test") -> list[str]:
        """Say EHLO; the keywords that are offered, with their parameters."""
        lines = (await self.ask(f"EHLO {name}")).split("\n")
        assert lines[0].startswith("250-relay.test ")
        return [line[4:] for line in lines[1:]]

    async def begin(self, *recipients: str, sender: str = "alice@sender.test", parameters: str = "") -> None:
        """A transaction up to the 354, each step accepted."""
        commands = [f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:<{r}>" for r in recipients or ("bob@there.test",))]
        for command in commands:
            reply = await self.ask(command)
            assert reply.startswith("250 2.1."), f"{command}: {reply}"
        assert (await self.ask("DATA")).startswith("354 ")

    async def mail(self, text: bytes = TEXT, *recipients: str, sender: str = "alice@sender.test") -> str:
        """A whole transaction; the reply to its end. `text` is sent as it is, and CRLF.CRLF after it."""
        await self.begin(*recipients, sender=sender)
        self.send(text.removesuffix(b"\r\n") + b"\r\n.\r\n")
        return await self.reply()

    async def drip(self, pieces: Iterable[bytes]) -> None:
        """Send pieces one by one, each in a segment of its own as far as the kernel does as it is told."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.writer.write(piece)
            async with asyncio.timeout(PATIENCE):
                await self.writer.drain()
            await asyncio.sleep(0)

    async def rest(self) -> bytes:
        """Everything until the relay closes the connection, or breaks it."""
        octets = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while piece := await self.reader.read(65_536):
                    octets += piece
            except ConnectionError:
                pass
        return octets

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Upgrade, after the 220."""
        async with asyncio.timeout(PATIENCE):
            await self.writer.start_tls(context, server_hostname="relay.test")

    def half_close(self) -> None:
        """Send no more."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Break the connection off with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Hang up."""
        self.writer.close()

    async def quit(self) -> None:
        """QUIT, and see the connection closed."""
        assert (await self.ask("QUIT")).startswith("221 2.0.0 ")
        assert await self.rest() == b""
        self.close()


async def recipient_code(port: int) -> bytes:
    """The code that a client of 127.0.0.1 gets for a recipient elsewhere."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HELO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nQUIT\r\n")
    lines = (await reader.read()).splitlines()
    writer.close()
    return lines[3][:3]

"""Hosts and a DNS server that behave badly, each in its own way, and good hosts that note what they took.

Names: `gN.good.test` has the MX `mx.gN.good.test`, its own good host. `NAME.KIND.test` has the MX `mx.KIND.test`,
whose address is of a host of that kind. `NAME.silent.test` is never answered, `NAME.servfail.test` with SERVFAIL. All
in one event loop; called by `bench.hostile`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import cast

KINDS = {"greeting": "127.0.9.1", "dot": "127.0.9.2", "tls": "127.0.9.3", "slow": "127.0.9.4"}
"""Never greets; dribbles the reply to the dot; says 220 to STARTTLS and nothing more; takes 11 s a message."""
SLOW = 11.0
_GOOD = "127.0.8."
"""The good hosts, by number."""
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHHLH")
_MX, _A = 15, 1
_NAME_OF_QUESTION = 0xC00C


class Hosts:
    """All of them on one port."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        """When the good host took each message."""
        self.slow = 0
        """Messages that the slow one took."""
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[int]:
        """Until the block ends; gives the port of the DNS server."""
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "0.0.0.0", port, backlog=4096)  # all of 127.0.0.0/8
        transport, _ = await loop.create_datagram_endpoint(_Dns, ("127.0.0.1", 0))
        try:
            yield transport.get_extra_info("sockname")[1]
        finally:
            transport.close()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        own = writer.get_extra_info("sockname")[0]
        kind = next((kind for kind, ip in KINDS.items() if ip == own), "good")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._converse(kind, reader, writer)
        with contextlib.suppress(OSError):
            writer.close()

    async def _converse(self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if kind == "greeting":
            await reader.read()
            return
        writer.write(b"220 host.test ESMTP\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-host.test\r\n250 STARTTLS\r\n" if kind == "tls" else b"250 host.test\r\n")
            elif verb == b"STAR":
                writer.write(b"220 go on\r\n")
                await reader.read()
                return
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await self._serve(kind, writer)
            else:
                writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return

    async def _serve(self, kind: str, writer: asyncio.StreamWriter) -> None:
        if kind == "dot":
            while True:
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(15)
        if kind == "slow":
            await asyncio.sleep(SLOW)
            self.slow += 1
        else:
            self.arrived.append(time.monotonic())
        writer.write(b"250 ok\r\n")


class _Dns(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(data)
        if reply is not None:
            self._transport.sendto(reply, addr)


def answer(query: bytes) -> bytes | None:
    """The response to `query`, if any."""
    labels, at = [], _HEADER.size
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace").lower())
        at += query[at] + 1
    question = query[_HEADER.size : at + 5]
    (ident,), (kind,) = struct.unpack_from("!H", query), struct.unpack_from("!H", query, at + 1)
    zone = labels[-2] if len(labels) > 1 else ""
    if zone == "silent":
        return None
    if zone == "servfail":
        return _HEADER.pack(ident, 0x8582, 1, 0, 0, 0) + question
    data = b""
    if kind == _MX and labels[0] != "mx":
        names = ("mx", *labels[-3 if zone == "good" else -2 :])
        data = struct.pack("!H", 10) + b"".join(bytes([len(n)]) + n.encode() for n in names) + b"\0"
    elif kind == _A and labels[0] == "mx":
        data = socket.inet_aton(KINDS[zone] if zone in KINDS else _GOOD + labels[1].removeprefix("g"))
    if not data:
        return _HEADER.pack(ident, 0x8580, 1, 0, 0, 0) + question
    return (
        _HEADER.pack(ident, 0x8580, 1, 1, 0, 0)
        + question
        + _RECORD.pack(_NAME_OF_QUESTION, kind, 1, 300, len(data))
        + data
    )

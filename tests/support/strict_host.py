"""A host that lets only so many connections in, and takes its time for a message: on a real socket, in this process.

`async with StrictHost.start(connections=2, seconds=0.02) as host:`; what is too much is answered 421 and closed. It
counts what it took (`messages`), whom it turned away, and how many connections were open at once at most.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from tests.support import tasks

_READY = b"220 strict.test ESMTP\r\n"
_TOO_MANY = b"421 4.7.0 strict.test: come back later\r\n"
_BYE = b"421 4.7.0 strict.test: enough for one connection\r\n"
_REPLIES = {b"EHLO": b"250 strict.test\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 2.0.0 bye\r\n"}
_FINE = b"250 2.0.0 ok\r\n"


class StrictHost:
    """The server."""

    def __init__(self, connections: int, seconds: float, messages_each: int) -> None:
        self.port = 0
        self.recipients: Counter[str] = Counter()
        """How often each was delivered to."""
        self.turned_away = 0
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self._allowed = connections
        self._seconds = seconds
        self._each = messages_each
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        *,
        connections: int = 1_000_000,
        seconds: float = 0.0,
        messages_each: int = 1_000_000,
        ip: str = "127.0.0.1",
    ) -> AsyncIterator[StrictHost]:
        """Let `connections` in, take `seconds` a message, and say 421 to the one after `messages_each`."""
        self = cls(connections, seconds, messages_each)
        server = await asyncio.start_server(self._accept, ip, 0, backlog=1000)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await tasks.end(self._tasks)

    @property
    def messages(self) -> int:
        """Deliveries."""
        return self.recipients.total()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        let_in = self.open < self._allowed
        self.open += let_in
        self.most_open = max(self.most_open, self.open)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if let_in:
                await self._converse(reader, writer)
            else:
                self.turned_away += 1
                writer.write(_TOO_MANY)
        self.open -= let_in
        with contextlib.suppress(OSError):
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_READY)
        taken, recipients = 0, list[str]()
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"MAIL" and taken == self._each:
                writer.write(_BYE)
                return
            if verb == b"RCPT":
                recipients.append(line.partition(b"<")[2].partition(b">")[0].decode())
            writer.write(_REPLIES.get(verb, _FINE))
            if verb == b"QUIT":
                return
            if verb == b"DATA":
                await reader.readuntil(b"\r\n.\r\n")
                await asyncio.sleep(self._seconds)
                writer.write(_FINE)
                self.recipients.update(recipients)
                recipients.clear()
                taken += 1

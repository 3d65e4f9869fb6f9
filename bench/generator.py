"""A load generator that varies the recipient, which `smtp-source` cannot: some sessions, each pipelining.

Knows nothing of relays. Called by `bench.destinations`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

from bench.fault import BenchError

_GREETING, _READY, _ENVELOPE = range(3)
_LINE = b"X" * 76 + b"\r\n"


def message(size: int) -> bytes:
    """A mail of about `size` octets with its final dot, ready to follow a 354."""
    head = b"From: <sender@bench.test>\r\nTo: <recipient@bench.test>\r\nSubject: bench\r\n\r\n"
    return head + _LINE * max(1, (size - len(head)) // len(_LINE)) + b".\r\n"


class _Session(asyncio.Protocol):
    """One client: the next envelope goes out in one piece with the message before it (RFC 2920 3.1)."""

    def __init__(self, recipients: Iterator[str], body: bytes, done: asyncio.Future[int]) -> None:
        self._recipients = recipients
        self._body = body
        self._done = done
        self._state = _GREETING
        self._awaited = 1
        self._buffer = b""
        self._sent = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            if line[:1] not in b"23":
                if not self._done.done():
                    self._done.set_exception(BenchError(f"the relay said: {line[:200].decode(errors='replace')}"))
                self._transport.abort()
                return
            self._awaited -= 1
            if self._awaited == 0:
                self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(BenchError(f"the relay closed the connection: {exc}"))

    def _advance(self) -> None:
        """All replies to what was sent are here: sends the next group of commands."""
        if self._state == _GREETING:
            self._send(_READY, 1, b"EHLO generator.bench.test\r\n")
        elif self._state == _READY:
            self._send_envelope(self._envelope(), b"", 0)
        elif self._state == _ENVELOPE:
            self._sent += 1
            self._send_envelope(self._envelope(), self._body, 1)

    def _send_envelope(self, envelope: bytes | None, before: bytes, replies: int) -> None:
        if envelope is not None:
            self._send(_ENVELOPE, replies + 3, before + envelope)
        elif before:
            self._send(_READY, replies, before)  # the last message: its reply finds no further recipient
        else:
            self._done.set_result(self._sent)
            self._transport.write(b"QUIT\r\n")
            self._transport.close()

    def _envelope(self) -> bytes | None:
        recipient = next(self._recipients, None)
        if recipient is None:
            return None
        return b"MAIL FROM:<sender@bench.test>\r\nRCPT TO:<%s>\r\nDATA\r\n" % recipient.encode()

    def _send(self, state: int, replies: int, data: bytes) -> None:
        self._state, self._awaited = state, replies
        self._transport.write(data)


async def send(port: int, recipients: Iterator[str], *, sessions: int, size: int) -> int:
    """Sends a mail of `size` octets to each of `recipients`; returns their number once all were answered 250."""
    loop = asyncio.get_running_loop()
    body = message(size)
    waiting: list[asyncio.Future[int]] = [loop.create_future() for _ in range(sessions)]
    for done in waiting:

        def session(done: asyncio.Future[int] = done) -> _Session:
            return _Session(recipients, body, done)

        await loop.create_connection(session, "127.0.0.1", port)
    return sum(await asyncio.gather(*waiting))

"""An SMTP sink that demands STARTTLS and counts: `smtp-sink` for the rows with TLS, which it cannot do itself.

(stunnel could stand before it, but its STARTTLS server sits out 200 ms before each greeting.) It prints its count
as smtp-sink does, so that `bench.load` reads both alike. Run by `bench.load`: `python -m bench.tls_sink PORT CERT KEY`.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

import uvloop

_REPORT_INTERVAL = 0.01
_END = b"\r\n.\r\n"
_LINE_LIMIT = 4096
_REPLIES = {
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"HELO": b"250 sink\r\n",
}
_CLOSED_BEFORE_TLS = (b"MAIL", b"RCPT", b"DATA")


class Counter:
    """Messages taken by all sessions."""

    def __init__(self) -> None:
        self.messages = 0

    async def report(self) -> None:
        """Prints the count whenever it has changed, until it is killed."""
        shown = -1
        while True:
            if shown != self.messages:
                shown = self.messages
                sys.stdout.write(f"mesg={shown}\r")
                sys.stdout.flush()
            await asyncio.sleep(_REPORT_INTERVAL)


class Session(asyncio.Protocol):
    """One client. Commands may be pipelined (RFC 2920), also behind the end of a message."""

    def __init__(self, counter: Counter, context: ssl.SSLContext) -> None:
        self._counter = counter
        self._context = context
        self._buffer = b""
        self._data = False
        self._secure = False
        self._upgrade: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._secure:
            self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies: list[bytes] = []
        while self._step(replies):
            pass
        if replies and not self._transport.is_closing():
            self._transport.write(b"".join(replies))
        if self._upgrade is None and replies and replies[-1].startswith(b"220"):
            self._buffer = b""  # RFC 3207 4.2: what came before TLS is not to be trusted
            self._transport.pause_reading()
            self._upgrade = asyncio.ensure_future(self._start_tls())
        elif replies and replies[-1].startswith((b"221", b"500")):
            self._transport.close()

    def _step(self, replies: list[bytes]) -> bool:
        """Takes one command or the rest of a message from the buffer; False when that needs more octets."""
        if self._data:
            end = self._buffer.find(_END)
            if end < 0:
                self._buffer = self._buffer[-len(_END) + 1 :]  # the message itself is of no interest
                return False
            self._buffer, self._data = self._buffer[end + len(_END) :], False
            self._counter.messages += 1
            replies.append(b"250 2.0.0 taken\r\n")
            return True
        line, newline, rest = self._buffer.partition(b"\r\n")
        if not newline:
            if len(line) > _LINE_LIMIT:
                replies.append(b"500 5.5.2 line too long\r\n")
            return False
        self._buffer = rest
        replies.append(self._command(line[:4].upper()))
        return True

    def _command(self, verb: bytes) -> bytes:
        if verb in _CLOSED_BEFORE_TLS and not self._secure:
            return b"530 5.7.0 STARTTLS first\r\n"
        if verb == b"DATA":
            self._data, self._buffer = True, b"\r\n" + self._buffer  # so that an empty message ends as well
            return b"354 go ahead\r\n"
        if verb == b"EHLO":
            return (
                b"250-sink\r\n250-PIPELINING\r\n" + (b"" if self._secure else b"250-STARTTLS\r\n") + b"250 8BITMIME\r\n"
            )
        if verb == b"STAR":
            return b"454 4.7.0 TLS is on\r\n" if self._secure else b"220 2.0.0 ready\r\n"
        if verb == b"QUIT":
            return b"221 2.0.0 bye\r\n"
        return _REPLIES.get(verb, b"502 5.5.2 not here\r\n")

    async def _start_tls(self) -> None:
        self._secure = True
        loop = asyncio.get_running_loop()
        try:
            upgraded = await loop.start_tls(self._transport, self, self._context, server_side=True)
        except (OSError, ssl.SSLError):
            self._transport.abort()
            return
        self._transport = cast("asyncio.Transport", upgraded)


async def serve(port: int, cert: str, key: str) -> None:
    """Listens on loopback until it is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    counter = Counter()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session(counter, context), "127.0.0.1", port, backlog=4096)
    async with server:
        await counter.report()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))

"""A connection as a stream of replies: writes commands, matches replies to them in order, and enforces timeouts.

Knows lines, codes and deadlines; not what a command or a reply means. `delivery.client` drives it until a session is
open, then `delivery.session`; `delivery.pool` closes it.

The peer is not trusted: a reply is bounded in octets and lines, a deadline covers a whole reply, and an unexpected
reply ends the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from mailboat.delivery.dial import describe
from mailboat.delivery.verdict import FaultKind
from mailboat.model.reply import Reply

RawReply = tuple[int, bytes]
"""Code, and the lines as received, joined by LF; decoded only when needed."""

MAX_REPLY_OCTETS = 65_536
MAX_REPLY_LINES = 1000
MAX_TEXT = 4096
"""Characters of a reply that are kept."""

_CODES = {b"%d" % code: code for code in range(200, 600)}  # RFC 5321 4.2.1: the first digit is 2 to 5
_ONE_LINE = {octets + b" ": code for octets, code in _CODES.items()}
_GREETING = 220
_LAST_LINE = frozenset((b" ", b"\r", b""))  # RFC 5321 4.2: clients take a bare "250" too


class Broken(Exception):  # noqa: N818 - said of a connection
    """The connection is unusable. `replies` are those of the current exchange that were received."""

    def __init__(self, kind: FaultKind, text: str, replies: Sequence[RawReply] = ()) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.replies = replies


def printable(text: str) -> str:
    """A peer's text made safe to show: no control or other unprintable characters but LF, and not too long."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + " ..."
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text)


def decode(raw: RawReply) -> Reply:
    """The reply for people and for the verdict."""
    code, octets = raw
    text = b"\n".join([line[4:].strip() for line in octets.split(b"\n")])
    return Reply(code, printable(text.decode("utf-8", "replace")))


class ReplyStream(asyncio.Protocol):
    """One connection. One exchange at a time: `expect`, `write`, `collect`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, greeting_timeout: float) -> None:
        """Not connected yet. The first exchange has begun: its one reply is the greeting."""
        self._loop = loop
        self.transport: asyncio.Transport
        """From `connection_made` on."""
        self._partial = bytearray()
        """An incomplete line."""
        self._more: list[bytes] = []
        """Lines of an incomplete reply."""
        self._octets = 0
        """Length of `_more`."""
        self._replies: list[RawReply] = []
        self._greetings = 2
        """How many more greetings may come. RFC 5321 3.1 defines one, but a proxy may greet and then pass on the
        server's greeting: a second 220 reply before any other is ignored. A reply to EHLO is never a 220."""
        self._timeouts: Sequence[float] = (greeting_timeout,)
        """One for each reply expected in this exchange; a reply's time begins with the end of the one before it."""
        self._counted = 0
        """Replies that the deadline has already covered."""
        self._waiter: asyncio.Future[None] | None = None
        self._draining = False
        """The waiter is in `drain`, not in `collect`."""
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._paused = False
        self._quitting = False
        self._connected = self._closed = False
        self.heard = 0
        """Pieces that have come from the peer."""
        self.fault: Broken | None = None
        """Why nothing more can be exchanged."""
        self.on_closed: Callable[[], None] | None = None
        """Called once, when the connection has ended."""

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Start TLS. The caller makes sure that nothing is `unread`.

        Raises:
            OSError: the handshake failed (ssl.SSLError), or the connection ended.
        """
        transport = self.transport
        if transport.is_closing():
            raise ConnectionResetError("connection closed by the peer")
        secured = await self._loop.start_tls(transport, self, context, server_hostname=server_name)
        if secured is None:
            raise ConnectionResetError("connection closed by the peer")
        self.connection_made(secured)

    @property
    def unread(self) -> bool:
        """Whether the peer has sent more than the replies that were asked for."""
        too_many = self.fault is not None and self.fault.kind is FaultKind.PROTOCOL
        return too_many or bool(self._partial or self._more or self._replies)

    @property
    def usable(self) -> bool:
        """Whether a new exchange may begin."""
        return self.fault is None and not self._quitting and not self._partial and not self._more

    @property
    def flushed(self) -> bool:
        """Whether all written octets have left this process."""
        return not self._paused

    @property
    def answered_early(self) -> bool:
        """Whether a reply to the current exchange has already arrived."""
        return bool(self._replies)

    def expect(self, timeouts: Sequence[float]) -> None:
        """Begin an exchange that has one reply for each of `timeouts` (seconds).

        Raises:
            Broken: the connection has ended, or the peer sent an unexpected reply.
        """
        if self._partial or self._more:
            self._break(FaultKind.PROTOCOL, "the beginning of a reply that nothing asked for")
        if self.fault is not None:
            raise Broken(self.fault.kind, self.fault.text)
        self._timeouts = timeouts
        self._counted = 0

    def write(self, data: bytes | memoryview) -> None:
        """Send octets; never blocks (`drain` waits)."""
        self.transport.write(data)

    async def drain(self, timeout: float) -> None:
        """Wait until all is written, or a reply arrives early.

        Raises:
            Broken: the peer accepts no data for `timeout` seconds, or the connection ended.
        """
        if self._paused and self.fault is None and not self._replies:
            self._draining = True
            try:
                await self._wait(timeout)
            finally:
                self._draining = False
            if self._paused and self.fault is None and not self._replies:
                self._break(FaultKind.TIMEOUT, f"the peer took no data for {timeout:g} s")
        if self.fault is not None and not self._replies:
            raise Broken(self.fault.kind, self.fault.text)

    async def collect(self) -> list[RawReply]:
        """Wait for the replies of this exchange.

        Raises:
            Broken: not all were received; its `replies` are those that were.
        """
        wanted = len(self._timeouts)
        received = len(self._replies)
        if received < wanted and self.fault is None:
            self._counted = received
            await self._wait(self._timeouts[received])
        replies, self._replies = self._replies, []
        self._timeouts = ()
        if len(replies) >= wanted:
            return replies
        if self.fault is None:
            self._break(FaultKind.TIMEOUT, "no reply in time")
        assert self.fault is not None
        raise Broken(self.fault.kind, self.fault.text, replies)

    async def exchange(self, data: bytes, timeouts: Sequence[float]) -> list[RawReply]:
        """`expect`, `write` and `collect` in one."""
        self.expect(timeouts)
        self.transport.write(data)
        return await self.collect()

    @property
    def unsent(self) -> int:
        """Octets written that have not left this process."""
        return self.transport.get_write_buffer_size()

    def give_up(self, why: str) -> None:
        """End now, as if the peer had not answered in time."""
        self._break(FaultKind.TIMEOUT, why)
        self.abort()

    def quit(self, timeout: float) -> None:
        """End in the background: QUIT, its reply, close; abort after `timeout` seconds."""
        if self._closed or self._quitting:
            return
        if self.fault is not None:
            self.abort()
            return
        self._quitting = True
        self.transport.write(b"QUIT\r\n")
        self._cancel_timer()
        self._timer = self._loop.call_later(timeout, self.transport.abort)

    def abort(self) -> None:
        """End now, without QUIT."""
        if not self._closed:
            if self.fault is None:
                self._break(FaultKind.CLOSED, "connection dropped here")
            if self._connected:
                self.transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, with implicit TLS if configured."""
        self.transport = cast("asyncio.Transport", transport)
        self._connected = True
        # Octets in our buffer count as "not yet handed to the kernel": see `flushed`. Not high=0: TLS transports call
        # an empty buffer full then.
        self.transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        """Split received octets into replies."""
        if self._quitting:
            self.transport.close()
            return
        if self.fault is not None:
            return
        self.heard += 1
        if self._partial:
            if b"\n" not in data:
                self._keep(data)
                return
            data = bytes(self._partial) + data
            self._partial.clear()
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = data[start:end]
            start = end + 1
            code = _ONE_LINE.get(line[:4])
            if code and len(self._replies) < len(self._timeouts) and not (self._more or self._greetings):
                self._replies.append((code, line))  # almost every reply
            elif not self._add_line(line):
                break
        if start < len(data) and self.fault is None:
            self._keep(data[start:])
        if self._waiter is not None:
            self._progress()

    def eof_received(self) -> bool:
        """The peer has closed its side: close ours, too."""
        self._break(FaultKind.CLOSED, "connection closed by the peer")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._closed = True
        self._cancel_timer()
        if isinstance(exc, ssl.SSLError):
            self._break(FaultKind.TLS, f"TLS failed: {describe(exc)}")
        why = f"connection lost: {exc}" if exc is not None else "connection closed by the peer"
        self._break(FaultKind.CLOSED, why)
        if self.on_closed is not None:
            self.on_closed()
            self.on_closed = None

    def pause_writing(self) -> None:
        """Octets wait in our buffer."""
        self._paused = True

    def resume_writing(self) -> None:
        """The buffer is empty."""
        self._paused = False
        if self._draining:
            self._wake()

    # Inside.

    def _add_line(self, line: bytes) -> bool:
        """Whether to continue with the next line."""
        code = _CODES.get(line[:3])
        mark = line[3:4]
        awaited = len(self._replies) < len(self._timeouts)
        if code is None or (mark != b"-" and mark not in _LAST_LINE):
            shown = printable(line[:80].decode("utf-8", "replace").strip())
            self._break(FaultKind.PROTOCOL, f"not an SMTP reply: {shown!r}")
            return False
        if not awaited and not (code == _GREETING and self._greetings == 1):
            shown = printable(line[:80].decode("utf-8", "replace").strip())
            self._break(FaultKind.PROTOCOL, f"a reply that nothing asked for: {shown!r}")
            return False
        if mark == b"-":
            self._more.append(line)
            self._octets += len(line)
            if len(self._more) >= MAX_REPLY_LINES or self._octets > MAX_REPLY_OCTETS:
                self._break(FaultKind.PROTOCOL, "a reply without end")
                return False
            return True
        if self._more:
            line = b"\n".join((*self._more, line))
            self._more.clear()
            self._octets = 0
        if self._greetings:
            self._greetings = self._greetings - 1 if code == _GREETING else 0
            if code == _GREETING and not self._greetings:
                return True  # the second one
        self._replies.append((code, line))
        return True

    def _keep(self, data: bytes) -> None:
        self._partial += data
        if len(self._partial) + self._octets > MAX_REPLY_OCTETS:
            self._break(FaultKind.PROTOCOL, "a reply without end")

    async def _wait(self, timeout: float) -> None:
        """Wait until woken, or for `timeout` seconds; the caller checks what happened."""
        self._arm(timeout)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _arm(self, timeout: float) -> None:
        # One timer that may run early instead of one for each wait: it is only moved if it would run too late.
        self._deadline = self._loop.time() + timeout
        if self._timer is None or self._timer_at > self._deadline:
            self._cancel_timer()
            self._start_timer()

    def _progress(self) -> None:
        """A reply arrived during a wait: end the wait after the last one, or start the next timeout."""
        received = len(self._replies)
        if received >= len(self._timeouts) or self.fault is not None or (self._draining and received):
            self._wake()
        elif received > self._counted:
            self._counted = received
            self._arm(self._timeouts[received])

    def _start_timer(self) -> None:
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() >= self._deadline:
            self._wake()
        else:
            self._start_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _break(self, kind: FaultKind, text: str) -> None:
        if self.fault is None:
            self.fault = Broken(kind, text)
            self._partial.clear()
            self._more.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

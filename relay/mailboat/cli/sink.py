"""`mailboat sink`: an SMTP server that accepts every mail, prints a line for it and forgets it.

It stands for the rest of the world on a developer's machine. The protocol is that of `mailboat.smtp`, without any of
the relay's admission, storage or delivery; `serve` is also for tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mailboat.cli.endpoint import parse_endpoint
from mailboat.config.settings import Endpoint
from mailboat.message.headers import scan
from mailboat.message.text import decode_words
from mailboat.metrics.text import printable
from mailboat.model.clock import SystemClock, rfc3339
from mailboat.smtp import events
from mailboat.smtp.extensions import Offers, size
from mailboat.smtp.session import ServerSession, SessionLimits

MAX_SIZE = 100 * 2**20
MAX_RECIPIENTS = 10_000
_IDLE_SECONDS = 300.0  # RFC 5321 4.5.3.2.7


@dataclass(slots=True)
class SinkMail:
    """One mail as the sink took it."""

    sender: str
    peer: str
    hello: str
    tls: str
    """The protocol version; empty in plain text."""
    recipients: list[str] = field(default_factory=list)
    body: bytes = field(default=b"", repr=False)


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, host: str, context: ssl.SSLContext | None, deliver: Callable[[SinkMail], None]) -> None:
        self._host = host
        self._context = context
        self._deliver = deliver
        self._session = ServerSession(host, SessionLimits(line=MAX_SIZE), self._offers(tls=False))
        self._transport: asyncio.Transport
        self._tls = ""
        self._hello = ""
        self._mail: SinkMail | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._upgrade: asyncio.Task[None] | None = None
        self._early = b""
        """What came inside TLS before the handshake's end was told here."""
        self._idle: asyncio.TimerHandle | None = None

    def _offers(self, *, tls: bool) -> Offers:
        return Offers(MAX_SIZE, starttls=self._context is not None and not tls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._session.greet()
        self._flush()
        self._rewind()

    def data_received(self, data: bytes) -> None:
        self._rewind()
        if self._upgrade and not self._tls:
            self._early += data
            return
        self._session.feed(data)
        while (event := self._session.next_event()) is not None:
            self._handle(event)
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self._idle:
            self._idle.cancel()

    def pause_writing(self) -> None:
        # A client that asks and never reads the answers is not asked to go on.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def _rewind(self) -> None:
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._session.close(f"421 4.4.2 {self._host} Idle for too long\r\n".encode())
        self._flush()

    def _flush(self) -> None:
        output = self._session.data_to_send()
        if output:
            self._transport.write(output)
        if self._session.is_closing:
            self._transport.close()

    def _answer(self, reply: str, *, accepted: bool = True) -> None:
        self._session.answer(f"{reply}\r\n".encode(), accepted=accepted)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Hello():
                self._hello, self._mail = event.name, None
                self._session.answer(self._session.ehlo(), accepted=True)
            case events.Mail():
                self._begin(event)
            case events.Rcpt():
                self._add(str(event.recipient))
            case events.Data():
                self._chunks, self._size = [], 0
                self._answer("354 End with a dot on a line of its own")
            case events.Chunk():
                self._keep(event.octets)
            case events.EndOfData():
                self._keep(event.octets)
                self._end(event)
            case events.StartTls():
                self._start_tls()
            case events.Reset():
                self._mail = None
            case events.Quit() | events.RejectedCommand():
                pass

    def _begin(self, event: events.Mail) -> None:
        if size.declared(event.parameters) > MAX_SIZE:
            self._answer("552 5.3.4 Message is too big", accepted=False)
            return
        peer = self._transport.get_extra_info("peername") or ("", 0)
        self._mail = SinkMail(str(event.sender), str(peer[0]), self._hello, self._tls)
        self._answer("250 2.1.0 Ok")

    def _add(self, recipient: str) -> None:
        if self._mail is None or len(self._mail.recipients) >= MAX_RECIPIENTS:
            self._answer("452 4.5.3 Too many recipients", accepted=False)
            return
        self._mail.recipients.append(recipient)
        self._answer("250 2.1.5 Ok")

    def _keep(self, octets: bytes) -> None:
        self._size += len(octets)
        if self._size <= MAX_SIZE:
            self._chunks.append(octets)

    def _end(self, event: events.EndOfData) -> None:
        mail, self._mail = self._mail, None
        body = b"".join(self._chunks)
        self._chunks = []
        if event.fault:
            self._answer(f"550 5.6.0 {event.fault.name.replace('_', ' ').capitalize()}", accepted=False)
        elif mail is None or self._size > MAX_SIZE:
            self._answer("552 5.3.4 Message is too big", accepted=False)
        else:
            mail.body = body
            self._deliver(mail)
            self._answer("250 2.0.0 Ok: thrown away")

    def _start_tls(self) -> None:
        assert self._context is not None
        self._transport.pause_reading()
        self._answer("220 2.0.0 Go ahead")
        self._flush()
        self._upgrade = asyncio.create_task(self._handshake(self._context))

    async def _handshake(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        plain = self._transport
        try:
            upgraded = await loop.start_tls(plain, self, context, server_side=True, ssl_handshake_timeout=30)
        except (OSError, asyncio.CancelledError):  # ssl.SSLError is one: garbage instead of a handshake
            plain.abort()
            return
        if upgraded is None:
            return  # the connection is gone by now
        self._transport = upgraded
        self._tls = upgraded.get_extra_info("ssl_object").version() or "TLS"
        self._session.restart(self._offers(tls=True))
        early, self._early = self._early, b""
        self.data_received(early)


async def serve(
    endpoint: Endpoint, deliver: Callable[[SinkMail], None], context: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Listen; `deliver` is called for each mail, before it is answered 250. Raises OSError."""
    host = socket.gethostname()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Connection(host, context, deliver), endpoint.host, endpoint.port)


def line_of(mail: SinkMail, now: float) -> str:
    """What is printed for a mail: nothing in it can move a terminal's cursor."""
    people = " ".join(f"<{recipient}>" for recipient in mail.recipients)
    tls = f" {mail.tls}" if mail.tls else ""
    subject = decode_words(scan(mail.body).subject)
    return printable(
        f"{rfc3339(now)}  <{mail.sender}> -> {people}  {len(mail.body)} octets "
        f"from {mail.hello} [{mail.peer}]{tls}  {subject!r}"
    )


def _show(print_body: bool) -> Callable[[SinkMail], None]:
    def show(mail: SinkMail) -> None:
        print(line_of(mail, SystemClock.now()), flush=True)
        if print_body:
            for line in mail.body.decode("utf-8", "replace").split("\r\n"):
                print(f"    {printable(line)}", flush=True)

    return show


async def _run(endpoint: Endpoint, context: ssl.SSLContext | None, print_body: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        server = await serve(endpoint, _show(print_body), context)
    except OSError as error:
        print(f"mailboat sink: cannot listen on {endpoint}: {error.strerror}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    for listening in server.sockets:
        host, port = listening.getsockname()[:2]
        print(f"mailboat sink: accepting every mail on {Endpoint(host, port)}", file=sys.stderr, flush=True)
    await stop.wait()
    server.close()
    return os.EX_OK


def sink(
    *,
    listen: str = "127.0.0.1:2526",
    print_body: bool = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> int:
    """Accept every mail on LISTEN, print a line for each, keep none. Ends with Ctrl-C.

    Parameters
    ----------
    listen
        Address and port, such as 127.0.0.1:2526 or [::1]:2526.
    print_body
        Print the mail itself, too.
    tls_cert
        Certificate chain, PEM; STARTTLS is offered then.
    tls_key
        Its private key, PEM; without it the key is taken from the certificate's file.
    """
    try:
        endpoint = parse_endpoint(listen, 2526)
        context = _context(tls_cert, tls_key)
    except ValueError as error:
        print(f"mailboat sink: {error}", file=sys.stderr)
        return os.EX_USAGE
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        return asyncio.run(_run(endpoint, context, print_body))
    return os.EX_OK


def _context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None:
        if key is not None:
            raise ValueError("--tls-key needs --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:
        raise ValueError(f"cannot use {cert}: {error}") from None
    return context

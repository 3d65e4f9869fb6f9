"""Opens a session with one target: connect, greeting, EHLO or LHLO, STARTTLS, AUTH.

Uses `replies.ReplyStream` on a socket that `delivery.dial` connected. Reports what went wrong (`PeerTrouble`), not what
it means (`delivery.verdict`). Used by `delivery.pool`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace

from mailboat.config.settings import Protocol, Settings, TlsLevel
from mailboat.delivery import tls_results
from mailboat.delivery.dial import describe, dial, label
from mailboat.delivery.offers import PeerOffers, offers_of
from mailboat.delivery.replies import Broken, RawReply, ReplyStream, decode
from mailboat.delivery.session import Session
from mailboat.delivery.source import BindSource
from mailboat.delivery.tls import BrokenTls, ClientContexts, session_tls
from mailboat.delivery.tls_verdict import HostTls, TlsStep, tls_step
from mailboat.delivery.verdict import FaultKind, PeerTrouble, Trouble
from mailboat.model.observer import Observer
from mailboat.model.outcome import PeerFacts, Stage
from mailboat.model.tls import PolicySource
from mailboat.routing.answers import Credentials, SessionTls, Target
from mailboat.routing.security import check_session
from mailboat.smtp.extensions import STARTTLS, auth
from mailboat.smtp.sasl_client import SASL_CLIENTS, Respond
from mailboat.tlsrpt.results import TlsResult

log = logging.getLogger(__name__)

_STARTTLS_LEVELS = frozenset({TlsLevel.ENCRYPT, TlsLevel.REQUIRED})
_CLOSING = 421

Report = Callable[[TlsResult | None], None]
_COMMAND_LIMIT = 510
"""Octets of a command without its line end (RFC 5321 4.5.3.1.4): a longer initial response is sent separately."""


class TlsFailed(PeerTrouble):
    """The handshake failed, or the certificate was refused in it."""

    def __init__(self, trouble: Trouble, host: HostTls = HostTls.BROKEN) -> None:
        super().__init__(trouble)
        self.host = host


class Client:
    """Opens sessions, and holds what they share."""

    def __init__(
        self,
        *,
        observer: Observer,
        contexts: ClientContexts,
        broken_tls: BrokenTls,
        now: Callable[[], float],
        report: Report | None = None,
    ) -> None:
        """`now`: seconds since the epoch, at which certificates must be valid.

        `report` is called with the result of each connection that is to be reported.
        """
        self._observer = observer
        self._now = now
        self._report = report or _unreported
        self._contexts = contexts
        self._broken_tls = broken_tls

    async def open(self, target: Target, source: BindSource, settings: Settings) -> Session:
        """A session ready for MAIL.

        Raises:
            PeerTrouble: why there is none.
        """
        if target.timeouts:
            settings = replace(settings, outbound=target.timed(settings.outbound))
        level = target.tls.level
        opportunistic = level is TlsLevel.OPPORTUNISTIC
        address = (target.path or target.ip, target.port)
        given_up = target.credentials is None and not target.tls.verify and address in self._broken_tls
        starttls = level in _STARTTLS_LEVELS or (opportunistic and not given_up)
        tried = _on_trial(target)
        try:
            return await self._open(tried, source, settings, starttls=starttls)
        except TlsFailed as failure:
            target = replace(target, tls=replace(target.tls, reporting=None))  # the connection is reported
            if tried.tls.verify and not target.tls.verify and failure.host is HostTls.UNVERIFIED:
                return await self._open(target, source, settings, starttls=True)
            has_secret = target.credentials is not None
            if tls_step(target.tls, failure.host, has_secret=has_secret) is not TlsStep.RECONNECT:
                raise
            self._broken_tls.add(*address)
            log.info("TLS with %s failed (%s), going on in plaintext", label(target), failure)
        return await self._open(target, source, settings, starttls=False)

    def refused(self, target: Target) -> None:
        """A target is not connected to, because its TLS policy refuses it."""
        self._report(tls_results.refused(target))

    async def _open(self, target: Target, source: BindSource, settings: Settings, *, starttls: bool) -> Session:
        sock = await dial(target, source, settings.outbound.connect_timeout)
        self._observer.outbound_connections(1)
        reported = starttls and target.tls.reporting is not None
        sending_ip = str(sock.getsockname()[0]) if reported else ""
        try:
            session = await _Opening(target, source, settings, self._contexts, self._now).run(sock, starttls=starttls)
            if reported:
                self._report(tls_results.opened(target, session.facts.tls_version, sending_ip))
            return session
        except BaseException as error:
            self._observer.outbound_connections(-1)
            if reported and isinstance(error, PeerTrouble):
                self._report(tls_results.failed(target, error, sending_ip))
            if isinstance(error, PeerTrouble | asyncio.CancelledError) or not isinstance(error, Exception):
                raise
            log.exception("opening a session with %s", label(target))
            raise PeerTrouble(Trouble(Stage.CONNECT, FaultKind.LOCAL, f"internal error: {error!r}")) from error


def _unreported(_: TlsResult | None) -> None:
    pass


def _on_trial(target: Target) -> Target:
    """The target with its certificate verified, if a policy tests that: it is not refused for it in the end."""
    reporting = target.tls.reporting
    if reporting is None or not reporting.trial or target.tls.verifies:
        return target
    return replace(target, tls=replace(target.tls, verify=True))


class _Opening:
    """The dialogue of one connection until it is ready for MAIL."""

    def __init__(
        self,
        target: Target,
        source: BindSource,
        settings: Settings,
        contexts: ClientContexts,
        now: Callable[[], float],
    ) -> None:
        self._now = now
        self._target = target
        self._source = source
        self._settings = settings
        self._contexts = contexts
        self._timeout = settings.outbound.helo_timeout  # RFC 5321 4.5.3.2.1
        self._stream = ReplyStream(asyncio.get_running_loop(), greeting_timeout=self._timeout)
        self._lmtp = target.protocol is Protocol.LMTP
        self._stage = Stage.GREETING
        self._authenticated = False
        self._tls = SessionTls()

    async def run(self, sock: socket.socket, *, starttls: bool) -> Session:
        """The session, which owns the socket; without a session the socket is closed. Raises PeerTrouble."""
        try:
            with self._troubles():
                await self._connect(sock)
                offers = await self._hello()
                if starttls and STARTTLS in offers:
                    if await self._starttls():
                        offers = await self._hello()  # RFC 3207 4.2: earlier offers are discarded
                elif self._target.tls.level is not TlsLevel.IMPLICIT:
                    self._check_tls(SessionTls())
                if self._target.credentials is not None:
                    await self._authenticate(offers, self._target.credentials)
                session = Session(self._stream, offers, self._facts(), lmtp=self._lmtp)
        except BaseException:
            self._stream.abort()  # at once: the peer will not read unsent octets
            raise
        session.quit_timeout = self._settings.outbound.quit_timeout
        return session

    async def _connect(self, sock: socket.socket) -> None:
        """Make the transport, with implicit TLS if configured, and read the greeting."""
        context, name = None, None
        if self._target.tls.level is TlsLevel.IMPLICIT:
            self._stage = Stage.TLS
            try:
                context, name = self._context(), self._server_name()
            except BaseException:
                sock.close()  # the transport would close it from here on
                raise
        async with asyncio.timeout(self._timeout):
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self._stream, sock=sock, ssl=context, server_hostname=name)
        if context is not None:
            self._check_handshake()
        self._stage = Stage.GREETING
        self._check((await self._stream.collect())[0], 220)

    def _server_name(self) -> str:
        """The name for SNI and for the certificate; OpenSSL leaves an address out of SNI (RFC 6066 3)."""
        host = self._target.tls.servername or self._target.host.rstrip(".")
        if not host or host.startswith("/"):
            return "localhost"
        return host.strip("[]")

    def _context(self) -> ssl.SSLContext:
        try:
            tls = self._target.tls
            published = bool(tls.tlsa) or tls.policy is PolicySource.STS
            return self._contexts.get(self._settings, verify=tls.verifies, ca=tls.ca, published=published)
        except (OSError, ValueError) as error:
            what = "the root certificates of this host" if self._target.tls.ca else "tls.ini"
            raise PeerTrouble(Trouble(Stage.TLS, FaultKind.LOCAL, f"{what} cannot be used: {error}")) from error

    async def _command(self, line: bytes) -> RawReply:
        return (await self._stream.exchange(line + b"\r\n", (self._timeout,)))[0]

    def _check(self, raw: RawReply, wanted: int) -> None:
        """Raise PeerTrouble unless the reply has the wanted code."""
        reply = decode(raw)
        if reply.code == wanted:
            return
        trouble = Trouble(self._stage, reply=reply)
        if reply.is_success:
            trouble = Trouble(self._stage, FaultKind.PROTOCOL, f"unexpected reply: {reply}")
        raise PeerTrouble(trouble)

    async def _hello(self) -> PeerOffers:
        self._stage = Stage.EHLO
        name = self._source.ehlo.encode("ascii")
        raw = await self._command((b"LHLO " if self._lmtp else b"EHLO ") + name)  # RFC 2033 4.1
        if raw[0] >= 500 and not self._lmtp:
            raw = await self._helo(name, raw)
        self._check(raw, 250)
        return offers_of(raw[1].split(b"\n"))

    async def _helo(self, name: bytes, refusal: RawReply) -> RawReply:
        """RFC 5321 3.2: an old server. If it closes the connection, its refusal of EHLO counts."""
        try:
            code, text = await self._command(b"HELO " + name)
        except Broken as broken:
            if broken.kind is FaultKind.CLOSED:
                return refusal
            raise
        return code, text.partition(b"\n")[0]  # no extensions, whatever further lines there are

    def _check_handshake(self) -> None:
        """Raise PeerTrouble if the TLS requirement is not met by the TLS that was just begun."""
        tls = self._stream.transport.get_extra_info("ssl_object")
        self._check_tls(session_tls(tls, self._target.tls, self._now()))

    def _check_tls(self, session: SessionTls) -> None:
        """Raise PeerTrouble if the TLS requirement is not met on this connection."""
        self._tls = session
        refusal = check_session(self._target.tls, session)
        if refusal:
            stage, kind = (Stage.TLS, FaultKind.TLS) if session.version else (Stage.STARTTLS, FaultKind.NO_TLS)
            if session.mismatch:
                kind = FaultKind.TLSA
            raise PeerTrouble(Trouble(stage, kind, refusal))

    async def _starttls(self) -> bool:
        """Start TLS; False if the host refuses and plaintext will do. Raises PeerTrouble."""
        self._stage = Stage.STARTTLS
        context = self._context()
        raw = await self._command(b"STARTTLS")
        if raw[0] >= 400 and raw[0] != _CLOSING:
            has_secret = self._target.credentials is not None
            if tls_step(self._target.tls, HostTls.REFUSED, has_secret=has_secret) is TlsStep.CLEAR:
                log.info("%s refuses STARTTLS (%s), going on in plaintext", label(self._target), decode(raw))
                return False
        self._check(raw, 220)
        if self._stream.unread:
            # RFC 3207 6: from somebody on the path, who wants it taken for what the host says within TLS.
            raise PeerTrouble(Trouble(Stage.TLS, FaultKind.PROTOCOL, f"{HostTls.INJECTED}"))
        async with asyncio.timeout(self._timeout):
            await self._stream.start_tls(context, self._server_name())
        self._check_handshake()
        return True

    async def _authenticate(self, offers: PeerOffers, credentials: Credentials) -> None:
        self._stage = Stage.AUTH
        wanted = credentials.mechanism.upper()
        offered = auth.mechanisms_of(offers.value(auth.AUTH) or "")
        usable = [
            name
            for name, client in SASL_CLIENTS.items()
            if name in offered and (not wanted or name == wanted) and client.token == bool(credentials.token)
        ]
        if not usable:
            text = f"the host does not offer AUTH {wanted}".rstrip() + " that can be used"
            if credentials.required:
                raise PeerTrouble(Trouble(Stage.AUTH, FaultKind.NO_AUTH, text))
            log.warning("%s: %s; continuing without AUTH", label(self._target), text)
            return
        await self._exchange(usable[0], credentials)
        self._authenticated = True

    async def _exchange(self, mechanism: str, credentials: Credentials) -> None:
        """The exchange of one mechanism (RFC 4954 4). Raises PeerTrouble unless it ends in 235."""
        client = SASL_CLIENTS[mechanism]
        secret = credentials.token or credentials.password
        responses = list(client.responses(credentials.user.encode(), secret.encode()))
        command = b"AUTH " + mechanism.encode()
        if client.initial:
            with_response = b"%b %b" % (command, base64.b64encode(responses[0](b"")))
            if len(with_response) <= _COMMAND_LIMIT:
                command = with_response
                del responses[0]
        raw = await self._command(command)
        for respond in responses:
            if raw[0] != 334:
                break
            raw = await self._command(_response(respond, raw))
        self._check(raw, 235)

    def _facts(self) -> PeerFacts:
        transport = self._stream.transport
        sockname = transport.get_extra_info("sockname")
        return PeerFacts(
            host=self._target.host,
            ip=self._target.ip or self._target.path,
            port=self._target.port,
            source=str(sockname[0]) if isinstance(sockname, tuple) else "",
            protocol="LMTP" if self._lmtp else "SMTP",
            tls_version=self._tls.version,
            tls_cipher=self._tls.cipher,
            tls_verified_by=self._tls.verified_by,
            authenticated=self._authenticated,
        )

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        """Convert faults to the trouble of their stage."""
        try:
            yield
        except Broken as broken:
            raise self._broken(broken.kind, broken.text) from broken
        except ssl.SSLError as error:
            trouble = Trouble(Stage.TLS, FaultKind.TLS, f"TLS failed: {describe(error)}")
            refused = isinstance(error, ssl.SSLCertVerificationError)
            raise TlsFailed(trouble, HostTls.UNVERIFIED if refused else HostTls.BROKEN) from error
        except TimeoutError as error:
            raise self._broken(FaultKind.TIMEOUT, f"no answer within {self._timeout:g} s") from error
        except OSError as error:
            raise self._broken(FaultKind.CLOSED, describe(error)) from error

    def _broken(self, kind: FaultKind, text: str) -> PeerTrouble:
        if kind is FaultKind.TLS:
            return TlsFailed(Trouble(Stage.TLS, kind, text))
        if self._stage is Stage.STARTTLS:
            return TlsFailed(Trouble(Stage.TLS, FaultKind.TLS, f"TLS failed: {text}"))
        return PeerTrouble(Trouble(self._stage, kind, text))


def _response(respond: Respond, challenge: RawReply) -> bytes:
    """The answer to a 334 reply; `*`, which ends the exchange, to one that is not base64 (RFC 4954 4)."""
    try:
        return base64.b64encode(respond(base64.b64decode(challenge[1][4:].strip(), validate=True)))
    except binascii.Error:
        return b"*"

"""Opens a session with one target: connect, greeting, EHLO or LHLO, STARTTLS, AUTH.

aiosmtplib speaks until the session is open, on a socket that `delivery.dial` connected; then `replies.ReplyStream`
takes the transport over for the transactions. Says what went wrong (`PeerTrouble`), not what that means
(`delivery.verdict`). Used by `delivery.pool`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import cast

import aiosmtplib

from mailboat.config.settings import Protocol, Settings, TlsLevel
from mailboat.delivery.dial import dial, label, words
from mailboat.delivery.envelope import Offers
from mailboat.delivery.replies import ReplyStream, printable
from mailboat.delivery.session import Session
from mailboat.delivery.source import Source
from mailboat.delivery.tls import BrokenTls, ClientContexts, describe
from mailboat.delivery.verdict import FaultKind, PeerTrouble, Trouble
from mailboat.model.observer import Observer
from mailboat.model.outcome import PeerFacts, Stage
from mailboat.model.reply import Reply
from mailboat.routing.answers import Credentials, Target

log = logging.getLogger(__name__)

_VERIFIED_LEVELS = frozenset({TlsLevel.REQUIRED, TlsLevel.IMPLICIT})


class TlsFailed(PeerTrouble):
    """The handshake failed or STARTTLS was refused. `refused_certificate`: the peer is not who it should be."""

    def __init__(self, trouble: Trouble, *, refused_certificate: bool = False) -> None:
        super().__init__(trouble)
        self.refused_certificate = refused_certificate


def verifies(target: Target) -> bool:
    """Whether the certificate must be valid for the target's name, should TLS be used."""
    return target.tls.verify or target.tls.level in _VERIFIED_LEVELS


class Client:
    """Opens sessions; keeps what they share."""

    def __init__(self, *, observer: Observer, contexts: ClientContexts, broken_tls: BrokenTls) -> None:
        self._observer = observer
        self._contexts = contexts
        self._broken_tls = broken_tls

    async def open(self, target: Target, source: Source, settings: Settings) -> Session:
        """A session ready for MAIL.

        Raises:
            PeerTrouble: why there is none.
        """
        level = target.tls.level
        opportunistic = level is TlsLevel.OPPORTUNISTIC
        address = (target.path or target.ip, target.port)
        given_up = target.credentials is None and not target.tls.verify and address in self._broken_tls
        starttls = level is TlsLevel.REQUIRED or (opportunistic and not given_up)
        try:
            return await self._open(target, source, settings, starttls=starttls)
        except TlsFailed as failure:
            # Opportunistic means that anything is better than nothing (RFC 7435 3), but a peer that should have been
            # verified, or a password, is not handed over in clear because somebody broke the handshake.
            if not opportunistic or failure.refused_certificate or target.credentials is not None:
                raise
            self._broken_tls.add(*address)
            log.info("TLS with %s failed (%s), going on in plaintext", label(target), failure)
        return await self._open(target, source, settings, starttls=False)

    async def _open(self, target: Target, source: Source, settings: Settings, *, starttls: bool) -> Session:
        sock = await dial(target, source, settings.outbound.connect_timeout)
        self._observer.outbound_connections(1)
        try:
            return await _Opening(target, source, settings, self._contexts).run(sock, starttls=starttls)
        except BaseException as error:
            self._observer.outbound_connections(-1)
            if isinstance(error, PeerTrouble | asyncio.CancelledError) or not isinstance(error, Exception):
                raise
            log.exception("opening a session with %s", label(target))
            raise PeerTrouble(Trouble(Stage.CONNECT, FaultKind.LOCAL, f"internal error: {error!r}")) from error


class _Opening:
    """The dialogue of one connection until MAIL may be said."""

    def __init__(self, target: Target, source: Source, settings: Settings, contexts: ClientContexts) -> None:
        self._target = target
        self._source = source
        self._settings = settings
        self._contexts = contexts
        self._lmtp = target.protocol is Protocol.LMTP
        self._implicit = target.tls.level is TlsLevel.IMPLICIT
        self._stage = Stage.GREETING
        self._authenticated = False

    async def run(self, sock: socket.socket, *, starttls: bool) -> Session:
        """The session, which owns the socket; closed when there is none. Raises PeerTrouble."""
        try:
            smtp = self._make(sock)
        except BaseException:
            sock.close()
            raise
        try:
            with self._troubles():
                self._stage = Stage.TLS if self._implicit else Stage.GREETING
                async with self._deadline():
                    await smtp.connect()
                await self._hello(smtp)
                if starttls:
                    await self._starttls(smtp)
                if self._target.credentials is not None:
                    await self._authenticate(smtp, self._target.credentials)
            return self._take_over(smtp)
        except BaseException:
            # The transport has the socket now, and only it may close that. At once: nobody will read what is unsent.
            transport = cast("asyncio.Transport | None", smtp.transport)
            smtp.close()
            if transport is not None:
                transport.abort()
            raise

    def _deadline(self) -> asyncio.Timeout:
        return asyncio.timeout(self._settings.outbound.helo_timeout)  # RFC 5321 4.5.3.2.1

    def _make(self, sock: socket.socket) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._server_name(),
            local_hostname=self._source.ehlo,
            sock=sock,
            # Its own are asyncio.wait_for, which before Python 3.12 may lose a cancellation: a drain would hang.
            timeout=None,
            start_tls=False,
            use_tls=self._implicit,
            tls_context=self._context() if self._implicit else None,
        )

    def _server_name(self) -> str:
        """The name for SNI and for the certificate; OpenSSL leaves an address out of SNI (RFC 6066 3)."""
        host = self._target.host.rstrip(".")
        if not host or host.startswith("/"):
            return "localhost"
        return host.strip("[]")

    def _context(self) -> ssl.SSLContext:
        try:
            return self._contexts.get(self._settings, verify=verifies(self._target))
        except (OSError, ValueError) as error:
            raise PeerTrouble(Trouble(Stage.TLS, FaultKind.LOCAL, f"tls.ini cannot be used: {error}")) from error

    async def _hello(self, smtp: aiosmtplib.SMTP) -> None:
        self._stage = Stage.EHLO
        if self._lmtp:
            async with self._deadline():
                response = await smtp.execute_command(b"LHLO", self._source.ehlo.encode("ascii"))  # RFC 2033 4.1
            if response.code != 250:
                raise aiosmtplib.SMTPHeloError(response.code, response.message)
            smtp.last_ehlo_response = response
            return
        try:
            async with self._deadline():
                await smtp.ehlo()
        except aiosmtplib.SMTPHeloError as error:
            if not 500 <= error.code <= 599:
                raise
            try:
                async with self._deadline():
                    await smtp.helo()  # RFC 5321 3.2: an old server
            except aiosmtplib.SMTPServerDisconnected:
                raise error from None  # it had said all that it had to say

    async def _starttls(self, smtp: aiosmtplib.SMTP) -> None:
        if not smtp.supports_extension("starttls"):
            if self._target.tls.level is TlsLevel.REQUIRED:
                why = f" ({self._target.tls.reason})" if self._target.tls.reason else ""
                text = f"TLS is required{why}, but the host does not offer STARTTLS"
                raise PeerTrouble(Trouble(Stage.STARTTLS, FaultKind.NO_TLS, text))
            return
        self._stage = Stage.STARTTLS
        context = self._context()
        # aiosmtplib drops what came in plaintext behind the reply (RFC 3207 6).
        async with self._deadline():
            await smtp.starttls(server_hostname=self._server_name(), tls_context=context)
        await self._hello(smtp)  # RFC 3207 4.2: what was learnt before does not count

    async def _authenticate(self, smtp: aiosmtplib.SMTP, credentials: Credentials) -> None:
        self._stage = Stage.AUTH
        offered = [method.upper() for method in smtp.supported_auth_methods]  # strongest first
        wanted = credentials.mechanism.upper()
        usable = [m for m in offered if not wanted or m == wanted]
        if not usable:
            text = f"the host does not offer AUTH {wanted}".rstrip() + " that we could use"
            if credentials.required:
                raise PeerTrouble(Trouble(Stage.AUTH, FaultKind.NO_AUTH, text))
            log.warning("%s: %s; going on without", label(self._target), text)
            return
        method = {"CRAM-MD5": smtp.auth_crammd5, "PLAIN": smtp.auth_plain, "LOGIN": smtp.auth_login}[usable[0]]
        async with self._deadline():
            await method(credentials.user, credentials.password)
        self._authenticated = True

    def _take_over(self, smtp: aiosmtplib.SMTP) -> Session:
        if not smtp.is_connected:
            raise PeerTrouble(Trouble(self._stage, FaultKind.CLOSED, "connection closed by the peer"))
        transport = cast("asyncio.Transport", smtp.transport)
        facts = self._facts(transport)
        offers = _offers(smtp.esmtp_extensions)
        stream = ReplyStream(asyncio.get_running_loop(), transport)
        stream.take_over()
        session = Session(stream, offers, facts, lmtp=self._lmtp)
        session.quit_timeout = self._settings.outbound.quit_timeout
        return session

    def _facts(self, transport: asyncio.Transport) -> PeerFacts:
        version, cipher = describe(transport.get_extra_info)
        sockname = transport.get_extra_info("sockname")
        return PeerFacts(
            host=self._target.host,
            ip=self._target.ip or self._target.path,
            port=self._target.port,
            source=str(sockname[0]) if isinstance(sockname, tuple) else "",
            protocol="LMTP" if self._lmtp else "SMTP",
            tls_version=version,
            tls_cipher=cipher,
            tls_verified=bool(version) and verifies(self._target),
            authenticated=self._authenticated,
        )

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        """aiosmtplib's exceptions as troubles of the stage they happened at."""
        try:
            yield
        except PeerTrouble:
            raise
        except aiosmtplib.SMTPResponseException as error:
            raise self._refused(error) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._broken(error) from error

    def _refused(self, error: aiosmtplib.SMTPResponseException) -> PeerTrouble:
        text = printable(error.message.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        stage = Stage.GREETING if self._stage is Stage.TLS else self._stage
        if error.code < 0:  # aiosmtplib's word for what is no reply
            trouble = Trouble(stage, FaultKind.PROTOCOL, " ".join(text.split()))
        elif not 300 <= error.code <= 599:
            trouble = Trouble(stage, FaultKind.PROTOCOL, f"unexpected reply: {Reply(error.code, text)}")
        else:
            trouble = Trouble(stage, reply=Reply(error.code, text))
        return TlsFailed(trouble) if stage is Stage.STARTTLS else PeerTrouble(trouble)

    def _broken(self, error: Exception) -> PeerTrouble:
        cause = error if isinstance(error, ssl.SSLError) else error.__cause__
        if isinstance(cause, ssl.SSLError) or self._stage is Stage.STARTTLS:
            tls_error = cause if isinstance(cause, ssl.SSLError) else error
            trouble = Trouble(Stage.TLS, FaultKind.TLS, f"TLS failed: {words(tls_error)}")
            return TlsFailed(trouble, refused_certificate=isinstance(cause, ssl.SSLCertVerificationError))
        if isinstance(error, TimeoutError):
            text = f"no reply within {self._settings.outbound.helo_timeout:g} s"
            return PeerTrouble(Trouble(self._stage, FaultKind.TIMEOUT, text))
        return PeerTrouble(Trouble(self._stage, FaultKind.CLOSED, "connection closed by the peer"))


def _offers(extensions: dict[str, str]) -> Offers:
    size = extensions.get("size", "").strip()
    limit = int(size) if size.isascii() and size.isdigit() and len(size) <= 20 else 0
    return Offers(
        pipelining="pipelining" in extensions,
        eightbit="8bitmime" in extensions,
        smtputf8="smtputf8" in extensions,
        size=limit or None,
        announces_size="size" in extensions,
    )

"""TLS with next hops: contexts built once for each configuration, and the hosts whose STARTTLS fails.

Knows certificates and versions, but not when TLS is required (`routing.security`) or what a failure means
(`delivery.verdict`). Used by `delivery.client`.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailboat.config.openssl import VERSIONS
from mailboat.config.settings import Settings, TlsSettings
from mailboat.model.tls import VerifiedBy
from mailboat.routing.answers import SessionTls

NO_TLS_MEMORY = 600.0
"""Seconds for which plaintext is used with a host whose handshake failed (where that is allowed)."""
NO_TLS_HOSTS = 10_000
"""Maximum of such hosts; the oldest is dropped first."""

MAX_CONTEXTS = 100
"""Maximum of contexts: a plugin may name other roots for each message. The least recently used is dropped first."""


def client_context(settings: TlsSettings, directory: str, *, verify: bool, ca: str = "") -> ssl.SSLContext:
    """A context for deliveries; `verify` demands a certificate that is valid for the host's name.

    `ca`: roots in PEM, instead of those in the settings.

    Raises:
        OSError: a file cannot be read; ssl.SSLError (an OSError) or ValueError: its content is invalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    context.minimum_version = VERSIONS[settings.min_version]
    if settings.ciphers:
        context.set_ciphers(settings.ciphers)
    if verify:
        if ca:
            context.load_verify_locations(cadata=ca)
        elif settings.ca:
            context.load_verify_locations(cafile=str(Path(directory) / settings.ca))
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    key, cert = Path(directory) / settings.key, Path(directory) / settings.cert
    if settings.key and settings.cert and key.is_file() and cert.is_file():
        context.load_cert_chain(str(cert), str(key))
    return context


class ClientContexts:
    """The contexts of the settings in force; new settings make new ones at their first use."""

    def __init__(self) -> None:
        self._settings: TlsSettings | None = None
        self._contexts: OrderedDict[tuple[bool, str], ssl.SSLContext] = OrderedDict()

    def get(self, settings: Settings, *, verify: bool, ca: str = "") -> ssl.SSLContext:
        """The context to use; raises what `client_context` does."""
        # Compared by value: a reload without changes of TLS keeps the contexts; a renewed certificate has a new digest.
        if settings.tls_outbound is not self._settings and settings.tls_outbound != self._settings:
            self._contexts.clear()
            self._settings = settings.tls_outbound
        key = (verify, ca if verify else "")
        context = self._contexts.get(key)
        if context is None:
            context = client_context(settings.tls_outbound, settings.directory, verify=verify, ca=ca)
            self._contexts[key] = context
            if len(self._contexts) > MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context


class BrokenTls:
    """Remembers for a while the addresses whose STARTTLS failed, so that not every delivery fails there first."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: OrderedDict[tuple[str, int], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, ip: str, port: int) -> None:
        """The handshake failed there just now."""
        self._until[ip, port] = self._monotonic() + NO_TLS_MEMORY
        self._until.move_to_end((ip, port))
        while len(self._until) > NO_TLS_HOSTS:
            self._until.popitem(last=False)

    def __contains__(self, address: tuple[str, int]) -> bool:
        until = self._until.get(address)
        if until is None:
            return False
        if self._monotonic() < until:
            return True
        del self._until[address]
        return False


def session_tls(transport_info: Callable[[str], Any]) -> SessionTls:
    """The TLS of a connection, from its transport's `get_extra_info`."""
    tls = transport_info("ssl_object")
    if tls is None:
        return SessionTls()
    cipher, context = tls.cipher(), tls.context
    verified = context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    verified_by = VerifiedBy.PKIX if verified else VerifiedBy.NONE
    return SessionTls(tls.version() or "", cipher[0] if cipher else "", verified_by)

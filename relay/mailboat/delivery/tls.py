"""TLS with next hops: contexts built once for each configuration, and the hosts whose STARTTLS fails.

Knows certificates and versions, but not when TLS is required (`routing.security`) or what a failure means
(`delivery.verdict`). Used by `delivery.client`.
"""

from __future__ import annotations

import _ssl
import ssl
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from mailboat.config.openssl import VERSIONS
from mailboat.config.settings import Settings, TlsSettings
from mailboat.delivery import dane
from mailboat.model.tls import VerifiedBy
from mailboat.routing.answers import SessionTls, TlsRequirement
from mailboat.routing.dane import DANE_EE

NO_TLS_MEMORY = 600.0
"""Seconds for which plaintext is used with a host whose handshake failed (where that is allowed)."""
NO_TLS_HOSTS = 10_000
"""Maximum of such hosts; the oldest is dropped first."""

MAX_CONTEXTS = 100
"""Maximum of contexts: a plugin may name other roots for each message. The least recently used is dropped first."""


def client_context(
    settings: TlsSettings, directory: str, *, verify: bool, ca: str = "", published: bool = False
) -> ssl.SSLContext:
    """A context for deliveries; `verify` demands a certificate that is valid for the host's name.

    `ca`: roots in PEM, instead of those in the settings. `published`: for a policy of the
    recipients' domain, which demands TLS 1.2 (RFC 7672 6, RFC 8461 4.2).

    Raises:
        OSError: a file cannot be read; ssl.SSLError (an OSError) or ValueError: its content is invalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    context.minimum_version = VERSIONS[settings.min_version]
    if settings.ciphers:
        context.set_ciphers(settings.ciphers)
    if published:  # whatever the settings allow with other hosts (RFC 8996)
        context.hostname_checks_common_name = False  # RFC 8461 4.2: a name in subjectAltName
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
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
        self._contexts: OrderedDict[tuple[bool, str, bool], ssl.SSLContext] = OrderedDict()

    def get(self, settings: Settings, *, verify: bool, ca: str = "", published: bool = False) -> ssl.SSLContext:
        """The context to use; raises what `client_context` does."""
        # Compared by value: a reload without changes of TLS keeps the contexts; a renewed certificate has a new digest.
        if settings.tls_outbound is not self._settings and settings.tls_outbound != self._settings:
            self._contexts.clear()
            self._settings = settings.tls_outbound
        key = (verify, ca if verify else "", published)
        context = self._contexts.get(key)
        if context is None:
            context = client_context(
                settings.tls_outbound, settings.directory, verify=verify, ca=ca, published=published
            )
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


def session_tls(tls: ssl.SSLObject, wanted: TlsRequirement, now: float) -> SessionTls:
    """The TLS of a connection after the handshake; `now`: seconds since the epoch."""
    verified_by, mismatch = VerifiedBy.NONE, ""
    if wanted.tlsa:
        found = dane.match(peer_chain(tls), wanted.tlsa, wanted.names, now)
        if isinstance(found, dane.Mismatch):
            mismatch = str(found)
        else:
            verified_by = VerifiedBy.DANE_EE if found.usage == DANE_EE else VerifiedBy.DANE_TA
    elif tls.context.check_hostname and tls.context.verify_mode is ssl.CERT_REQUIRED:
        verified_by = VerifiedBy.PKIX
    cipher = tls.cipher()
    return SessionTls(tls.version() or "", cipher[0] if cipher else "", verified_by, mismatch)


def peer_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates that the peer has sent, in DER, its own first; none if it has resumed a session."""
    if sys.version_info >= (3, 13):
        return tls.get_unverified_chain()
    # The same method, not public yet. Without it, only records for the peer's own certificate can match.
    chain = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    if chain is None:
        own = tls.getpeercert(binary_form=True)
        return [own] if own else []
    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in chain() or ()]

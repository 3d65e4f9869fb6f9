"""The TLS context for clients: one at a time, replaced when the files change."""

from __future__ import annotations

import ssl

from mailboat.config.openssl import VERSIONS
from mailboat.config.settings import TlsSettings


class ServerTls:
    """TLS for submission. A session that began with an older certificate ends when it is idle."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises what `server_context` raises."""
        self._settings = settings
        self.context = server_context(settings)

    @property
    def available(self) -> bool:
        """Whether STARTTLS can be offered."""
        return self.context is not None

    def configure(self, settings: TlsSettings) -> None:
        """Apply new settings or renewed files; on failure the old ones stay and the error is raised."""
        if settings != self._settings:
            self.context = server_context(settings)
            self._settings = settings


def server_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """The context for these settings; None without a certificate. Raises OSError or ssl.SSLError (one of them)."""
    if not (settings.cert and settings.key):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.min_version]
    context.load_cert_chain(settings.cert, settings.key)
    if settings.ciphers:
        context.set_ciphers(settings.ciphers)
    if settings.dhparam:
        context.load_dh_params(settings.dhparam)
    if settings.honor_cipher_order:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.request_cert:
        context.verify_mode = ssl.CERT_REQUIRED if settings.reject_unauthorized else ssl.CERT_OPTIONAL
        if settings.ca:
            context.load_verify_locations(settings.ca)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context

"""The expiry of the certificates of `tls.ini`, for `/metrics`. Reads their files once for each configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mailboat.config.expiry import first_expiry
from mailboat.config.settings import Settings, TlsSettings


class CertificateExpiry:
    """Caches the expiry as long as the settings are the same; a renewed certificate changes them."""

    def __init__(self) -> None:
        self._sides: tuple[TlsSettings, TlsSettings] | None = None
        self._expiries: dict[str, float] = {}

    async def of(self, settings: Settings) -> dict[str, float]:
        """Seconds since the epoch, by use; see `mailboat_certificate_expiry_timestamp_seconds`."""
        sides = (settings.tls, settings.tls_outbound)
        if sides != self._sides:
            found = await asyncio.to_thread(lambda: [_expiry_of(side) for side in sides])
            self._expiries = {use: when for use, when in zip(("server", "client"), found, strict=True) if when}
            self._sides = sides
        return self._expiries


def _expiry_of(settings: TlsSettings) -> float | None:
    if not (settings.cert and settings.key):
        return None
    try:
        return first_expiry(Path(settings.cert).read_text("ascii", "replace"))
    except OSError:
        return None  # a reload will report the fault

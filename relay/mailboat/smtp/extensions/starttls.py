"""STARTTLS (RFC 3207). Whether a peer must offer it is for `routing.security` to say."""

from __future__ import annotations

from mailboat.smtp.extensions.extension import Extension

STARTTLS = Extension("STARTTLS", "RFC 3207", offered=lambda offers: offers.starttls)

"""LIMITS (RFC 9422): how many recipients a transaction may have, and how many transactions a connection."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailboat.smtp.extensions.extension import Extension

_MOST = 999_999
"""Six digits are all that the grammar has (RFC 9422 4)."""
_LIMIT = re.compile(r"[A-Z0-9_-]+(?:=[!-:<-~]+)?")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_NUMBERS = ("MAILMAX", "RCPTMAX", "RCPTDOMAINMAX")


@dataclass(frozen=True, slots=True)
class AnnouncedLimits:
    """The limits that a peer announces."""

    transactions: int | None = None
    """In one connection; None: not said."""
    recipients: int | None = None
    """In one transaction; None: not said."""


_NONE = AnnouncedLimits()


def limits_of(value: str | None) -> AnnouncedLimits:
    """What stands behind LIMITS, in capitals; None: it is not offered. A malformed line says nothing.

    RCPTDOMAINMAX changes nothing: the recipients of an entry are of one domain.
    """
    if value is None:
        return _NONE
    said: dict[str, int] = {}
    for limit in value.split():
        name, _, number = limit.partition("=")
        if name in _NUMBERS and _NUMBER.fullmatch(number):
            said[name] = int(number)
        elif name in _NUMBERS or not _LIMIT.fullmatch(limit):
            return _NONE
    return AnnouncedLimits(said.get("MAILMAX"), said.get("RCPTMAX"))


LIMITS = Extension(
    "LIMITS",
    "RFC 9422",
    offered=lambda offers: 0 < offers.max_recipients <= _MOST,
    value=lambda offers: f"RCPTMAX={offers.max_recipients}",
)

"""The words for the TLS of a delivery in events and metrics, and what a message asks of it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class PolicySource(StrEnum):
    """Who decided how much TLS a delivery must have: `tls_policy` of events."""

    NONE = "none"
    """Nobody: TLS is opportunistic."""
    STS = "sts"
    """The recipients' domain, by MTA-STS (RFC 8461)."""
    DANE = "dane"
    """The recipients' domain, by DANE (RFC 7672)."""
    ROUTE = "route"
    """A `[route]`, or a plugin that chose the next hop."""
    CONFIG = "config"
    """`outbound.ini` or `tls.ini`."""
    MESSAGE = "message"
    """The message: a plugin's `force_tls`, REQUIRETLS or `TLS-Required: No` (RFC 8689)."""


class TlsDemand(StrEnum):
    """How much TLS a delivery must have: `tls_level` of events."""

    CLEAR = "clear"
    """None: TLS is used if both sides can."""
    ENCRYPT = "encrypt"
    VERIFY = "verify"


class VerifiedBy(StrEnum):
    """How the peer's certificate was verified: `tls_verified` of events."""

    NONE = "none"
    PKIX = "pkix"
    """By root certificates and the host's name."""
    DANE_TA = "dane-ta"
    """By a TLSA record of usage 2 (RFC 7672 3.1.2)."""
    DANE_EE = "dane-ee"
    """By a TLSA record of usage 3 (RFC 7672 3.1.1)."""


class MessageTls(NamedTuple):
    """What a message asks of TLS."""

    forced: bool = False
    """`force_tls` of a plugin: TLS or nothing."""
    requiretls: bool = False
    """REQUIRETLS (RFC 8689 2)."""
    lax: bool = False
    """`TLS-Required: No` (RFC 8689 5): the policy of the recipients' domain does not count."""
    reports: bool = False
    """It carries a report on TLS, which is delivered even if TLS fails, and is not reported on (RFC 8460 3)."""


NOTHING_ASKED = MessageTls()

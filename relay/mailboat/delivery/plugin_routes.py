"""Converts the next hops chosen by a plugin for routing, and the host of an outcome for plugins. Pure.

Used by `delivery.hooks`.
"""

from __future__ import annotations

import ipaddress

from mailboat.config.settings import Protocol, Settings, TlsLevel
from mailboat.hooks import Mx
from mailboat.model.outcome import Outcome, PeerFacts
from mailboat.routing.answers import Credentials
from mailboat.routing.route import Hop


def hop_of(mx: Mx, settings: Settings) -> Hop:
    """A plugin's MX as a hop."""
    protocol = Protocol.LMTP if mx.using_lmtp else Protocol.SMTP
    plain = not mx.using_lmtp and mx.tls is not TlsLevel.IMPLICIT
    return Hop(
        host=mx.exchange,
        port=0 if mx.path else settings.outbound.mx_port if plain and not mx.port_given else mx.port,
        path=mx.path,
        protocol=protocol,
        tls=mx.tls or TlsLevel.OPPORTUNISTIC,
        credentials=Credentials(mx.auth_user, mx.auth_pass, mx.auth_type) if mx.auth_user else None,
        auth_without_tls=mx.auth_without_tls,
        ca=mx.ca,
        bind=mx.bind,
        ehlo=mx.bind_helo,
        local_ok=settings.outbound.local_mx_ok or _is_exempt(mx),
        by_system=mx.by_system,
        name=mx.from_dns.lower().removesuffix("."),
    )


def _is_exempt(mx: Mx) -> bool:
    """Whether an MX may be this host even without `local_mx_ok`: an explicit address or socket.

    A name, or an address found by one (`from_dns`), may not, because it is chosen by the owner of the DNS zone.
    """
    if mx.path:
        return True
    try:
        ipaddress.ip_address(mx.exchange)
    except ValueError:
        return False
    return not mx.from_dns


def mx_of(outcome: Outcome, peer: PeerFacts | None) -> Mx | None:
    """The host of an outcome, as plugins see it; None if there was none."""
    try:
        if peer is None or peer.host != outcome.mx or not peer.ip:
            return Mx(exchange=outcome.mx) if outcome.mx else None
        lmtp = peer.protocol == "LMTP"
        if peer.ip.startswith("/"):
            return Mx(path=peer.ip, using_lmtp=lmtp)
        return Mx(exchange=peer.ip, port=peer.port, using_lmtp=lmtp, from_dns=peer.host)
    except ValueError:
        return None  # an invalid name from the DNS

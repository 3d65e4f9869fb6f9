"""Whether `senders_allow` has a sender. Pure; `connection` asks where a client relays without AUTH."""

from __future__ import annotations

from mailboat.model.address import Address


def is_allowed(sender: Address, allowed: frozenset[str]) -> bool:
    """Whether the address, its domain or a parent of it (`.parent`) is allowed; the null sender always is."""
    domain = sender.ascii_domain
    names = {sender.normalised, domain}
    while domain := domain.partition(".")[2]:
        names.add(f".{domain}")
    return sender.is_null or not names.isdisjoint(allowed)

"""Checks a sender against `senders_allow`. Pure; called by `policy` if a client relays without AUTH."""

from __future__ import annotations

from mailboat.model.address import Address, domain_patterns


def is_allowed(sender: Address, allowed: frozenset[str]) -> bool:
    """Whether the address, its domain or a parent of it (`.parent`) is allowed; the null sender always is."""
    return sender.is_null or not allowed.isdisjoint((sender.normalised, *domain_patterns(sender.ascii_domain)))

"""A mailbox as SMTP writes it (RFC 5321 4.1.2). Parsing lives in `mailboat.smtp.grammar`; this is the result."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """One envelope address. `NULL_SENDER` is the empty reverse-path `<>`."""

    local: str
    """The local part exactly as received, quotes included."""
    domain: str
    """The domain exactly as received: a name, an IDN, or an address literal in brackets. Empty for `<>`."""
    ascii_domain: str
    """The domain normalised for routing and comparison: lower case, IDN as A-labels (RFC 5891)."""

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def is_null(self) -> bool:
        """Whether this is the null reverse-path (RFC 5321 4.5.5): never bounced to."""
        return not self.local and not self.domain

    @property
    def is_ascii(self) -> bool:
        """Whether the local part needs no SMTPUTF8 (the domain can always be sent as A-labels)."""
        return self.local.isascii()

    @property
    def wire(self) -> str:
        """The address with its domain as A-labels: how it is sent to a peer without SMTPUTF8."""
        return f"{self.local}@{self.ascii_domain}" if self.domain else self.local

    # The same under the names that Haraka plugins use.

    @property
    def original(self) -> str:
        """The address exactly as received, without angle brackets."""
        return str(self)

    @property
    def normalised(self) -> str:
        """The address with its domain in lower case and as A-labels: two that are equal are one mailbox."""
        return self.wire

    @property
    def user(self) -> str:
        """The local part without quotes and quoting backslashes (RFC 5321 4.1.2)."""
        if self.local[:1] != '"':
            return self.local
        return re.sub(r"\\(.)", r"\1", self.local[1:-1])

    @property
    def host(self) -> str:
        """The domain, normalised."""
        return self.ascii_domain


NULL_SENDER = Address("", "", "")


def domain_patterns(domain: str) -> Iterator[str]:
    """The patterns that match a domain, the most specific first: its name, then `.parent` for each domain above it."""
    yield domain
    dot = domain.find(".")
    while dot >= 0:
        yield domain[dot:]
        dot = domain.find(".", dot + 1)


def mailboxes(addresses: Collection[Address]) -> list[Address]:
    """Each mailbox once, in the order and spelling of its first address: local parts compare octet for octet, domains
    without case, without a final dot, and as A-labels (RFC 5321 2.4, RFC 5890 2.3.2.4)."""
    if len(addresses) < 2:
        return list(addresses)
    unique: dict[str, Address] = {}
    for address in addresses:
        unique.setdefault(address.wire, address)
    return list(unique.values())

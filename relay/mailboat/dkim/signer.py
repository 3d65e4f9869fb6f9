"""Which keys sign a message, and the signatures (RFC 6376 5). Pure: takes about 1 ms of CPU for an RSA key.

The domain of From decides. Its own keys sign, else those of the nearest parent domain with keys that may sign for
subdomains; so `d=` and From are aligned, as DMARC requires.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mailboat.dkim.author import author_domain
from mailboat.dkim.keys import SigningKey
from mailboat.dkim.signature import SignatureForm, signatures
from mailboat.model.envelope import SignedBy

_DAY = re.compile(r"(?<!\d)20\d{6}(?!\d)")


class CannotSignError(Exception):
    """A message that must be signed cannot be signed; the text says why."""


@dataclass(frozen=True, slots=True)
class SigningDomain:
    """A domain that signs."""

    keys: tuple[SigningKey, ...]
    """Those in use: the RSA key first, because its signature is then at the top, where simple verifiers look."""
    subdomains: bool = True
    """Whether it signs for the domains below it."""
    always: bool = False
    """Whether it signs every message, besides the domain of From."""
    trouble: str = ""
    """Why its keys cannot be used, if it should have some."""


@dataclass(frozen=True, slots=True)
class Signer:
    """All keys of a configuration, and how they sign."""

    domains: Mapping[str, SigningDomain] = field(default_factory=dict)
    form: SignatureForm = field(default_factory=SignatureForm)
    fallback: str = ""
    """The domain that signs for domains without a key; empty: none does."""
    strict: bool = True
    """Whether a message that cannot be signed is refused temporarily, rather than sent unsigned."""

    oldest_day: float | None = field(init=False, compare=False)
    """The earliest day in a selector of the keys in use, such as mb20261128r; seconds since the epoch, if any."""

    _always: Mapping[str, None] = field(init=False, compare=False, repr=False)
    """The domains that sign every message."""

    def __post_init__(self) -> None:
        # Once a configuration: each message and each look at the metrics asks, and there may be thousands of keys.
        always = dict.fromkeys(name for name, domain in self.domains.items() if domain.always)
        object.__setattr__(self, "_always", always)
        days = (_day_in(key.selector) for domain in self.domains.values() for key in domain.keys)
        object.__setattr__(self, "oldest_day", min(filter(None, days), default=None))

    def keys_for(self, fields: Sequence[bytes]) -> list[SigningKey]:
        """The keys that sign a message with this header. CannotSignError where there should be some."""
        author = author_domain(fields)
        aligned = self._aligned(author) or (self.fallback if author else "")
        names = dict.fromkeys([aligned] if aligned else [])
        names |= self._always
        keys: list[SigningKey] = []
        for name in names:
            if domain := self.domains.get(name):
                if domain.trouble:
                    raise CannotSignError(f"{name}: {domain.trouble}")
                keys += domain.keys
        return keys

    def _aligned(self, author: str) -> str:
        """The longest name in `domains` that is the author's domain or above it."""
        for name in _name_and_parents(author):
            domain = self.domains.get(name)
            if domain is not None and (domain.subdomains or name == author):
                return name
        return ""

    def sign(self, fields: Sequence[bytes], body_digest: bytes, now: int) -> tuple[bytes, list[SignedBy]]:
        """The DKIM-Signature fields to put on top of a message, none where no key is for it; and whose they are.

        `fields` are those of the header, each with its line end; `body_digest` is that of `form.body`. Each signature
        is made as if the others were not there (RFC 6376 4.2). Raises CannotSignError.
        """
        keys = self.keys_for(fields)
        try:
            made = signatures(keys, fields, body_digest, self.form, now) if keys else b""
        except Exception as error:  # whatever the key raises
            raise CannotSignError(f"{type(error).__name__}: {error}") from error
        return made, [SignedBy(key.domain, key.selector, key.algorithm.tag) for key in keys]


def _name_and_parents(domain: str) -> Iterator[str]:
    while domain:
        yield domain
        domain = domain.partition(".")[2]


def _day_in(selector: str) -> float | None:
    with suppress(ValueError):  # digits that are no date
        if day := _DAY.search(selector):
            return datetime.strptime(day[0], "%Y%m%d").replace(tzinfo=UTC).timestamp()
    return None

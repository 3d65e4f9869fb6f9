"""What one SendingDomain adds to the configuration of relays: key files, and which of them sign. Pure.

Follows from its status and its Secret alone, so that an operator that has just started renders what it did before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from mailboat.config.dkim import SUFFIX, is_key_file
from mailboat.dkim.keys import SigningKey, dns_name, parse_key, split_dns_name
from mailboat_operator.sending.keys import DomainKey, HeldKey, KeyState

_GIVEN: Final = frozenset({KeyState.PUBLISHED, KeyState.ACTIVE, KeyState.RETIRING})
"""States of keys that pods get: the DNS shows the record of whatever a pod signs with between two configurations."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A private key in a Secret."""

    key: SigningKey
    content: bytes = field(repr=False)

    @property
    def held(self) -> HeldKey:
        """Its public half."""
        return HeldKey(self.key.selector, self.key.algorithm, self.key.record, self.key.public_hash)


@dataclass(frozen=True, slots=True)
class SignedDomain:
    """The part of one domain."""

    domain: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Content of `dkim/` by file name."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """By selector of these keys, the hash of the public half."""
    signing: tuple[str, ...] = ()
    """Selectors of those that sign."""
    hold: bool = False
    """Whether mail of it is refused as long as no key signs."""


def file_name(selector: str, domain: str) -> str:
    """The name of a key's file, in the Secret and in `dkim/`."""
    return f"{dns_name(selector, domain)}{SUFFIX}"


def key_files(data: Mapping[str, bytes]) -> dict[str, StoredKey]:
    """The keys in a Secret, by file name; what is none is left out."""
    found = {}
    for name, content in data.items():
        with contextlib.suppress(ValueError):
            if is_key_file(name):
                selector, domain = split_dns_name(name.removesuffix(SUFFIX))
                private, _ = parse_key(content, proven=True)  # when it was put there
                found[name] = StoredKey(SigningKey(domain, selector, private), content)
    return found


def held_keys(files: Mapping[str, StoredKey], domain: str, brought: Iterable[str]) -> tuple[HeldKey, ...]:
    """The keys of a domain that are in its Secret; `brought` are the selectors of `existingKeys`."""
    theirs = set(brought)
    mine = (file.held for file in files.values() if file.key.domain == domain)
    return tuple(replace(key, existing=key.selector in theirs) for key in mine)


def signed_domain(
    domain: str, rows: Iterable[DomainKey], files: Mapping[str, StoredKey], *, hold: bool
) -> SignedDomain | None:
    """The part of a domain; None before it has a key. `hold`: what `whenNoKey` says."""
    rows = tuple(rows)
    if not rows:
        return None
    given = {key.selector: file_name(key.selector, domain) for key in rows if key.state in _GIVEN}
    # Another key under the same name would have the pods refuse the whole configuration.
    hashes = {key.selector: key.public_hash for key in rows}
    there = {
        selector: files[name]
        for selector, name in given.items()
        if name in files and files[name].key.public_hash == hashes[selector]
    }
    signing = tuple(key.selector for key in rows if key.state is KeyState.ACTIVE and key.selector in there)
    return SignedDomain(
        domain,
        {given[selector]: file.content for selector, file in there.items()},
        {selector: hashes[selector] for selector in there},
        signing,
        hold and not signing and any(key.signed for key in rows),
    )

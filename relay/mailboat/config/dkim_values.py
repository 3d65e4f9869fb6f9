"""Parsers of values in `dkim.ini`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailboat.config import hosts, values
from mailboat.dkim.canonical import Canonicalization
from mailboat.dkim.coverage import may_be_covered
from mailboat.dkim.keys import SELECTOR

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SelectorChoice:
    """A key that signs."""

    selector: str
    public_hash: str = ""
    """As in `SigningKey.public_hash`; empty: whatever key has this selector."""

    def __str__(self) -> str:
        return f"{self.selector} {self.public_hash}".rstrip()


def covered_names(text: str) -> tuple[str, ...]:
    """Names of header fields that a signature can cover, in lower case."""
    names = values.field_names(text)
    for name in names:
        if not may_be_covered(name):
            raise ValueError(f"{name} changes in transit: it cannot be signed")
    return names


def canonicalization(text: str) -> str:
    """`HEADER/BODY`, each `relaxed` or `simple`."""
    form = text.strip().lower()
    if not all(half in list(Canonicalization) for half in form.split("/")) or form.count("/") != 1:
        raise ValueError("is not HEADER/BODY, each relaxed or simple, such as relaxed/simple")
    return form


def signing_domain(text: str) -> str:
    """A domain that `d=` can name, normalised: no top-level domain (RFC 6376 3.5)."""
    name = hosts.domain_name(text)
    if "." not in name:
        raise ValueError("has a single label: a domain that signs has two or more (RFC 6376 3.5)")
    return name


def domain_or_none(text: str) -> str:
    """A domain that `d=` can name, normalised, or nothing."""
    return signing_domain(text) if text else ""


def selectors(text: str) -> tuple[SelectorChoice, ...]:
    """Selectors, each with the hash of its key or without."""
    found = {}
    for item in text.split(",") if text.strip() else ():
        selector, _, public_hash = item.strip().lower().partition(" ")
        public_hash = public_hash.strip()
        if not SELECTOR.fullmatch(selector) or (public_hash and not _HASH.fullmatch(public_hash)):
            raise ValueError("is not SELECTOR, or SELECTOR sha256:HEX, separated by commas")
        if selector in found:
            raise ValueError(f"{selector} is listed twice")
        found[selector] = SelectorChoice(selector, public_hash)
    return tuple(found.values())

"""The key record in the DNS (RFC 6376 3.6.1, 3.6.2; RFC 8463 4), and whether it matches a key. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from mailboat.dkim.keys import Algorithm, SigningKey
from mailboat.dkim.tags import names_in, parse_tags, without_white

_STRING_MAX: Final = 255
"""Octets of one character-string of a TXT record (RFC 1035 3.3.14)."""


class Publication(StrEnum):
    """The state of a key in the DNS."""

    PUBLISHED = "Published"
    MISSING = "Missing"
    MISMATCH = "Mismatch"
    """The record has another key."""
    REVOKED = "Revoked"
    MULTIPLE = "Multiple"
    """Several key records: verifiers may take any, or none."""
    UNUSABLE = "Unusable"
    """The record forbids this use of the key."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict on a record, and what to do in words."""

    publication: Publication
    advice: str = ""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A parsed key record."""

    algorithm: str
    hashes: tuple[str, ...] | None
    """None: any."""
    services: tuple[str, ...]
    flags: tuple[str, ...]
    public: bytes
    """Empty: revoked."""


class RecordedKey(Protocol):
    """What of a key is compared with the DNS; its private half is not needed."""

    @property
    def dns_name(self) -> str:
        """Where the record is: `SELECTOR._domainkey.DOMAIN`."""

    @property
    def record(self) -> str:
        """The record that should be there, as one unbroken text."""

    @property
    def algorithm(self) -> Algorithm:
        """RSA or Ed25519."""

    @property
    def public(self) -> bytes:
        """The octets of `p=`."""


def parse_record(text: str) -> KeyRecord:
    """A key record out of its joined text. Raises ValueError with the reason when it is none."""
    tags = parse_tags(text)
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise ValueError("v= is not the first tag, or not DKIM1")
    if "p" not in tags:
        raise ValueError("p= is missing")
    try:
        public = base64.b64decode(without_white(tags["p"]), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("p= is not Base64") from None
    return KeyRecord(
        algorithm=tags.get("k", "rsa").lower(),
        hashes=tuple(names_in(tags["h"])) if "h" in tags else None,
        services=tuple(names_in(tags.get("s", "*"))),
        flags=tuple(names_in(tags["t"])) if "t" in tags else (),
        public=public,
    )


def judge(key: RecordedKey, texts: Sequence[str]) -> Finding:
    """What the TXT records found under a key's name make of it."""
    candidates = [text for text in texts if not _is_something_else(text)]
    if not candidates:
        return Finding(Publication.MISSING, f"publish a TXT record at {key.dns_name}: {key.record}")
    if len(candidates) > 1:
        return Finding(Publication.MULTIPLE, f"remove all but one of the {len(candidates)} TXT records")
    if len(candidates[0]) < len(key.record) and key.record.startswith(candidates[0]):
        where = f"the record ends after {len(candidates[0])} of {len(key.record)} octets"
        return Finding(Publication.MISMATCH, f"{where}: publish all of it, in strings of at most {_STRING_MAX}")
    try:
        record = parse_record(candidates[0])
    except ValueError as error:
        return Finding(Publication.UNUSABLE, f"the record is not a key record ({error}): replace it with {key.record}")
    if not record.public:
        return Finding(Publication.REVOKED, "p= is empty, which revokes the key: make a new one under another selector")
    if record.algorithm != key.algorithm.value:
        return Finding(Publication.UNUSABLE, f"k={record.algorithm}, but this is a key for k={key.algorithm.value}")
    if record.public != key.public:
        return Finding(Publication.MISMATCH, f"another key is published: replace the record with {key.record}")
    return _restrictions(record)


def zone_text(key: SigningKey, ttl: int = 3600) -> str:
    """The record as a line for a zone file, its value cut into strings."""
    return f"{key.dns_name}. {ttl} IN TXT {strings_of(key.record)}"


def strings_of(value: str) -> str:
    """A value in quotation marks, cut into the strings that a TXT record is made of (RFC 1035 3.3.14, 5.1)."""
    return " ".join(f'"{value[at : at + _STRING_MAX]}"' for at in range(0, len(value), _STRING_MAX))


def usable_algorithm(record: KeyRecord) -> Algorithm | None:
    """The algorithm of a record, if it is one that we know."""
    return next((a for a in Algorithm if a.value == record.algorithm), None)


def _is_something_else(text: str) -> bool:
    """A record that announces another kind; those without a version are tried (RFC 6376 3.6.2.2)."""
    return text.lower().startswith("v=") and not text.replace(" ", "").startswith("v=DKIM1")


def _restrictions(record: KeyRecord) -> Finding:
    if record.hashes is not None and "sha256" not in record.hashes:
        return Finding(Publication.UNUSABLE, "h= does not list sha256: add it, or leave h= out")
    if "*" not in record.services and "email" not in record.services:
        return Finding(Publication.UNUSABLE, "s= does not list email: add it, or leave s= out")
    if "y" in record.flags:
        return Finding(Publication.UNUSABLE, "t=y marks the domain as testing: verifiers treat its mail as unsigned")
    return Finding(Publication.PUBLISHED)

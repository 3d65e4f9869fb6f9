"""What is known of the keys of one SendingDomain: nouns that the parts of this package share. Pure.

No private key is in any of them: `held` says whether the Secret has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mailboat.dkim.keys import Algorithm
from mailboat.dkim.record import Publication

ALGORITHMS: Final[Mapping[str, Algorithm]] = {"RSA2048": Algorithm.RSA, "Ed25519": Algorithm.ED25519}
"""The words of `spec.dkim.algorithms`."""


class KeyState(StrEnum):
    """Where a key is in its life; the order is that in which a key passes them."""

    GENERATED = "Generated"
    """The Secret has it; the DNS does not show it."""
    PUBLISHED = "Published"
    """Every authoritative server shows its record."""
    ACTIVE = "Active"
    """It signs."""
    RETIRING = "Retiring"
    """It signs no more, and stays published for mail that is under way."""
    REVOKED = "Revoked"
    """Its record has an empty `p=` (RFC 6376 3.6.1)."""


UPCOMING: Final = frozenset({KeyState.GENERATED, KeyState.PUBLISHED})
"""States of a key that is yet to sign."""


class SelectorStyle(StrEnum):
    """How keys are named."""

    DATED = "Dated"
    """By the day on which they are made: a name is used once."""
    ALTERNATING = "Alternating"
    """By two names in turn, for CNAMEs that are made once."""


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What the spec asks for."""

    algorithms: tuple[Algorithm, ...] = (Algorithm.RSA, Algorithm.ED25519)
    prefix: str = "mb"
    style: SelectorStyle = SelectorStyle.DATED
    every: timedelta = timedelta(days=180)
    """Age of a signing key at which another one is made."""
    suspended: bool = False
    """Age makes no key; a request still does."""


@dataclass(frozen=True, slots=True)
class HeldKey:
    """The public half of a private key that is in a Secret."""

    selector: str
    algorithm: Algorithm
    record: str
    """The text of its TXT record."""
    public_hash: str
    existing: bool = False
    """One of `spec.dkim.existingKeys`: never made, rotated or published here."""


@dataclass(frozen=True, slots=True)
class DomainKey:
    """One key as the status has it."""

    selector: str
    algorithm: Algorithm
    record: str
    public_hash: str
    created: datetime
    since: datetime
    """When it came into its state."""
    state: KeyState = KeyState.GENERATED
    signed: datetime | None = None
    """When it began to sign; None: it has not."""
    unused_since: datetime | None = None
    """Of a retiring key: since when no pod has signed with it; None: one may."""
    seen: bool | None = None
    """Whether the DNS showed its record when it answered last; None: it has not answered yet."""
    seen_at: datetime | None = None
    """Since when `seen` has been what it is."""
    held: bool = True
    existing: bool = False

    @property
    def value(self) -> str:
        """What its TXT record should say now."""
        if self.state is KeyState.REVOKED:
            return f"v=DKIM1; k={self.algorithm.value}; p="
        return self.record


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What all authoritative servers of the zone say of one key."""

    publication: Publication
    wait: timedelta = timedelta(hours=1)
    """How long another answer may be in caches: the larger of the record's TTL and the SOA minimum (RFC 2308 5)."""


@dataclass(frozen=True, slots=True)
class RelayReport:
    """What the pods of one OutboundConfig say of the domain's keys, by selector."""

    loaded: frozenset[str] = frozenset()
    """Keys that every ready pod has."""
    in_use: frozenset[str] | None = frozenset()
    """Keys that a pod signs with, or may sign with because it runs something unknown; None: no pod was asked yet."""
    signs: frozenset[str] = frozenset()
    """Keys that a pod is known to sign with, or is to by the configuration that was written last."""
    signing: tuple[frozenset[str], ...] | None = None
    """Of each ready pod, the keys that it signs with; None: a pod runs something unknown, or none was asked yet."""
    complete: bool = True
    """Whether every pod that is wanted has answered."""
    life: timedelta = timedelta(days=5)
    """The longest time that mail waits in its queue: the sum of `tempFailIntervals`."""
    oldest_queued: datetime | None = None
    """When the oldest mail in its queue came in, the present for an empty queue; None: not known."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is to be made."""

    selector: str
    algorithm: Algorithm

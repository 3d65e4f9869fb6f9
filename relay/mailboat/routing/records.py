"""DNS answers as values: made by `resolver`, used by `mx`.

Pure. Knows nothing of packets, servers or caches. Names are lower case, absolute, without the final dot. `expires` is
the monotonic time (`Clock.monotonic`) until which a value is valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME = 253


class RecordType(IntEnum):
    """The types that are asked for, by their number in the protocol (RFC 1035 3.2.2, RFC 3596, RFC 6698)."""

    A = 1
    NS = 2
    CNAME = 5
    MX = 15
    TXT = 16
    AAAA = 28
    TLSA = 52


@dataclass(frozen=True, slots=True, order=True)
class MxRecord:
    """One mail exchanger. Lower preference is tried first (RFC 5321 5.1)."""

    preference: int
    exchange: str
    """A host name; empty for the root, which makes it a null MX (RFC 7505)."""


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """Constraint for a host's certificate (RFC 6698 2.1), as published; its usability is not checked here."""

    usage: int
    selector: int
    matching: int
    data: bytes = field(repr=False)


MALFORMED_TLSA = TlsaRecord(255, 255, 255, b"")
"""Represents a malformed record, which exists but is unusable (RFC 7672 2.2). 255 is for private use."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The requested records; at least one."""

    records: tuple[T, ...]
    expires: float
    secure: bool = False
    """Authenticated by DNSSEC (RFC 4035 3.2.3), including all aliases, according to a trusted server."""
    aliases: tuple[str, ...] = ()
    """The chain of CNAME targets, in order: the last one has the records."""


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists and has no such record."""

    expires: float
    secure: bool = False
    """As in `Answer`: the absence is authenticated."""


@dataclass(frozen=True, slots=True)
class NxDomain:
    """The name does not exist, or cannot (a label is too long for the DNS)."""

    expires: float
    secure: bool = False
    """As in `Answer`: the absence is authenticated."""


@dataclass(frozen=True, slots=True)
class LookupFailure:
    """No usable answer: SERVFAIL, a timeout, or garbage. Never a reason to bounce."""

    reason: str
    """For people, one line that names the query."""
    expires: float


Lookup: TypeAlias = Answer[T] | NoData | NxDomain | LookupFailure
Families: TypeAlias = tuple[Lookup[str], Lookup[str]]
"""The IPv6 and the IPv4 addresses of one name."""


def is_hostname(name: str) -> bool:
    """Whether a name from the DNS can be that of a host. Underscores are allowed, because such hosts exist.

    A name that looks like an IPv4 address is not: an MX names a host (RFC 1123 2.1, RFC 5321 5.1).
    """
    return len(name) <= _MAX_NAME and _HOSTNAME.fullmatch(name) is not None and not name.rpartition(".")[2].isdigit()

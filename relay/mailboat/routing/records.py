"""What the DNS said, as values of our own: what `resolver` gives and `mx` reads.

Pure. Knows nothing of packets, servers or caches. Names are lower case, absolute, without the final dot.
`expires` is monotonic time (`Clock.monotonic`): when the value should no longer be believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME = 253


class RecordType(IntEnum):
    """The types that mail asks for, by their number in the protocol (RFC 1035 3.2.2, RFC 3596)."""

    A = 1
    MX = 15
    AAAA = 28


@dataclass(frozen=True, slots=True, order=True)
class MxRecord:
    """One mail exchanger. Lower preference is tried first (RFC 5321 5.1)."""

    preference: int
    exchange: str
    """A host name; empty for the root, which makes it a null MX (RFC 7505)."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The records asked for; at least one."""

    records: tuple[T, ...]
    expires: float


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists and has no such record."""

    expires: float


@dataclass(frozen=True, slots=True)
class NxDomain:
    """The name does not exist, or cannot (a label is too long for the DNS)."""

    expires: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Nobody could say: SERVFAIL, silence, or nonsense. Never a reason to bounce."""

    reason: str
    """For people, one line, naming what was asked."""
    expires: float


Lookup: TypeAlias = Answer[T] | NoData | NxDomain | Failure


def is_hostname(name: str) -> bool:
    """Whether a name from the DNS can be a host's. Underscores pass: such hosts exist, and do no harm.

    What looks like an IPv4 address does not: an MX names a host (RFC 1123 2.1, RFC 5321 5.1).
    """
    return len(name) <= _MAX_NAME and _HOSTNAME.fullmatch(name) is not None and not name.rpartition(".")[2].isdigit()

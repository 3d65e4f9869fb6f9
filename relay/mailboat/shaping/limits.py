"""What a limit says: how much, and over what it is counted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mailboat.shaping.rate import RateLimit, parse_rate, whole_number

_MAX_CONNECTIONS = 1_000_000
_MAX_WINDOW = 100_000


class LimitKey(StrEnum):
    """What is limited, in the words of shaping.ini."""

    CONNECTIONS = "connections"
    """Open connections, idle ones included."""
    RATE = "rate"
    """Messages: transactions that reach DATA."""
    RECIPIENT_RATE = "recipient_rate"
    """Recipients accepted at RCPT."""
    CONNECTION_RATE = "connection_rate"
    """TCP connections that are begun."""


class Per(StrEnum):
    """What is counted by itself within a section."""

    SITE = "site"
    DOMAIN = "domain"
    HOST = "host"
    ADDRESS = "address"


NOT_OBEYED = frozenset({Per.HOST, Per.ADDRESS})
"""Delivery does not count these: a start is decided before it is known which host it leads to."""


class Each(StrEnum):
    """Who counts by itself, if the limit is not one for all."""

    POD = "pod"
    WORKER = "worker"
    """A fuse of each process, which asks nobody."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The value of a limit."""

    amount: int | RateLimit | None
    """Connections, or a rate; None: no limit."""
    per: Per | None = None
    """None: the section as a whole, in `[default]` each site."""
    all_sources: bool = False
    """Counted over all sources together, not for each."""
    each: Each | None = None
    """None: one count for all workers, and for all pods where these share."""

    def __str__(self) -> str:
        suffixes = (
            f" per {self.per}" if self.per else "",
            " all sources" if self.all_sources else "",
            f" each {self.each}" if self.each else "",
        )
        return ("none" if self.amount is None else str(self.amount)) + "".join(suffixes)


@dataclass(frozen=True, slots=True)
class WindowRange:
    """Concurrent attempts to a destination, in each worker."""

    start: int
    """Where learning begins."""
    most: int
    """The most that it leads to."""
    pinned: bool = False
    """Both are one number, and nothing is learnt."""

    def __str__(self) -> str:
        return str(self.most) if self.pinned else f"{self.start}-{self.most}"


def parse_window(text: str) -> WindowRange:
    """`START-MAX`, or a number. ValueError with the reason."""
    first, dash, last = text.partition("-")
    start, most = whole_number(first.strip()), whole_number(last.strip() if dash else first.strip())
    if start is None or most is None or not 1 <= start <= most <= _MAX_WINDOW:
        raise ValueError(f"is not START-MAX, such as 2-20, or a number, from 1 to {_MAX_WINDOW}")
    return WindowRange(start, most, pinned=not dash)


_SUFFIXES: Mapping[tuple[str, str], Mapping[str, Any]] = {
    **{("per", per.value): {"per": per} for per in Per},
    ("all", "sources"): {"all_sources": True},
    **{("each", each.value): {"each": each} for each in Each},
}


def parse_limit(key: LimitKey, text: str) -> Limit:
    """A limit with its suffixes, such as `10 per site` or `30/1m burst 5 all sources`. ValueError with the reason."""
    words = text.lower().split()
    limit = Limit(None)
    given = set()
    while len(words) > 2 and (suffix := (words[-2], words[-1])) in _SUFFIXES:
        if suffix[0] in given:
            raise ValueError(f"has `{suffix[0]}` twice")
        given.add(suffix[0])
        limit = replace(limit, **_SUFFIXES[suffix])
        words = words[:-2]
    amount = " ".join(words)
    if amount == "none":
        if given:
            raise ValueError("is no limit, so that nothing can follow `none`")
        return limit
    for word in ("per", "all", "each"):
        if word in words:
            raise ValueError(f"has an unknown suffix: {_known(word)}")
    return replace(limit, amount=_connections(amount) if key is LimitKey.CONNECTIONS else parse_rate(amount))


def _connections(text: str) -> int:
    number = whole_number(text)
    if number is None or not 1 <= number <= _MAX_CONNECTIONS:
        raise ValueError(f"is not a whole number from 1 to {_MAX_CONNECTIONS}, or `none`")
    return number


def _known(word: str) -> str:
    return "write " + " or ".join(" ".join(suffix) for suffix in _SUFFIXES if suffix[0] == word)

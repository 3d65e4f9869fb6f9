"""The targets of one destination in fair order: by preference, and by chance where preference is equal.

Pure; the source of chance is an argument. `router` builds one plan a destination, keeps it while the DNS answers
behind it last, and orders it for each message, so that equal hosts share the load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import TypeAlias, TypeVar

from mailboat.routing.answers import Spot, Target, Targets

MAX_TARGETS = 20
"""Addresses that one attempt tries at most. RFC 5321 5.1 lets a client bound them, and asks for two at least."""

Family: TypeAlias = Sequence[Target]
"""The addresses of one host in one address family: equals."""
Host: TypeAlias = Sequence[Family]
"""One host: the preferred family first, so that the other is its fallback."""
Tier: TypeAlias = Sequence[Host]
"""The hosts of one preference: equals."""

_T = TypeVar("_T")


class TargetPlan:
    """All that may be tried for one destination."""

    __slots__ = ("_fixed", "_tiers")

    def __init__(self, tiers: Sequence[Tier]) -> None:
        """Take tiers, most preferred first; together they hold one target at least."""
        self._tiers = tiers
        # Most destinations leave no choice: their order is made once, not for each message.
        self._fixed = None if _has_equals(tiers) else Targets(tuple(islice(_flat(tiers, None), MAX_TARGETS)))

    def spots(self) -> tuple[tuple[Spot, ...], ...]:
        """The addresses by preference."""
        return tuple(
            tuple(dict.fromkeys(target.spot for host in tier for family in host for target in family))
            for tier in self._tiers
        )

    def order(self, chance: Random) -> Targets:
        """The targets of one attempt, any order of equals as likely as any other."""
        if self._fixed is not None:
            return self._fixed
        return Targets(tuple(islice(_flat(self._tiers, chance), MAX_TARGETS)))


def _has_equals(tiers: Sequence[Tier]) -> bool:
    return any(len(tier) > 1 or any(len(family) > 1 for host in tier for family in host) for tier in tiers)


def _flat(tiers: Sequence[Tier], chance: Random | None) -> Iterator[Target]:
    for tier in tiers:
        # RFC 5321 5.1: hosts of equal preference are taken at random, which spreads the load over them.
        for host in _mixed(tier, chance):
            for family in host:
                yield from _mixed(family, chance)


def _mixed(equals: Sequence[_T], chance: Random | None) -> Sequence[_T]:
    if chance is None or len(equals) < 2:
        return equals
    return chance.sample(equals, len(equals))

"""The name of the next key. Pure; `life` asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from mailboat.dkim.keys import Algorithm
from mailboat_operator.sending.keys import KeyPolicy, SelectorStyle

_DAILY = 99
"""Keys of one algorithm that can be made in a day."""


def next_selector(policy: KeyPolicy, algorithm: Algorithm, taken: Collection[str], now: datetime) -> str:
    """The first name that is not `taken`; empty: none is free, and the next key has to wait for one."""
    named = _dated if policy.style is SelectorStyle.DATED else _alternating
    return next((name for name in named(policy.prefix, algorithm, now) if name not in taken), "")


def _dated(prefix: str, algorithm: Algorithm, now: datetime) -> Iterator[str]:
    """`mb20261128r`; a second one of the day is `mb20261128r2`."""
    name = f"{prefix}{now:%Y%m%d}{algorithm.value[0]}"
    yield name
    yield from (f"{name}{number}" for number in range(2, _DAILY + 1))


def _alternating(prefix: str, algorithm: Algorithm, _: datetime) -> Iterator[str]:
    """`mb-a` and `mb-b`, which stay RSA's when another algorithm comes beside it: `mb-ea` and `mb-eb`."""
    letter = "" if algorithm is Algorithm.RSA else algorithm.value[0]
    yield from (f"{prefix}-{letter}{turn}" for turn in "ab")

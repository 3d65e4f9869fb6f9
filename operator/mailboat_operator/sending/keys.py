"""What is known of the keys of one SendingDomain: nouns that the parts of this package share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from mailboat.dkim.keys import Algorithm

ALGORITHMS: Final[Mapping[str, Algorithm]] = {"RSA2048": Algorithm.RSA, "Ed25519": Algorithm.ED25519}
"""The words of `spec.dkim.algorithms`."""


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

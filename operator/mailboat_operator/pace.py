"""How soon to ask the relays again, and how long a configuration took to reach all of them. Used by `reconcile`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mailboat_operator.metrics import Metrics
from mailboat_operator.observed import Key
from mailboat_operator.relays_seen import Judgement, LoadReason

SETTLED = 60.0
"""Seconds: pods come and go, which the StatefulSet's watch tells; this is for what it does not."""
_FIRST = 0.5
_SLOWEST = 5.0


@dataclass(slots=True)
class _Under:
    """A configuration on its way to the pods."""

    hash: str
    since: float
    asked: int = 0


class Pace:
    """Remembers what is on its way. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float], metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._under: dict[Key, _Under] = {}

    def programmed(self, key: Key, hash_: str, *, changed: bool) -> None:
        """This configuration is written now."""
        under = self._under.get(key)
        if changed and (under is None or under.hash != hash_):
            self._under[key] = _Under(hash_, self._clock())

    def forget(self, key: Key) -> None:
        """The resource is gone."""
        self._under.pop(key, None)

    def next(self, key: Key, judgement: Judgement) -> float | None:
        """Seconds after which to ask again; None: nobody is asked."""
        under = self._under.get(key)
        if judgement.reason is LoadReason.LOADED and under is not None:
            self._metrics.loaded.observe(self._clock() - under.since)
        if judgement.settled:
            self.forget(key)
        if judgement.total is None:
            return None
        if judgement.settled or under is None:
            return SETTLED * random.uniform(0.8, 1.2) if judgement.settled else _SLOWEST  # noqa: S311 - no secret
        under.asked += 1
        return float(min(_FIRST * 1.3**under.asked, _SLOWEST))

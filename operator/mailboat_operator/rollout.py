"""How soon to ask the relays again, and how long a configuration took to reach all of them. Used by `reconcile`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mailboat_operator.metrics import Metrics
from mailboat_operator.observed import ObjectKey
from mailboat_operator.pod_status import LoadReason, LoadStatus

SETTLED = 60.0
"""Seconds. The StatefulSet's watch reports pods that come and go; this is for what it does not report."""
_FIRST = 0.5
_SLOWEST = 5.0


@dataclass(slots=True)
class _Rollout:
    """A configuration that not all pods run yet."""

    hash: str
    since: float
    asked: int = 0


class RolloutTracker:
    """Remembers the rollouts under way. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float], metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._rollouts: dict[ObjectKey, _Rollout] = {}

    def programmed(self, key: ObjectKey, hash_: str, *, changed: bool) -> None:
        """This configuration is written now."""
        rollout = self._rollouts.get(key)
        if changed and (rollout is None or rollout.hash != hash_):
            self._rollouts[key] = _Rollout(hash_, self._clock())

    def forget(self, key: ObjectKey) -> None:
        """The resource is gone."""
        self._rollouts.pop(key, None)

    def next(self, key: ObjectKey, load_status: LoadStatus) -> float | None:
        """Seconds after which to ask again; None: no relay is asked."""
        rollout = self._rollouts.get(key)
        if load_status.reason is LoadReason.LOADED and rollout is not None:
            self._metrics.loaded.observe(self._clock() - rollout.since)
        if load_status.settled:
            self.forget(key)
        if load_status.total is None:
            return None
        if load_status.settled or rollout is None:
            return SETTLED * random.uniform(0.8, 1.2) if load_status.settled else _SLOWEST  # noqa: S311 - no secret
        rollout.asked += 1
        return float(min(_FIRST * 1.3**rollout.asked, _SLOWEST))

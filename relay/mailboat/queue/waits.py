"""Waits that cannot be right, because the wall clock was set back while mail waited. Pure; `app.clock` asks the store.

The time of the next attempt is wall time, so that it outlives the process. A clock that is set back by an hour would
make each wait an hour longer.
"""

from __future__ import annotations

from collections.abc import Callable

from mailboat.queue.backoff import RetryPlan

_LATEST = 1.0
"""The chance that makes a delay as long as it can be."""

Earlier = Callable[[int, float], float | None]
"""Failed attempts and `next_attempt` of an entry -> when to attempt it instead; None: its wait may be right."""


def after_jump(plan: RetryPlan, now: float, back: float) -> Earlier:
    """The clock was set back by `back` seconds just now.

    A wait that is no longer than the plan's for that many failures stays, so that nothing is attempted early because
    of a jump forward that is taken back. A longer one, as a plugin or a destination may have made it, loses the jump.
    """

    def earlier(attempts: int, next_attempt: float) -> float | None:
        planned = now + (plan.delay(max(1, attempts), _LATEST) or longest(plan))
        return max(planned, next_attempt - back) if next_attempt > planned else None

    return earlier


def at_start(plan: RetryPlan, now: float) -> Earlier:
    """Nobody knows what the clock did before: only what is longer than the longest wait of the plan cannot be right."""
    latest = now + longest(plan)
    return lambda _, next_attempt: latest if next_attempt > latest else None


def longest(plan: RetryPlan) -> float:
    """Seconds of the longest wait of a plan; 0 for one without any."""
    return max((plan.delay(failures, _LATEST) or 0.0 for failures in range(1, len(plan.delays) + 1)), default=0.0)

"""Corrects delays that are too long because the wall clock was set back. Pure; used by `app.clock` with the store.

The time of the next attempt is wall time, so that it is valid in the next process. A clock that is set back by an hour
would make each delay an hour longer.
"""

from __future__ import annotations

from collections.abc import Callable

from mailboat.queue.backoff import RetryPlan

_LATEST = 1.0
"""The value of `chance` for the longest delay."""

Earlier = Callable[[int, float], float | None]
"""Failed attempts and `next_attempt` of an entry -> the new time; None: the delay may be right."""


def after_jump(plan: RetryPlan, now: float, back: float) -> Earlier:
    """The clock was set back by `back` seconds just now.

    A delay that is no longer than the plan's for that many failures stays, so that nothing is attempted early after a
    jump forward was corrected. A longer one, which a plugin or a destination may have set, is reduced by the jump.
    """

    def earlier(attempts: int, next_attempt: float) -> float | None:
        planned = now + (plan.delay(max(1, attempts), _LATEST) or longest(plan))
        return max(planned, next_attempt - back) if next_attempt > planned else None

    return earlier


def at_start(plan: RetryPlan, now: float) -> Earlier:
    """Earlier changes of the clock are unknown: only delays longer than the plan's longest one are wrong."""
    latest = now + longest(plan)
    return lambda _, next_attempt: latest if next_attempt > latest else None


def longest(plan: RetryPlan) -> float:
    """The longest delay of a plan in seconds; 0 if it has none."""
    return max((plan.delay(failures, _LATEST) or 0.0 for failures in range(1, len(plan.delays) + 1)), default=0.0)

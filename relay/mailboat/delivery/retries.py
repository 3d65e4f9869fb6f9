"""The retry plan of mail by its destination: that of outbound.ini, or what shaping.ini says instead. Pure.

Where the hosts of mail are not known, the plan that keeps mail longest holds: nothing is bounced because its domain was
not found for a while.
"""

from __future__ import annotations

from mailboat.config.settings import Settings
from mailboat.config.settings.shaping import INTERVALS
from mailboat.config.shaping import retry_plans
from mailboat.delivery.places import Place
from mailboat.delivery.terms import facts_at
from mailboat.model.envelope import Entry
from mailboat.queue.backoff import RetryPlan
from mailboat.shaping.effective import effective


class RetryPlans:
    """Those of some settings."""

    def __init__(self, settings: Settings) -> None:
        outbound, table = settings.outbound, settings.shaping
        self.usual = RetryPlan.of(outbound.temp_fail_intervals, outbound.max_temp_failures)
        """That of outbound.ini."""
        said = [RetryPlan(delays) for delays in retry_plans(table)]
        self._table = table if said else None
        self.longest = self.usual if not said else _longest([self.usual, *said])
        """At each number of failures the longest delay of any of them."""

    def of(self, entry: Entry, place: object) -> RetryPlan:
        """The plan of an entry, by the place of its attempt; without a place its hosts are not known."""
        if self._table is None:
            return self.usual
        if not isinstance(place, Place):
            return self.longest
        facts, source = facts_at(entry, place.destination.key)
        delays = effective(self._table, facts, source).value(INTERVALS)
        return self.usual if delays is None else RetryPlan(delays)


def _longest(plans: list[RetryPlan]) -> RetryPlan:
    most = max(len(plan.delays) for plan in plans)
    return RetryPlan(tuple(max(plan.delays[n] for plan in plans if n < len(plan.delays)) for n in range(most)))

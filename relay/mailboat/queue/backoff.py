"""When to try again: the retry plan of outbound.ini as a value. Pure."""

from __future__ import annotations

from dataclasses import dataclass

JITTER = 0.1
"""Greatest random change of a delay, as a part of it."""


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """The delays between attempts; the failure after the last one is final."""

    delays: tuple[float, ...]
    """Seconds to wait after the first, second, … failure."""

    @classmethod
    def of(cls, intervals: tuple[float, ...] | None, max_temp_failures: int) -> RetryPlan:
        """The plan that `temp_fail_intervals` gives, else 2^(i+5) seconds up to the last failure but one."""
        if intervals is not None:
            return cls(intervals)
        return cls(tuple(float(2 ** (i + 5)) for i in range(1, max_temp_failures)))

    @property
    def total(self) -> float:
        """Seconds from the first failure to the last."""
        return sum(self.delays)

    def rest(self, failures: int) -> float:
        """Seconds from the attempt after this many failures in all to the last one."""
        return sum(self.delays[failures:])

    def delay(self, failures: int, chance: float = 0.5) -> float | None:
        """Seconds to wait after this many failures in all, 1 or more; None: no more attempts.

        `chance` (0 to 1) makes it up to `JITTER` shorter or longer, so that entries that failed together are not
        retried together.
        """
        if not 1 <= failures <= len(self.delays):
            return None
        return self.delays[failures - 1] * (1 + JITTER * (2 * chance - 1))

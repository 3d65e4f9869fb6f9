"""When to try again: the retry plan of outbound.ini as a value. Pure."""

from __future__ import annotations

from dataclasses import dataclass


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

    def delay(self, failures: int) -> float | None:
        """Seconds to wait after this many failures in all, 1 or more; None: no more tries."""
        return self.delays[failures - 1] if 1 <= failures <= len(self.delays) else None

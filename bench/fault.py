"""The one error of the benchmarks: something outside is not as it must be, so no figure would be true."""

from __future__ import annotations


class BenchError(Exception):
    """Says in one sentence what is wrong and, where it helps, what to do; ends the run."""

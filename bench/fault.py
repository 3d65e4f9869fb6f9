"""The one error of the benchmarks: something outside is not as it must be, so no figure would be true. How they end."""

from __future__ import annotations

import sys
from collections.abc import Callable


class BenchError(Exception):
    """Says in one sentence what is wrong and, where it helps, what to do; ends the run."""


def exit_status(run: Callable[[], int]) -> int:
    """What `run` returns; 2, and the reason on standard error, when nothing could be measured."""
    try:
        return run()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # whatever was started has been stopped on the way here

"""The one error of the benchmarks: something outside is not as it must be, so no figure would be true. How they end."""

from __future__ import annotations

import sys
from collections.abc import Callable


class BenchError(Exception):
    """Ends the run, with one sentence that says what is wrong and what to do."""


def exit_status(run: Callable[[], int]) -> int:
    """What `run` returns; 2, and the reason on standard error, when nothing could be measured."""
    try:
        return run()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # everything that was started has been stopped by now

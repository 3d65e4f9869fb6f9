"""The door of what runs hooks: three functions, and one page that says how a chain runs."""

from __future__ import annotations

import inspect

from mailboat.hooks import run
from mailboat.hooks.run import threads, watch


def test_three_functions_are_the_door() -> None:
    assert {name for name in run.__all__ if inspect.isfunction(getattr(run, name))} == {"start", "drained", "close"}


def test_the_page_has_the_numbers_of_the_code() -> None:
    page = " ".join((run.__doc__ or "").split())
    longest = [1]
    while longest[-1] < threads.BACKOFF_MAX:
        longest.append(min(2 * longest[-1] + 1, threads.BACKOFF_MAX))
    assert f"up to {threads.BATCH_TURNS} turns" in page
    assert f"after {threads.RECHECK_S * 1000:g} ms more threads" in page
    assert f"up to {threads.YIELD_MS} ms" in page
    assert f"the next {', '.join(map(str, longest[:3]))} and at last {longest[-1]} times" in page
    assert f"between {watch._FINEST * 1000:g} ms and {watch._COARSEST:g} s" in page


def test_the_page_is_one_page_and_names_what_is_there() -> None:
    page = run.__doc__ or ""
    assert len(page.splitlines()) <= 60
    for name in ("HookRun", "SyncBatch", "HookWatch", "HookRuntime", "MAX_THREADS", "MAX_STUCK_THREADS", "MAX_TASKS"):
        assert name in page
    assert hasattr(threads.Threads, "_yield_to_thread")

"""The waiting runs of one set of hooks: their timeouts, stuck tasks and threads, and plugins suspended because of them.

`chain` makes one for each set of hooks, `hook_run` reports to it. Everything here is on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from mailboat.hooks.codes import Decision
from mailboat.hooks.failures import FailurePolicy
from mailboat.hooks.plugin import Hook
from mailboat.hooks.run.runtime import HookRuntime
from mailboat.hooks.run.threads import Job, Thread
from mailboat.model.observer import HookFailure

log = logging.getLogger(__name__)

MAX_STUCK_THREADS = 8
"""Stuck threads of one plugin after which it is not called until one of them returns."""
MAX_STUCK_TASKS = 1000
"""The same for tasks that do not end when they are cancelled."""
_FINEST, _COARSEST = 0.02, 1.0
"""Seconds between two checks for timeouts."""


class Waiting(Protocol):
    """A run that waits."""

    since: float

    def check(self, now: float) -> None:
        """Abandon a hook after its timeout; `now` is monotonic."""


class HookWatch:
    """The shared state of the runs of one set of hooks."""

    def __init__(self, hooks: Iterable[Hook], failures: FailurePolicy, runtime: HookRuntime | None = None) -> None:
        """Without a `runtime` it makes one of its own, for as long as it lives."""
        if runtime is None:
            runtime = HookRuntime()
            weakref.finalize(self, runtime.close)  # else its threads never end, and its tasks are lost while they wait
        self.runtime = runtime
        self.failures = failures
        self.disabled: set[str] = set()
        """Plugins that are not called because of stuck threads or tasks."""
        self.waiting: set[Waiting] = set()
        self.emptied: asyncio.Event | None = None
        """Set once nothing waits; made by `drained`."""
        self._stuck: Counter[tuple[str, type]] = Counter()
        self._sweeping = False
        timeouts = [hook.timeout for hook in hooks if hook.timeout]
        self._period = min(max(min(timeouts) / 10, _FINEST), _COARSEST) if timeouts else 0.0

    def skip(self, hook: Hook) -> Decision:
        """The failure of a hook that is not called because of its plugin's stuck threads or tasks."""
        error = TimeoutError("not called: too many earlier calls are stuck")
        return self.failures.failed(hook, HookFailure.TIMEOUT, error)

    def expect(self, run: Waiting) -> None:
        """A run waits: check its timeout."""
        run.since = time.monotonic()
        self.waiting.add(run)
        if self._period and not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(self._period, self._sweep)

    def forget(self, run: Waiting) -> None:
        """A run does not wait any more."""
        self.waiting.discard(run)
        if self.emptied is not None and not self.waiting:
            self.emptied.set()

    def leave_task(self, hook: Hook, task: asyncio.Task[None]) -> None:
        """A task that was abandoned: cancelled, and stuck while it does not end."""
        task.cancel()
        self._leave(hook.plugin, asyncio.Task, +1)
        task.add_done_callback(lambda _: self._leave(hook.plugin, asyncio.Task, -1))

    def leave_thread(self, hook: Hook, thread: Thread, job: Job) -> None:
        """A thread that was abandoned: stuck in a job until its hook returns."""
        self._leave(hook.plugin, Thread, +1)
        self.runtime.threads.give_up(thread, job, lambda: self._leave(hook.plugin, Thread, -1))

    def _leave(self, plugin: str, kind: type, change: int) -> None:
        if kind is Thread:
            self.runtime.stuck_threads += change
        else:
            self.runtime.stuck_tasks += change
        self._stuck[plugin, kind] += change
        threads, tasks = self._stuck[plugin, Thread], self._stuck[plugin, asyncio.Task]
        if threads >= MAX_STUCK_THREADS or tasks >= MAX_STUCK_TASKS:
            if plugin not in self.disabled:
                log.error("plugin %s is no longer called: %d threads and %d tasks are stuck", plugin, threads, tasks)
            self.disabled.add(plugin)
        elif plugin in self.disabled:
            log.warning("plugin %s is called again", plugin)
            self.disabled.discard(plugin)

    def _sweep(self) -> None:
        now = time.monotonic()
        for run in tuple(self.waiting):
            try:
                run.check(now)
            except Exception:  # the others' time ends too
                log.exception("checking a hook's timeout failed")
        self._sweeping = bool(self.waiting)
        if self._sweeping:
            asyncio.get_running_loop().call_later(self._period, self._sweep)

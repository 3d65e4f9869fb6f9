"""How a chain of hooks runs. Only `start`, `drained` and `close` are called from outside.

`chain` knows which hooks a point has, and starts them as one *run*: the hooks are asked in their order until an answer
or a failure decides. The states of a run (`hook_run.HookRun`):

    asking      on the event loop, within the call of `start` or of whatever woke the run
    in a task   an async hook waits for something; its coroutine's end wakes the run (`runner`)
    in a batch  neighbouring sync hooks run in a thread, one after the other; their end wakes the run (`batch`)
    decided     `start` has returned the decision, or the callback of `on_done` was called with it, once
    cancelled   the decision is not wanted: the task is cancelled, the thread ends with the hook that it is in

    asking -> asking                  an async hook ended in its first step, and decided nothing
    asking -> in a task               an async hook waits
    asking -> in a batch              the next hook is a sync one
    asking -> decided                 an answer or a failure decides, or no hook is left
    in a task, in a batch -> asking   the hooks are done, or the time of one is over

Who may block what:

- An async hook runs on the event loop, in a task that is lent to it, so it must not block. Most hooks end in their
  first step, and a task for each would cost many times what the hook does. Once a hook waits, the lent task takes
  over its coroutine, and is not lent again.
- A sync hook never runs on the event loop, so it may block: one of `MAX_THREADS` threads, and the batches that wait
  for it. Batches of up to 32 turns of the event loop share one wake-up of a thread; after 3 ms more threads are
  woken.
- The event loop itself blocks in one place: `Threads._yield_to_thread` waits up to 1 ms for the thread that it has just
  woken. Most sync hooks take microseconds, less than it costs to wake the event loop again. Where 1 ms was not
  enough, it does not wait the next 1, 3, 7 and at last 1000 times.

Who may touch what: all of it belongs to the event loop, except `Thread._run` and the `work` of a batch. What these
share with it is the deques of `Threads`, what changes under its lock, two flags that only save a wake-up, and what
`SyncBatch` names. A thread calls nothing of a run; it has the event loop do so. There is no clock and no lock for
each sync hook: there may be a hundred of them a message.

Time: runs that wait are looked at every tenth of the shortest timeout, between 20 ms and 1 s, and so late a hook may be
given up. The thread and the check race to claim a hook; the first one decides its result. A hook that has timed out is
abandoned: the run continues, and its later answer is ignored. Its task is cancelled; its thread is replaced, for it
cannot be ended. Both are stuck until they end by themselves. A plugin with `MAX_STUCK_THREADS` or `MAX_STUCK_TASKS` of
them is not asked, which is a failure each time, until one has ended (`watch`).

A hook's own tasks are its plugin's, `MAX_TASKS` at once. To know them, the event loop's task factory is replaced when
the first async hook is asked (`tasks`).

A `HookRuntime` (threads, lent tasks) lives as long as its worker, a `HookWatch` until the last run of its set of hooks
is over. Importing starts no thread and makes no pipe: the first job does, or `HookRuntime.opened`.
"""

from __future__ import annotations

import asyncio
import logging

from mailboat.hooks.codes import Decision
from mailboat.hooks.run.hook_run import HookRun
from mailboat.hooks.run.runtime import HookRuntime
from mailboat.hooks.run.sequence import HookSequence
from mailboat.hooks.run.tasks import MAX_TASKS
from mailboat.hooks.run.threads import MAX_THREADS
from mailboat.hooks.run.watch import MAX_STUCK_TASKS, MAX_STUCK_THREADS, HookWatch

__all__ = [
    "MAX_STUCK_TASKS",
    "MAX_STUCK_THREADS",
    "MAX_TASKS",
    "MAX_THREADS",
    "HookRun",
    "HookRuntime",
    "HookSequence",
    "HookWatch",
    "close",
    "drained",
    "start",
]

log = logging.getLogger(__name__)

DRAIN = 30.0
"""Seconds that running hooks of replaced plugins may still take."""


def start(watch: HookWatch, sequence: HookSequence, args: tuple[object, ...]) -> Decision | HookRun:
    """Call the hooks in order; returns the decision at once if none of them waits."""
    running = HookRun(watch, sequence, args)
    decision = running.advance()
    return running if decision is None else decision


async def drained(watch: HookWatch) -> None:
    """Wait until no run waits any more, at most `DRAIN` seconds."""
    watch.emptied = asyncio.Event()
    if watch.waiting:
        try:
            await asyncio.wait_for(watch.emptied.wait(), DRAIN)
        except TimeoutError:
            log.warning("replaced plugins still run %d hooks", len(watch.waiting))


def close(runtime: HookRuntime) -> None:
    """At the end of a worker: idle threads and tasks end, others when they become idle."""
    runtime.close()

"""Neighbouring sync hooks, called one after the other in one thread: one wake-up for all of them.

`hook_run` makes it, a thread of `threads` runs it, and `watch` looks at it while it runs. So it is used in a thread
and on the event loop at once: `__init__` says which of them writes what.
"""

from __future__ import annotations

from typing import Any, Protocol

from mailboat.hooks.codes import CONT
from mailboat.hooks.plugin import Hook
from mailboat.hooks.run.sequence import HookSequence
from mailboat.hooks.run.threads import Thread

_SWEEP = object()


class BatchOwner(Protocol):
    """The run that made a batch, on the event loop."""

    sequence: HookSequence
    args: tuple[object, ...]

    def batch_done(self, batch: SyncBatch) -> None:
        """The thread has finished it."""

    def leave_thread(self, batch: SyncBatch, index: int) -> None:
        """The hook at `index` has timed out."""


class SyncBatch:
    """Neighbouring sync hooks, called one after the other in one thread. The first answer ends it."""

    __slots__ = (
        "_at",
        "_claims",
        "_end",
        "_run",
        "_seen",
        "_since",
        "answer",
        "failures",
        "is_over",
        "next",
        "thread",
    )

    def __init__(self, run: BatchOwner, start: int) -> None:
        self._run = run
        end = start + 1
        hooks = run.sequence.hooks
        while end < len(hooks) and not hooks[end].is_async:
            end += 1
        self._end = end

        # The event loop writes, the thread reads.
        self.is_over = False
        """Its remaining hooks must not be called."""
        self._seen: tuple[int, bool] | None = None
        """The hook that ran at the sweep's last check, and whether it was in a thread."""
        self._since = 0.0
        """Monotonic: when the sweep saw that first."""

        # Both write.
        self._claims: dict[int, object] = {}
        """Which of thread and sweep decides the result of a hook after a check: the first to claim it."""

        # The thread writes; the sweep reads the first two, and a run all once the thread is through or given up.
        self._at = start
        """The hook that runs."""
        self.thread: Thread | None = None
        self.answer: Any = None
        self.failures: list[tuple[Hook, BaseException]] = []
        self.next = start
        """The hook after the last one that was asked."""

    def work(self, thread: Thread) -> None:
        """Call the hooks; in a thread. No clock and no lock a hook: there may be a hundred of them a message."""
        run, at = self._run, self.next
        hooks, is_uneven = run.sequence.hooks, run.sequence.is_uneven
        args, claims = run.args, self._claims
        self.thread = thread
        if claims:
            return  # abandoned before a thread was free
        for hook in hooks[at : self._end]:
            if self.is_over:
                break
            self._at = at
            answer, error = None, None
            try:
                answer = hook.function(*(args[: hook.arity] if is_uneven else args))
            except BaseException as caught:  # noqa: BLE001 - a thread of ours survives whatever a plugin does
                error = caught
            if self._seen is not None and claims.setdefault(at, thread) is not thread:
                return
            at += 1
            if error is not None:
                self.failures.append((hook, error))
                if hook.on_failure is not CONT:
                    break
            elif answer is not None and answer is not CONT:
                self.answer = answer
                break
        self.next = at

    def finished(self) -> None:
        """The thread has finished it; on the event loop."""
        self._run.batch_done(self)

    def check(self, now: float, since: float) -> None:
        """Abandon a hook after its timeout, late by up to one interval of checks; `since`: when the batch was
        submitted."""
        at, started = seen = (self._at, self.thread is not None)
        timeout = self._run.sequence.hooks[at].timeout
        if seen != self._seen:
            self._seen, self._since = seen, now if started else since
        elif 0 < timeout <= now - self._since and self._claims.setdefault(at, _SWEEP) is _SWEEP:
            self._run.leave_thread(self, at)

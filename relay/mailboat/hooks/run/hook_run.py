"""One run of a chain: which hook is asked now, what waits for the decision, and how a hook is left behind.

`run.start` makes it. Async hooks run in a lent task (`runner`), sync hooks in a thread (`batch`, `threads`); neighbours
of one kind share a task's step, or a batch. Everything here is on the event loop.

A hook that times out is abandoned: the run continues in another task or thread, and the hook's later answer is ignored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from mailboat.hooks.codes import CONTINUE, OK, Decision
from mailboat.hooks.plugin import Hook
from mailboat.hooks.points import POINTS, Point
from mailboat.hooks.run.batch import SyncBatch
from mailboat.hooks.run.runner import Runner
from mailboat.hooks.run.sequence import HookSequence
from mailboat.hooks.run.watch import HookWatch
from mailboat.model.observer import HookFailure


class HookRun:
    """A run; after `advance` has returned None, it waits for a hook."""

    # Of the class until something waits: most runs are decided at once, and are made for each point of each message.
    index = 0
    """The hook that is running or is next."""
    since = 0.0
    """Monotonic: since when the run, or its present async hook, waits; 0 before it does."""
    cancelled = False
    _runner: Runner | None = None
    _batch: SyncBatch | None = None
    _callback: Callable[[Decision], None] | None = None
    _decision: Decision | None = None

    def __init__(self, watch: HookWatch, sequence: HookSequence, args: tuple[object, ...]) -> None:
        self._watch = watch
        self.sequence = sequence
        self.args = args

    # For the caller.

    def on_done(self, callback: Callable[[Decision], None]) -> None:
        """Have `callback` called on the event loop with the decision, once; not after `cancel`."""
        if self._decision is None:
            self._callback = callback
        elif not self.cancelled:
            asyncio.get_running_loop().call_soon(callback, self._decision)

    async def wait(self) -> Decision:
        """The decision, for a caller in a task; if that is cancelled, so is this."""
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        # The caller may have been cancelled, and not know it yet.
        self.on_done(lambda decision: None if future.done() else future.set_result(decision))
        try:
            return await future
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Cancel the run: a task is cancelled; a thread finishes its present hook only."""
        self.cancelled = True
        self._callback = None
        if self._runner is not None:
            self._leave_task()
        if self._batch is None:
            self._watch.forget(self)
        else:
            self._batch.is_over = True

    # The hooks in their order.

    def advance(self) -> Decision | None:
        """Call hooks from `index` on; the decision, or None if a hook waits."""
        hooks, watch = self.sequence.hooks, self._watch
        while self.index < len(hooks):
            hook = hooks[self.index]
            if watch.disabled and hook.plugin in watch.disabled:
                decision: Decision | None = watch.skip(hook)
                self.index += 1
            elif hook.is_async:
                decision = self._step()
            else:
                self._batch = SyncBatch(self, self.index)
                watch.expect(self)
                watch.runtime.threads.submit(self._batch)
                return None
            if decision is not CONTINUE and not self._continues(decision):
                return decision
        return CONTINUE

    def _continues(self, decision: Decision | None) -> bool:
        """Whether the decision of one point leads to the next one, which then begins."""
        if not self.sequence.spans_points or decision is None or decision.code is not OK:
            return False
        if not POINTS[Point(decision.point)].ok_goes_on:
            return False
        hooks = self.sequence.hooks
        while self.index < len(hooks) and hooks[self.index].point == decision.point:
            self.index += 1
        return True

    def go_on(self, decision: Decision | None) -> None:
        """A wait has ended: continue, or report the decision."""
        if not self.cancelled and (decision is CONTINUE or self._continues(decision)):
            decision = self.advance() if self.index < len(self.sequence.hooks) else CONTINUE
        if decision is None:
            return
        self._watch.forget(self)
        self._decision = decision
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(decision)

    def check(self, now: float) -> None:
        """Abandon a hook after its timeout; `now` is monotonic."""
        if self._batch is not None:
            self._batch.check(now, self.since)
        elif self._runner is not None:
            hook = self.sequence.hooks[self.index]
            if 0 < hook.timeout <= now - self.since:
                self._leave_task()
                self._after_timeout(hook)

    # Async hooks.

    def _step(self) -> Decision | None:
        runners = self._watch.runtime.runners
        runner = runners.acquire()
        result = runner.step(self._ask(), self)
        if result is not None:
            runners.release(runner)
            return result[0]
        self._runner = runner
        self._watch.expect(self)
        return None

    def plugin(self) -> str:
        """The plugin whose hook runs now."""
        hooks = self.sequence.hooks
        return hooks[self.index].plugin if self.index < len(hooks) else ""

    async def _ask(self) -> Decision | None:
        """Call consecutive async hooks; None if the run has continued without them."""
        hooks, is_uneven = self.sequence.hooks, self.sequence.is_uneven
        args, watch, index = self.args, self._watch, self.index
        for hook in hooks[index:] if index else hooks:
            if not hook.is_async or (watch.disabled and hook.plugin in watch.disabled):
                break
            self.index = index
            try:
                given = args[: hook.arity] if is_uneven else args
                answer: Any = await hook.function(*given)  # type: ignore[misc] # it is async
            except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - mail flows
                if self._is_past(index):
                    return None
                decision = watch.failures.failed(hook, HookFailure.RAISED, error)
            else:
                if self.since and self._is_past(index):
                    return None
                if answer is None:
                    index += 1
                    continue
                decision = watch.failures.parse_answer(hook, answer)
            index += 1
            if decision is not CONTINUE:
                self.index = index
                return decision
        self.index = index
        return CONTINUE

    def _is_past(self, index: int) -> bool:
        """Whether the run has continued without the hook that returns now; if not, start the next one's timeout."""
        if self.index != index or self.cancelled:
            return True
        if self.since:
            self.since = time.monotonic()
        return False

    def done(self, decision: Decision | None) -> None:
        """Async hooks that waited have finished; None for abandoned ones."""
        if decision is not None and self._runner is not None:
            self._runner.work = None  # what comes now is no plugin's
            self._runner = None
            self.go_on(decision)

    def _leave_task(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            hook = self.sequence.hooks[self.index]
            runner.work = _AbandonedHook(hook.plugin)
            self._watch.leave_task(hook, runner.task)

    # Sync hooks.

    def batch_done(self, batch: SyncBatch) -> None:
        """Its thread has finished it."""
        if self._batch is not batch:
            return
        self._batch = None
        self.index = batch.next
        decision = CONTINUE
        for hook, error in batch.failures:
            decision = self._watch.failures.failed(hook, HookFailure.RAISED, error)
        if batch.answer is not None:
            decision = self._watch.failures.parse_answer(self.sequence.hooks[batch.next - 1], batch.answer)
        self.go_on(decision)

    def leave_thread(self, batch: SyncBatch, index: int) -> None:
        """Its thread is stuck in a hook, or no thread became free in time."""
        self._batch = None
        batch.is_over = True
        self.index = index
        for hook, error in batch.failures:
            self._watch.failures.failed(hook, HookFailure.RAISED, error)
        if batch.thread is not None:
            self._watch.leave_thread(self.sequence.hooks[index], batch.thread, batch)
        self._after_timeout(self.sequence.hooks[index])

    def _after_timeout(self, hook: Hook) -> None:
        self.index += 1
        error = TimeoutError(f"no answer within {hook.timeout:g} s")
        self.go_on(self._watch.failures.failed(hook, HookFailure.TIMEOUT, error))


class _AbandonedHook:
    """An abandoned hook; tasks that it still starts belong to its plugin."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin

    def done(self, result: Any) -> None:
        """Ignored."""

    def plugin(self) -> str:
        """Its plugin."""
        return self._plugin

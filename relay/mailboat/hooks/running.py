"""One chain under way: which hook is asked now, who waits for the decision, and how a hook is left behind.

Made by `chain.Hooks.begin`. Async hooks run in a lent task (`runner`), sync hooks in a thread (`threads`);
neighbours of one kind share a task's step, or a hop. Everything runs on the event loop but for `Hop.work`.

A hook that takes too long is left behind: the chain goes on without it, in another task or thread, and what it says
later is not heard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mailboat.hooks.codes import CONT, CONTINUE, Decision
from mailboat.hooks.runner import Runner
from mailboat.hooks.threads import Thread
from mailboat.model.observer import HookFailure

if TYPE_CHECKING:
    from mailboat.hooks.chain import Hooks
    from mailboat.hooks.plugin import Hook

_SWEEP = object()


class Running:
    """A chain; once `advance` has returned None, it waits for something."""

    __slots__ = ("_callback", "_decision", "_hop", "_owner", "_runner", "args", "cancelled", "hooks", "index", "since")

    def __init__(self, owner: Hooks, hooks: tuple[Hook, ...], args: tuple[object, ...]) -> None:
        self._owner = owner
        self.hooks = hooks
        self.args = args
        self.index = 0
        """The hook that is asked, or is to be asked next."""
        self.since = 0.0
        """Monotonic: since when the chain, or its present async hook, waits; 0 before it does."""
        self.cancelled = False
        self._runner: Runner | None = None
        self._hop: Hop | None = None
        self._callback: Callable[[Decision], None] | None = None
        self._decision: Decision | None = None

    # For whoever asked.

    def on_done(self, callback: Callable[[Decision], None]) -> None:
        """Have `callback` called on the event loop with the decision, once; not after `cancel`."""
        if self._decision is None:
            self._callback = callback
        elif not self.cancelled:
            asyncio.get_running_loop().call_soon(callback, self._decision)

    def cancel(self) -> None:
        """Nobody wants to know any more. What waits is cancelled; a thread ends with the hook that it is in."""
        self.cancelled = True
        self._callback = None
        if self._runner is not None:
            self._leave_task()
        if self._hop is None:
            self._owner.forget(self)

    # The chain.

    def advance(self) -> Decision | None:
        """Ask from `index` on; the decision, or None when something waits."""
        hooks, owner = self.hooks, self._owner
        while self.index < len(hooks):
            hook = hooks[self.index]
            if owner.barred and hook.plugin in owner.barred:
                decision: Decision | None = owner.bar(hook)
                self.index += 1
            elif hook.is_async:
                decision = self._step()
            else:
                self._hop = Hop(self, self.index)
                owner.expect(self)
                owner.crew.threads.submit(self._hop)
                return None
            if decision is not CONTINUE:
                return decision
        return CONTINUE

    def go_on(self, decision: Decision | None) -> None:
        """What waited is over: ask on, or tell the decision."""
        if decision is CONTINUE and not self.cancelled:
            decision = self.advance()
        if decision is None:
            return
        self._owner.forget(self)
        self._decision = decision
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(decision)

    def check(self, now: float) -> None:
        """Leave the hook behind that takes too long; `now` is monotonic."""
        if self._hop is not None:
            self._hop.check(now, self.since)
        elif self._runner is not None:
            hook = self.hooks[self.index]
            if 0 < hook.timeout <= now - self.since:
                self._leave_task()
                self._after_timeout(hook)

    # Async hooks.

    def _step(self) -> Decision | None:
        owner = self._owner
        runner = owner.crew.runner()
        runner.whose = self._plugin
        result = runner.step(self._ask(), self._asked)
        if result is not None:
            owner.crew.runners.give_back(runner)
            return result[0]
        self._runner = runner
        owner.expect(self)
        return None

    def _plugin(self) -> str:
        return self.hooks[self.index].plugin if self.index < len(self.hooks) else ""

    async def _ask(self) -> Decision | None:
        """Ask async hooks as long as they follow one another; None for a chain that has gone on without them."""
        hooks, args, owner, index = self.hooks, self.args, self._owner, self.index
        while index < len(hooks) and (hook := hooks[index]).is_async:
            if owner.barred and hook.plugin in owner.barred:
                break
            try:
                answer: Any = await hook.function(*args)  # type: ignore[misc] # it is async
            except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - mail flows
                if self.index != index or self.cancelled:
                    return None
                decision = owner.failed(hook, HookFailure.RAISED, error)
            else:
                if self.index != index or self.cancelled:
                    return None
                decision = CONTINUE if answer is None else owner.understand(hook, answer)
            index += 1
            self.index = index
            if decision is not CONTINUE:
                return decision
            if self.since:
                self.since = time.monotonic()
        return CONTINUE

    def _asked(self, decision: Decision | None) -> None:
        if decision is not None and self._runner is not None:
            self._runner.whose = str  # what comes now is no plugin's
            self._runner = None
            self.go_on(decision)

    def _leave_task(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            hook = self.hooks[self.index]
            runner.whose = lambda: hook.plugin
            self._owner.leave_task(hook, runner.task)

    # Sync hooks.

    def hopped(self, hop: Hop) -> None:
        """The hop is over."""
        if self._hop is not hop:
            return
        self._hop = None
        self.index = hop.next
        decision = CONTINUE
        for hook, error in hop.failures:
            decision = self._owner.failed(hook, HookFailure.RAISED, error)
        if hop.answer is not None:
            decision = self._owner.understand(self.hooks[hop.next - 1], hop.answer)
        self.go_on(decision)

    def leave_thread(self, hop: Hop, index: int) -> None:
        """Its thread is stuck in a hook, or no thread was free all the time."""
        self._hop = None
        self.index = index
        for hook, error in hop.failures:
            self._owner.failed(hook, HookFailure.RAISED, error)
        if hop.thread is not None:
            self._owner.leave_thread(self.hooks[index], hop.thread, hop)
        self._after_timeout(self.hooks[index])

    def _after_timeout(self, hook: Hook) -> None:
        self.index += 1
        error = TimeoutError(f"no answer within {hook.timeout:g} s")
        self.go_on(self._owner.failed(hook, HookFailure.TIMEOUT, error))


class Hop:
    """Neighbouring sync hooks, called one after the other in one thread. The first answer ends it."""

    __slots__ = ("_at", "_claims", "_end", "_run", "answer", "failures", "next", "thread")

    def __init__(self, run: Running, start: int) -> None:
        self._run = run
        self._at = (start, 0.0)
        """Which hook runs, and since when (monotonic; 0: none yet). One assignment: never half of it is seen."""
        end = start + 1
        hooks = run.hooks
        while end < len(hooks) and not hooks[end].is_async:
            end += 1
        self._end = end
        self._claims: dict[int, object] = {}
        """Who says what came of each hook, the thread or the sweep: the first one to claim it."""
        self.answer: Any = None
        self.failures: list[tuple[Hook, BaseException]] = []
        self.next = start
        """The hook after the last one that was asked."""
        self.thread: Thread | None = None

    def work(self, thread: Thread) -> None:
        """Call the hooks; in a thread."""
        hooks, args, claims, run = self._run.hooks, self._run.args, self._claims, self._run
        self.thread = thread
        at, end = self.next, self._end
        if claims:
            return  # given up before a thread was free
        while at < end and not run.cancelled:
            hook = hooks[at]
            self._at = (at, time.monotonic())
            answer, error = None, None
            try:
                answer = hook.function(*args)
            except BaseException as caught:  # noqa: BLE001 - a thread of ours survives whatever a plugin does
                error = caught
            if claims.setdefault(at, thread) is not thread:
                return
            at += 1
            self.next = at
            if error is not None:
                self.failures.append((hook, error))
                if hook.on_failure is not CONT:
                    return
            elif answer is not None and answer is not CONT:
                self.answer = answer
                return

    def finished(self) -> None:
        """The thread is through with it; on the event loop."""
        self._run.hopped(self)

    def check(self, now: float, since: float) -> None:
        """Give up what takes too long; `since` is when the hop was asked for."""
        index, began = self._at
        timeout = self._run.hooks[index].timeout
        if 0 < timeout <= now - (began or since) and self._claims.setdefault(index, _SWEEP) is _SWEEP:
            self._run.leave_thread(self, index)

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

from mailboat.hooks.codes import CONT, CONTINUE, OK, Decision
from mailboat.hooks.points import POINTS, Point
from mailboat.hooks.runner import Runner
from mailboat.hooks.threads import Thread
from mailboat.model.observer import HookFailure

if TYPE_CHECKING:
    from mailboat.hooks.chain import Hooks
    from mailboat.hooks.plugin import Hook

_SWEEP = object()


class Running:
    """A chain; once `advance` has returned None, it waits for something."""

    # Of the class until something waits: most chains are decided at once, and are made for each point of each message.
    index = 0
    """The hook that is asked, or is to be asked next."""
    since = 0.0
    """Monotonic: since when the chain, or its present async hook, waits; 0 before it does."""
    cancelled = False
    is_row = False
    """The hooks are of several points."""
    is_uneven = False
    """Some of them take fewer arguments."""
    _runner: Runner | None = None
    _hop: Hop | None = None
    _callback: Callable[[Decision], None] | None = None
    _decision: Decision | None = None

    def __init__(self, owner: Hooks, hooks: tuple[Hook, ...], args: tuple[object, ...]) -> None:
        self._owner = owner
        self.hooks = hooks
        self.args = args

    # For whoever asked.

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
        """Nobody wants to know any more. What waits is cancelled; a thread ends with the hook that it is in."""
        self.cancelled = True
        self._callback = None
        if self._runner is not None:
            self._leave_task()
        if self._hop is None:
            self._owner.forget(self)
        else:
            self._hop.is_over = True

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
            if decision is not CONTINUE and not self._leads_on(decision):
                return decision
        return CONTINUE

    def _leads_on(self, decision: Decision | None) -> bool:
        """Whether the decision of one point leads to the next one, which then begins."""
        if not self.is_row or decision is None or decision.code is not OK:
            return False
        if not POINTS[Point(decision.point)].ok_goes_on:
            return False
        while self.index < len(self.hooks) and self.hooks[self.index].point == decision.point:
            self.index += 1
        return True

    def go_on(self, decision: Decision | None) -> None:
        """What waited is over: ask on, or tell the decision."""
        if not self.cancelled and (decision is CONTINUE or self._leads_on(decision)):
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
        result = runner.step(self._ask(), self)
        if result is not None:
            owner.crew.runners.give_back(runner)
            return result[0]
        self._runner = runner
        owner.expect(self)
        return None

    def plugin(self) -> str:
        """Whose hook runs now."""
        return self.hooks[self.index].plugin if self.index < len(self.hooks) else ""

    async def _ask(self) -> Decision | None:
        """Ask async hooks as long as they follow one another; None for a chain that has gone on without them."""
        hooks, args, owner, index = self.hooks, self.args, self._owner, self.index
        for hook in hooks[index:] if index else hooks:
            if not hook.is_async or (owner.barred and hook.plugin in owner.barred):
                break
            self.index = index
            try:
                given = args[: hook.arity] if self.is_uneven else args
                answer: Any = await hook.function(*given)  # type: ignore[misc] # it is async
            except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - mail flows
                if self._is_past(index):
                    return None
                decision = owner.failed(hook, HookFailure.RAISED, error)
            else:
                if self.since and self._is_past(index):
                    return None
                if answer is None:
                    index += 1
                    continue
                decision = owner.understand(hook, answer)
            index += 1
            if decision is not CONTINUE:
                self.index = index
                return decision
        self.index = index
        return CONTINUE

    def _is_past(self, index: int) -> bool:
        """Whether the chain has gone on without the hook that comes back now; if not, the next one's time begins."""
        if self.index != index or self.cancelled:
            return True
        if self.since:
            self.since = time.monotonic()
        return False

    def done(self, decision: Decision | None) -> None:
        """Async hooks that had to wait are through; None for those that were left behind."""
        if decision is not None and self._runner is not None:
            self._runner.work = None  # what comes now is no plugin's
            self._runner = None
            self.go_on(decision)

    def _leave_task(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            hook = self.hooks[self.index]
            runner.work = _LeftBehind(hook.plugin)
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
        hop.is_over = True
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


class _LeftBehind:
    """A hook that nobody waits for any more; the tasks that it still starts are its plugin's."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin

    def done(self, result: Any) -> None:
        """Not heard."""

    def plugin(self) -> str:
        """Its plugin."""
        return self._plugin


class Hop:
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

    def __init__(self, run: Running, start: int) -> None:
        self._run = run
        end = start + 1
        hooks = run.hooks
        while end < len(hooks) and not hooks[end].is_async:
            end += 1
        self._end = end
        self._at = start
        """The hook that runs."""
        self.is_over = False
        """Nobody waits for its other hooks any more."""
        self._seen: tuple[int, bool] | None = None
        """Which hook ran when the sweep looked last, and whether in a thread."""
        self._since = 0.0
        """Monotonic: when the sweep saw that first."""
        self._claims: dict[int, object] = {}
        """Who says what came of a hook once the sweep has looked, the thread or the sweep: the first to claim it."""
        self.answer: Any = None
        self.failures: list[tuple[Hook, BaseException]] = []
        self.next = start
        """The hook after the last one that was asked."""
        self.thread: Thread | None = None

    def work(self, thread: Thread) -> None:
        """Call the hooks; in a thread. No clock and no lock a hook: there may be a hundred of them a message."""
        run, at = self._run, self.next
        args, claims = run.args, self._claims
        self.thread = thread
        if claims:
            return  # given up before a thread was free
        for hook in run.hooks[at : self._end]:
            if self.is_over:
                break
            self._at = at
            answer, error = None, None
            try:
                answer = hook.function(*(args[: hook.arity] if run.is_uneven else args))
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
        """The thread is through with it; on the event loop."""
        self._run.hopped(self)

    def check(self, now: float, since: float) -> None:
        """Give up what takes too long; `since` is when the hop was asked for. Late by up to the time between looks."""
        at, started = seen = (self._at, self.thread is not None)
        if seen != self._seen:
            self._seen, self._since = seen, now if started else since
        elif 0 < self._run.hooks[at].timeout <= now - self._since and self._claims.setdefault(at, _SWEEP) is _SWEEP:
            self._run.leave_thread(self, at)

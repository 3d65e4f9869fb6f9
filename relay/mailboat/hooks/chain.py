"""All hooks of one worker, point by point: who is asked, who has failed, who may not be asked any more.

A plugin that fails is logged, counted and answered for by the failure policy: it never stops mail. Ingress and
delivery call `wants`, `begin` and `run`; `loader` makes it, and a reload replaces it as a whole. How one chain runs is
`running`'s.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Iterable, Sequence

from mailboat.hooks.codes import CONT, CONTINUE, Decision
from mailboat.hooks.crew import Crew
from mailboat.hooks.objects import Connection
from mailboat.hooks.plugin import AuthOffer, Hook
from mailboat.hooks.points import POINTS, NonsenseError, Point, understand
from mailboat.hooks.running import Running
from mailboat.hooks.threads import Job, Thread
from mailboat.model.observer import HookFailure, Observer

log = logging.getLogger(__name__)

MAX_STUCK_THREADS = 8
"""Threads that one plugin may leave stuck; then it is not asked any more until one of them comes back."""
MAX_STUCK_TASKS = 1000
"""The same for tasks that do not end when they are cancelled."""
DRAIN = 30.0
"""Seconds that plugins which were replaced may go on with what they are at."""
_QUIET = 1.0
"""Seconds between two lines about the same failure of the same plugin; the metric counts them all."""
_FINEST, _COARSEST = 0.02, 1.0
"""Seconds between two looks for hooks that take too long."""


class Hooks:
    """All hooks of one worker."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        auth_offers: Sequence[tuple[str, AuthOffer]] = (),
        observer: Observer | None = None,
        crew: Crew | None = None,
    ) -> None:
        """`hooks` come in the order of `config/plugins`; each of `auth_offers` with its plugin's name."""
        self._observer = observer or Observer()
        self._auth_offers = auth_offers
        by_point: dict[Point, list[Hook]] = {}
        for hook in sorted(hooks, key=lambda hook: hook.priority):
            by_point.setdefault(hook.point, []).append(hook)
        self._hooks = {point: tuple(chain) for point, chain in by_point.items()}
        self._rows: dict[tuple[Point, ...], tuple[tuple[Hook, ...], bool]] = {}
        """The hooks of several points, and whether some of them take fewer arguments than others may."""
        if crew is None:
            crew = Crew()
            weakref.finalize(self, crew.threads.close)  # they would wait for ever
        self.crew = crew
        self.barred: set[str] = set()
        """Plugins that have left too much stuck to be asked."""
        self._stuck: Counter[tuple[str, type]] = Counter()
        self._waiting: set[Running] = set()
        self._emptied: asyncio.Event | None = None
        self._sweeping = False
        timeouts = [hook.timeout for chain in self._hooks.values() for hook in chain if hook.timeout]
        self._period = min(max(min(timeouts) / 10, _FINEST), _COARSEST) if timeouts else 0.0
        self._told: dict[tuple[str, str, HookFailure], tuple[float, int]] = {}

    def wants(self, point: Point) -> bool:
        """Whether any plugin is to be asked there; where none is, nothing needs to be prepared."""
        return point in self._hooks

    def of(self, point: Point) -> tuple[Hook, ...]:
        """The hooks of a point in the order in which they are asked."""
        return self._hooks.get(point, ())

    def auth_mechanisms(self, connection: Connection) -> tuple[str, ...]:
        """The AUTH mechanisms that plugins offer to this connection now, each once, in upper case."""
        offered: dict[str, None] = {}
        for plugin, offer in self._auth_offers:
            try:
                offered.update(dict.fromkeys(mechanism.upper() for mechanism in offer(connection)))
            except Exception as error:  # noqa: BLE001 - whatever a plugin does, mail flows
                self._count(Point.AUTH, plugin, HookFailure.RAISED, error)
        return tuple(offered)

    def begin(self, point: Point, *args: object) -> Decision | Running:
        """Ask the plugins; the decision at once where none of them waits for anything. For callers without a task."""
        hooks = self._hooks.get(point)
        if hooks is None:
            return CONTINUE
        running = Running(self, hooks, args)
        decision = running.advance()
        return running if decision is None else decision

    def begin_row(self, points: tuple[Point, ...], *args: object) -> Decision | Running:
        """The same at several points in a row, as long as nobody objects; each is given as many of `args` as it takes.

        What lies between two points would cost sync hooks a hop more. `Decision.point` says where it ended.
        """
        hooks, is_uneven = self._rows.get(points) or self._row(points)
        if not hooks:
            return CONTINUE
        running = Running(self, hooks, args)
        running.is_row = True
        running.is_uneven = is_uneven
        decision = running.advance()
        return running if decision is None else decision

    def _row(self, points: tuple[Point, ...]) -> tuple[tuple[Hook, ...], bool]:
        hooks = tuple(hook for point in points for hook in self.of(point))
        widest = max(len(POINTS[point].parameters) for point in points)
        row = self._rows[points] = hooks, any(hook.arity < widest for hook in hooks)
        return row

    async def run(self, point: Point, *args: object) -> Decision:
        """Ask the plugins in their order; the first answer that is not CONT is the decision."""
        started = self.begin(point, *args)
        return started if isinstance(started, Decision) else await started.wait()

    async def drained(self) -> None:
        """Wait until nothing of it runs any more, or has had time enough to end."""
        self._emptied = asyncio.Event()
        if self._waiting:
            try:
                await asyncio.wait_for(self._emptied.wait(), DRAIN)
            except TimeoutError:
                log.warning("plugins that were replaced are still at work: %d hooks", len(self._waiting))

    # For `running`.

    def understand(self, hook: Hook, answer: object) -> Decision:
        """What an answer means; a failure where it means nothing."""
        try:
            code, value = understand(hook.point, answer)
        except NonsenseError as error:
            if inspect.iscoroutine(answer):
                answer.close()  # it would complain that nobody awaited it
            return self.failed(hook, HookFailure.NONSENSE, error)
        return CONTINUE if code is CONT else Decision(code, value, hook.plugin, point=hook.point)

    def failed(self, hook: Hook, reason: HookFailure, error: BaseException) -> Decision:
        """A hook has failed: count it, and say what holds instead of its answer."""
        self._count(hook.point, hook.plugin, reason, error)
        if hook.on_failure is CONT:
            return CONTINUE
        return Decision(hook.on_failure, None, hook.plugin, failed=True, point=hook.point)

    def bar(self, hook: Hook) -> Decision:
        """A hook is not asked: too much of its plugin is stuck."""
        return self.failed(hook, HookFailure.TIMEOUT, TimeoutError("not asked: too many earlier calls are stuck"))

    def expect(self, running: Running) -> None:
        """A chain waits: see that it does not wait too long."""
        running.since = time.monotonic()
        self._waiting.add(running)
        if self._period and not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(self._period, self._sweep)

    def forget(self, running: Running) -> None:
        """A chain waits no more."""
        self._waiting.discard(running)
        if self._emptied is not None and not self._waiting:
            self._emptied.set()

    def leave_task(self, hook: Hook, task: asyncio.Task[None]) -> None:
        """A task that nobody waits for: cancelled, and stuck while it does not end."""
        task.cancel()
        self._leave(hook.plugin, asyncio.Task, +1)
        task.add_done_callback(lambda _: self._leave(hook.plugin, asyncio.Task, -1))

    def leave_thread(self, hook: Hook, thread: Thread, job: Job) -> None:
        """A thread that nobody waits for: stuck in a job until its hook returns."""
        self._leave(hook.plugin, Thread, +1)
        self.crew.threads.give_up(thread, job, lambda: self._leave(hook.plugin, Thread, -1))

    def _leave(self, plugin: str, kind: type, change: int) -> None:
        if kind is Thread:
            self.crew.stuck_threads += change
        else:
            self.crew.stuck_tasks += change
        self._stuck[plugin, kind] += change
        threads, tasks = self._stuck[plugin, Thread], self._stuck[plugin, asyncio.Task]
        if threads >= MAX_STUCK_THREADS or tasks >= MAX_STUCK_TASKS:
            if plugin not in self.barred:
                log.error("plugin %s is not asked any more: %d threads and %d tasks are stuck", plugin, threads, tasks)
            self.barred.add(plugin)
        elif plugin in self.barred:
            log.warning("plugin %s is asked again", plugin)
            self.barred.discard(plugin)

    def _sweep(self) -> None:
        now = time.monotonic()
        for running in tuple(self._waiting):
            try:
                running.check(now)
            except Exception:  # the others' time ends too
                log.exception("looking after hooks that take too long")
        self._sweeping = bool(self._waiting)
        if self._sweeping:
            asyncio.get_running_loop().call_later(self._period, self._sweep)

    def _count(self, point: Point, plugin: str, reason: HookFailure, error: BaseException) -> None:
        """Count every failure, and say so once a second."""
        self._observer.hook_failed(point, plugin, reason)
        now, key = time.monotonic(), (point, plugin, reason)
        last, more = self._told.get(key, (-_QUIET, 0))
        if now - last < _QUIET:
            self._told[key] = (last, more + 1)
            return
        self._told[key] = (now, 0)
        since = f" (and {more} times more since)" if more else ""
        text, trace = _told(error)
        trace = trace if reason is HookFailure.RAISED else None
        log.error("plugin %s, hook %s: %s: %s%s", plugin, point, reason, text, since, exc_info=trace)


def _told(error: BaseException) -> tuple[str, BaseException | None]:
    """An exception as the log takes it: its text, and itself for its traceback. A plugin's own may allow neither."""
    try:
        traceback.format_exception(error)
        return str(error) or repr(error), error or None
    except Exception:  # noqa: BLE001 - whatever it is
        return type(error).__name__, None


NO_HOOKS = Hooks(())
"""No plugins."""

"""The plugins of one point, asked one after the other until one has something to say.

A plugin that fails is logged, counted and answered for by the failure policy: it never stops mail. Ingress and
delivery call it; `loader` makes it, and a reload replaces it as a whole.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mailboat.hooks.codes import CONT, CONTINUE, Decision
from mailboat.hooks.objects import Connection
from mailboat.hooks.plugin import AuthOffer, Hook
from mailboat.hooks.points import NonsenseError, Point, understand
from mailboat.model.observer import HookFailure, Observer

log = logging.getLogger(__name__)


class Running:
    """A chain that waits for something."""

    def __init__(self, task: asyncio.Task[Decision]) -> None:
        self._task = task

    def on_done(self, callback: Callable[[Decision], None]) -> None:
        """Have `callback` called on the event loop with the decision, once; not after `cancel`."""

        def done(task: asyncio.Task[Decision]) -> None:
            if not task.cancelled():
                callback(task.result())

        self._task.add_done_callback(done)

    def cancel(self) -> None:
        """Nobody wants to know any more: what runs is cancelled."""
        self._task.cancel()


class Hooks:
    """All hooks of one worker."""

    def __init__(self, hooks: Iterable[Hook], auth_offers: Sequence[AuthOffer], observer: Observer) -> None:
        """`hooks` come in the order of `config/plugins`."""
        self._observer = observer
        self._auth_offers = auth_offers
        self._hooks: dict[Point, list[Hook]] = {}
        for hook in sorted(hooks, key=lambda hook: hook.priority):
            self._hooks.setdefault(hook.point, []).append(hook)

    def wants(self, point: Point) -> bool:
        """Whether any plugin is to be asked there; where none is, nothing needs to be prepared."""
        return point in self._hooks

    def auth_mechanisms(self, connection: Connection) -> tuple[str, ...]:
        """The AUTH mechanisms that plugins offer to this connection now, each once."""
        offered: dict[str, None] = {}
        for offer in self._auth_offers:
            offered.update(dict.fromkeys(offer(connection)))
        return tuple(offered)

    def begin(self, point: Point, *args: object) -> Decision | Running:
        """Ask the plugins; the decision at once where none of them waits for anything. For callers without a task."""
        if point not in self._hooks:
            return CONTINUE
        return Running(asyncio.get_running_loop().create_task(self.run(point, *args)))

    async def run(self, point: Point, *args: object) -> Decision:
        """Ask the plugins in their order; the first answer that is not CONT is the decision."""
        for hook in self._hooks.get(point, ()):
            decision = await self._ask(hook, args)
            if decision is not CONTINUE:
                return decision
        return CONTINUE

    async def _ask(self, hook: Hook, args: tuple[object, ...]) -> Decision:
        try:
            async with asyncio.timeout(hook.timeout or None):
                answer = await _call(hook, args)
            if answer is None:
                return CONTINUE
            code, value = understand(hook.point, answer)
        except NonsenseError as error:
            return self._failed(hook, HookFailure.NONSENSE, error)
        except TimeoutError as error:
            return self._failed(hook, HookFailure.TIMEOUT, error)
        except Exception as error:  # noqa: BLE001 - whatever a plugin does, mail flows
            return self._failed(hook, HookFailure.RAISED, error)
        return CONTINUE if code is CONT else Decision(code, value, hook.plugin)

    def _failed(self, hook: Hook, reason: HookFailure, error: Exception) -> Decision:
        log.error("plugin %s failed at %s (%s): %s", hook.plugin, hook.point, reason, error, exc_info=error)
        self._observer.hook_failed(hook.point, hook.plugin, reason)
        if hook.on_failure is CONT:
            return CONTINUE
        return Decision(hook.on_failure, None, hook.plugin, failed=True)


async def _call(hook: Hook, args: tuple[object, ...]) -> Any:
    if inspect.iscoroutinefunction(hook.function):
        return await hook.function(*args)
    return await asyncio.to_thread(hook.function, *args)


NO_HOOKS = Hooks((), (), Observer())
"""No plugins."""

"""All hooks of one worker by point: which plugins are called, in which order, and with which arguments.

A failure of a plugin is logged and counted, and the failure policy (`failures`) answers instead: it never stops mail.
Ingress and delivery call `wants`, `begin` and `run`; `loader` makes it, and a reload replaces it as a whole.
`mailboat.hooks.run` describes how hooks run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailboat.hooks.codes import CONTINUE, Decision
from mailboat.hooks.failures import FailurePolicy
from mailboat.hooks.objects import Connection
from mailboat.hooks.plugin import AuthOffer, Hook
from mailboat.hooks.points import POINTS, Point
from mailboat.hooks.run import HookRun, HookRuntime, HookSequence, HookWatch, drained, start
from mailboat.model.observer import HookFailure, Observer


class Hooks:
    """All hooks of one worker."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        auth_offers: Sequence[tuple[str, AuthOffer]] = (),
        observer: Observer | None = None,
        runtime: HookRuntime | None = None,
    ) -> None:
        """`hooks` come in the order of `config/plugins`; each of `auth_offers` with its plugin's name."""
        self._auth_offers = auth_offers
        by_point: dict[Point, list[Hook]] = {}
        for hook in sorted(hooks, key=lambda hook: hook.priority):
            by_point.setdefault(hook.point, []).append(hook)
        self._hooks = {point: HookSequence(tuple(chain)) for point, chain in by_point.items()}
        self._sequences: dict[tuple[Point, ...], HookSequence] = {}
        self._failures = FailurePolicy(observer or Observer())
        every = [hook for sequence in self._hooks.values() for hook in sequence.hooks]
        self._watch = HookWatch(every, self._failures, runtime)

    def wants(self, point: Point) -> bool:
        """Whether any plugin has a hook there; else no arguments need to be prepared."""
        return point in self._hooks

    def of(self, point: Point) -> tuple[Hook, ...]:
        """The hooks of a point in the order in which they are called."""
        sequence = self._hooks.get(point)
        return sequence.hooks if sequence is not None else ()

    def auth_mechanisms(self, connection: Connection) -> tuple[str, ...]:
        """The AUTH mechanisms that plugins offer to this connection now, each once, in upper case."""
        offered: dict[str, None] = {}
        for plugin, offer in self._auth_offers:
            try:
                offered.update(dict.fromkeys(mechanism.upper() for mechanism in offer(connection)))
            except Exception as error:  # noqa: BLE001 - whatever a plugin does, mail flows
                self._failures.count(Point.AUTH, plugin, HookFailure.RAISED, error)
        return tuple(offered)

    def begin(self, point: Point, *args: object) -> Decision | HookRun:
        """Call the hooks; returns the decision at once if none of them waits. For callers without a task."""
        sequence = self._hooks.get(point)
        return CONTINUE if sequence is None else start(self._watch, sequence, args)

    def begin_many(self, points: tuple[Point, ...], *args: object) -> Decision | HookRun:
        """The same at several points in a row, until a plugin refuses; each gets as many of `args` as it has
        parameters.

        Called separately, sync hooks would need a thread for each point. `Decision.point` is the last point.
        """
        row = self._sequences.get(points) or self._sequence(points)
        return start(self._watch, row, args) if row.hooks else CONTINUE

    def _sequence(self, points: tuple[Point, ...]) -> HookSequence:
        hooks = tuple(hook for point in points for hook in self.of(point))
        widest = max(len(POINTS[point].parameters) for point in points)
        row = self._sequences[points] = HookSequence(hooks, True, any(hook.arity < widest for hook in hooks))
        return row

    async def run(self, point: Point, *args: object) -> Decision:
        """Call the hooks in order; the first answer that is not CONT is the decision."""
        started = self.begin(point, *args)
        return started if isinstance(started, Decision) else await started.wait()

    async def drained(self) -> None:
        """Wait until none of its hooks runs any more, or a timeout."""
        await drained(self._watch)


NO_HOOKS = Hooks(())
"""No plugins."""

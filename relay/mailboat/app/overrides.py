"""Connects what rules from replies have put into force to workers, over the line of `limits`: owner and both ends.

What begins or ends is durable (`limit_marks`) before a worker is told of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mailboat.app.limit_marks import LimitMarks
from mailboat.delivery.overrides import WorkerOverrides
from mailboat.model.clock import Clock, rfc3339
from mailboat.model.observer import Observer, OverrideFact
from mailboat.shaping.overrides import Override, OverridePlace, Overrides, RuleMatch, packed, unpacked

log = logging.getLogger(__name__)


class OverrideOwner:
    """The overrides of a relay, beside its limits."""

    def __init__(
        self, marks: LimitMarks, clock: Clock, put: Callable[[Any, list[Any]], None], changed: Callable[[], None]
    ) -> None:
        """`put` has a worker told something as soon as `unsaved` is durable; `changed` is called before workers are
        told what is in force."""
        self._clock = clock
        self._put = put
        self._changed = changed
        self._workers: list[Any] = []
        self._overrides = Overrides(marks.overrides(), clock.now())
        self.unsaved: dict[str, Override | None] = {}
        """What must be durable before workers are told; None: it is over."""

    def join(self, worker: Any) -> None:
        """A worker is up."""
        self._workers.append(worker)
        if len(self._overrides):
            self._tell()

    def leave(self, worker: Any) -> None:
        """A worker has exited."""
        self._workers.remove(worker)

    def matched(self, worker: Any, match: RuleMatch) -> None:
        """A worker has seen a reply that a rule is about."""
        begun = self._overrides.matched(match, self._clock.now())
        if begun is not None:
            self.unsaved[begun.id] = begun
            log.error("%s: %s for %s until %d: %s", begun.why, begun.kind, begun.place.scope, begun.until, begun.reason)
            self._tell()
            self._put(worker, ["override", packed(begun), False])

    def listed(self) -> list[Override]:
        """Those in force."""
        return [one for one in self._overrides if one.until > self._clock.now()]

    def begin(self, one: Override) -> bool:
        """Begin one of an administrator; False: there are too many."""
        if not self._overrides.begin(one):
            return False
        self.unsaved[one.id] = one
        self._tell()
        if self._workers:
            self._put(self._workers[0], ["override", packed(one), False])
        return True

    def end(self, id: str) -> bool:  # noqa: A002 - the field's word
        """End one at once; False: there is none with this id."""
        one = self._overrides.end(id)
        if one is not None:
            self._over([one])
        return one is not None

    def tick(self) -> None:
        """End what is over."""
        if over := self._overrides.ended(self._clock.now()):
            self._over(over)

    @property
    def delay(self) -> float | None:
        """Seconds until `tick` has something to do; None: it has nothing."""
        end = self._overrides.next_end
        return None if end is None else max(0.0, end - self._clock.now())

    def _over(self, over: list[Override]) -> None:
        for one in over:
            self.unsaved[one.id] = None
            if self._workers:
                self._put(self._workers[0], ["override", packed(one), True])
        self._tell()

    def _tell(self) -> None:
        """Tell all workers what is in force: at the end, the first one tries before the others."""
        self._changed()
        for number, worker in enumerate(self._workers):
            known = (replace(one, until=one.until + one.margin) if number else one for one in self._overrides)
            self._put(worker, ["overrides", [packed(one) for one in known]])


def shown(one: Override) -> dict[str, Any]:
    """The JSON that people see."""
    return {
        "id": one.id,
        "scope": one.place.scope,
        "part": one.place.part,
        "source": one.place.source,
        "kind": one.kind,
        "why": one.why,
        "reason": one.reason,
        "matches": one.matches,
        "since": rfc3339(one.since),
        "until": rfc3339(one.until),
    }


def hear(overrides: WorkerOverrides, observer: Observer, message: list[Any]) -> None:
    """What the owner says to a worker."""
    match message:
        case ["overrides", rows]:
            overrides.told([unpacked(row) for row in rows])
        case ["override", row, is_over]:
            one = unpacked(row)
            scope = f"{one.place.scope} {one.place.part}".rstrip()
            observer.overridden(
                OverrideFact(
                    one.id,
                    scope,
                    one.place.source,
                    one.kind,
                    one.why,
                    one.matches,
                    one.reason,
                    one.until,
                    is_over,
                )
            )


def told(match: RuleMatch) -> list[Any]:
    """What a worker says of a match."""
    place = match.place
    start = ["matched", match.rule, place.scope, place.part, place.source, match.kind, match.reply, match.began]
    return [*start, match.count, match.seconds, list(match.spans)]


def match_of(message: list[Any]) -> RuleMatch:
    """The inverse of `told`."""
    _, rule, scope, part, source, kind, reply, began, count, seconds, spans = message
    return RuleMatch(rule, OverridePlace(scope, part, source), kind, reply, began, count, seconds, tuple(spans))

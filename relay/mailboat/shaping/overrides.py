"""What rules from replies have put into force for a while: counts matches, and says when each override ends. Pure.

Times are seconds since the epoch, so that overrides hold over a restart. Kept by the owner of limits, for all workers.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 1_000
"""Overrides at once; a rule that would begin one more does not act."""
COUNTED_MAX = 10_000
"""Places at which matches are counted; those that matched least recently are forgotten beyond it."""
MARGIN_MAX = 60.0
"""Seconds, at most, that one worker has to try by itself after the end."""
MAIL = "mail"
"""The scope of what an administrator does with mail that is selected by more than a section; `part` says which, as
JSON."""
SAMPLE_MAX = 500
"""Characters kept of the reply that began an override."""


@dataclass(frozen=True, slots=True)
class OverridePlace:
    """Whose mail is counted together, and acted on."""

    scope: str
    """A section, such as `provider:google` or `default`."""
    part: str
    """The id of a site or the name of a domain: only its mail; empty: the whole section."""
    source: str
    """Only mail from this source; `*`: from any."""


@dataclass(frozen=True, slots=True)
class Override:
    """What holds for some mail until a time."""

    id: str
    place: OverridePlace
    kind: str
    """An action of a rule, such as `suspend`."""
    why: str
    """What began it: `rule NAME`."""
    reason: str
    """The reply that began it."""
    since: float
    until: float
    step: int = 0
    """Which of the spans of its rule it is."""
    matches: int = 1
    """How many matches began it."""

    @property
    def margin(self) -> float:
        """Seconds after `until` in which it still holds for all workers but one, which tries first."""
        if self.place.scope == MAIL:
            return 0.0
        return min(MARGIN_MAX, (self.until - self.since) / 10)


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """A reply that a rule is about."""

    rule: str
    place: OverridePlace
    kind: str
    """The action that follows."""
    reply: str
    began: float
    """When the attempt began."""
    count: int = 1
    seconds: float = 0.0
    """So many matches within so many seconds begin it."""
    spans: tuple[float, ...] = (60.0,)
    """How long it holds, and each next time it is begun soon."""


@dataclass(slots=True)
class _Count:
    """The matches of one rule at one place."""

    times: deque[float]
    since: float = 0.0
    """When it fired last; 0: not yet."""
    span: float = 0.0
    step: int = -1


class Overrides:
    """All overrides of one relay."""

    def __init__(self, restored: Iterable[Override] = (), now: float = 0.0) -> None:
        """`restored`: as they were stored; those that have ended are left out."""
        self._now: dict[str, Override] = {o.id: o for o in restored if o.until > now}
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        for one in self._now.values():
            self._counts[one.id] = _Count(deque(), one.since, one.until - one.since, one.step)

    def __iter__(self) -> Iterator[Override]:
        return iter(self._now.values())

    def __len__(self) -> int:
        return len(self._now)

    @property
    def next_end(self) -> float | None:
        """When `ended` has something to do; None: never."""
        return min((one.until + one.margin for one in self._now.values()), default=None)

    def matched(self, match: RuleMatch, now: float) -> Override | None:
        """Count a match; returns the override that it begins.

        Only attempts that began after the last override of the rule at this place count: others knew nothing of it.
        """
        id_ = _id_of(match)
        count = self._counts.get(id_)
        if count is None:
            count = self._counts[id_] = _Count(deque(maxlen=match.count))
            if len(self._counts) > COUNTED_MAX:
                self._forget()
        self._counts.move_to_end(id_)
        before = self._now.get(id_)
        if match.began < count.since <= now or (before is not None and now < before.until):
            return None
        if count.times.maxlen != match.count:
            count.times = deque(count.times, maxlen=match.count)
        count.times.append(now)
        if len(count.times) < match.count or (match.seconds and now - count.times[0] >= match.seconds):
            return None
        if len(self._now) >= MOST and before is None:
            return None
        again = count.step >= 0 and now - count.since <= 2 * count.span
        count.step = min(count.step + 1, len(match.spans) - 1) if again else 0
        count.since, count.span = now, match.spans[count.step]
        count.times.clear()
        until = now + count.span
        why, reason = f"rule {match.rule}", match.reply[:SAMPLE_MAX]
        begun = Override(id_, match.place, match.kind, why, reason, now, until, count.step, match.count)
        self._now[id_] = begun
        return begun

    def begin(self, one: Override) -> bool:
        """Begin one of an administrator; False: there are too many."""
        if len(self._now) >= MOST:
            return False
        self._now[one.id] = one
        return True

    def ended(self, now: float) -> list[Override]:
        """Take out those that are over for all workers."""
        over = [one for one in self._now.values() if one.until + one.margin <= now]
        for one in over:
            del self._now[one.id]
        return over

    def end(self, id: str) -> Override | None:  # noqa: A002 - the field's word
        """End one at once; None: there is none with this id."""
        return self._now.pop(id, None)

    def _forget(self) -> None:
        oldest = next(key for key in self._counts if key not in self._now)
        del self._counts[oldest]


def _id_of(match: RuleMatch) -> str:
    """The same for each match of one action of a rule at one place."""
    place = match.place
    parts = (match.rule, match.kind, place.scope, place.part, place.source)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def packed(one: Override) -> list[Any]:
    """An override as a row, and for JSON."""
    place = one.place
    start = [one.id, place.scope, place.part, place.source, one.kind, one.why, one.reason]
    return [*start, one.since, one.until, one.step, one.matches]


def unpacked(row: Sequence[Any]) -> Override:
    """The inverse of `packed`."""
    id_, scope, part, source, *rest = row
    return Override(id_, OverridePlace(scope, part, source), *rest)

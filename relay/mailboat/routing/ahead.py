"""Looks up targets before an attempt begins, so that a silent DNS server does not delay attempts.

One look-up for each destination, however many messages wait for it, and a limited number at once; a slow one does not
count, so that others do not wait for it. Destinations without a failure come first, three to one. A failure is cached,
longer each time. Called by `delivery.gate`; `router` makes the look-up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from mailboat.model.clock import Clock
from mailboat.model.envelope import Entry
from mailboat.routing.answers import Located, NotYet, Site, Unroutable

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Concurrent look-ups that are not slow."""
SLOW_AFTER = 0.25
"""Seconds after which a look-up is slow: most answers take a tenth of that."""
SLOW_AT_ONCE = 1000
"""Maximum of slow look-ups in addition; each has a socket."""
REMEMBERED = 50_000
"""Maximum of destinations whose site or failure is cached."""
FIRST_PAUSE, LONGEST_PAUSE = 3.0, 600.0
"""Seconds for which a failed look-up is not made again; they double with each failure."""
_TURNS = 4
"""One look-up in this many is for a destination whose last one failed, while others wait."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Failed:
    """Look-ups of one destination that failed in a row."""

    pause: float
    until: float
    why: Unroutable


class Ahead:
    """The look-ups of one worker."""

    def __init__(self, look_up: Callable[[Entry], Awaitable[Located]], clock: Clock) -> None:
        self._look_up = look_up
        self._clock = clock
        self.ready: Callable[[str], None] = lambda _name: None
        """Called when a requested destination is known."""
        self._known: OrderedDict[str, Located] = OrderedDict()
        self._failed: OrderedDict[str, _Failed] = OrderedDict()
        self._waiting: tuple[dict[str, Entry], dict[str, Entry]] = ({}, {})
        """Destinations to look up, with an entry of each: those without and those with a failure."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._began: dict[str, float] = {}
        """When each of `_tasks` began that is not slow, the first one first."""
        self._slow: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        """Until the first of them is slow, while others wait for it."""
        self._turn = 0

    def where(self, name: str, entry: Entry, now: float) -> Site | Unroutable | NotYet | None:
        """The site of a destination, or why it has none; None: `ready` is called later. `entry` is one of its
        entries."""
        found = self._known.get(name)
        if found is not None and now < found.expires:
            return found.where
        failed = self._failed.get(name)
        if failed is not None and now < failed.until:
            return NotYet(failed.until, failed.why)
        if name not in self._tasks:
            self._waiting[failed is not None].setdefault(name, entry)
            self._begin()
        return None

    def known(self, name: str) -> Site | None:
        """The site of a destination as of its last look-up; None: there is none."""
        found = self._known.get(name)
        return found.where if found is not None and isinstance(found.where, Site) else None

    def forget(self) -> None:
        """Clear the cache, after a change of the configuration."""
        self._known.clear()
        self.forget_failures()

    def forget_failures(self) -> None:
        """Look up again what failed."""
        self._failed.clear()

    def close(self) -> None:
        """Stop all look-ups."""
        for waiting in self._waiting:
            waiting.clear()
        for task in self._tasks.values():
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        fresh, failed = self._waiting
        loop = asyncio.get_running_loop()
        while fresh or failed:
            if len(self._began) >= AT_ONCE or len(self._slow) >= SLOW_AT_ONCE:
                self._watch(loop)
                return
            self._turn += 1
            queue = failed if failed and (not fresh or self._turn % _TURNS == 0) else fresh
            name = next(iter(queue))
            self._began[name] = loop.time()
            self._tasks[name] = loop.create_task(self._find(name, queue.pop(name)))

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._began:
            self._timer = loop.call_at(next(iter(self._began.values())) + SLOW_AFTER, self._look_for_slow)

    def _look_for_slow(self) -> None:
        self._timer = None
        before = asyncio.get_running_loop().time() - SLOW_AFTER
        for name in [name for name, began in self._began.items() if began <= before]:
            del self._began[name]
            self._slow.add(name)
        self._begin()

    async def _find(self, name: str, entry: Entry) -> None:
        try:
            self._note(name, await self._look_up(entry))
        except Exception:
            log.exception("looking up the targets of %s", name)
            why = Unroutable(False, "4.4.3", "internal error, see the log of the relay")
            self._note(name, Located(why, self._clock.monotonic()))
        finally:
            del self._tasks[name]
            if self._began.pop(name, None) is None:
                self._slow.discard(name)
            self._begin()
        self.ready(name)

    def _note(self, name: str, found: Located) -> None:
        # The result is valid for the waiting entries, even if a TTL has expired.
        _remember(self._known, name, found)
        if not isinstance(found.where, Unroutable) or found.where.permanent:
            self._failed.pop(name, None)
            return
        before = self._failed.get(name)
        pause = FIRST_PAUSE if before is None else min(LONGEST_PAUSE, 2 * before.pause)
        until = max(found.expires, self._clock.monotonic() + pause)
        _remember(self._failed, name, _Failed(pause, until, found.where))


def _remember(known: OrderedDict[str, _Value], name: str, value: _Value) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > REMEMBERED:
        known.popitem(last=False)

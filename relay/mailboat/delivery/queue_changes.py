"""Bounces and reroutes queued mail for an administrator. No attempt on an entry begins while it is changed.

Selects the mail, and asks the engine to change it; `pipeline` makes the bounces. Called by `app.worker`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from mailboat.delivery.engine import Engine
from mailboat.delivery.source import source_name
from mailboat.model.clock import Clock
from mailboat.model.envelope import Entry, State
from mailboat.queue.store import Selection, StorageError, Store
from mailboat.routing.answers import Located, Site
from mailboat.shaping.directive import Directive, DirectiveVerb
from mailboat.shaping.effective import Facts
from mailboat.shaping.mail_selection import MailSelection

log = logging.getLogger(__name__)

PAGE = 500
"""Entries that are read at once."""
AT_ONCE = 250
"""Entries that are changed at once: new mail shares the commits."""
FOLLOWED = 10
"""How often mail that was under way is looked at again."""

Select: TypeAlias = Callable[[Sequence[Entry]], Awaitable[list[Entry]]]
Change: TypeAlias = Callable[[Entry], Awaitable[bool]]


class QueueChanges:
    """The changes of one worker's queue."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        clock: Clock,
        locate: Callable[[Entry], Awaitable[Located]],
        provider_of: Callable[[Facts], str],
    ) -> None:
        """`locate` looks up where an entry goes, `provider_of` tells the provider of its hosts; empty: of none."""
        self._store = store
        self._engine = engine
        self._clock = clock
        self._locate = locate
        self._provider_of = provider_of
        self._later: set[asyncio.Task[None]] = set()

    async def apply(self, directive: Directive) -> int:
        """Bounce or reroute mail that is queued now; the number of entries.

        What is under way is changed later, if its attempt leaves any of it.
        """
        began = self._clock.now()
        selection = directive.selection
        count, missed = await self._pass(*self._steps(directive, began), _coarse(selection))
        log.info("%s of mail with %s: %d entries: %s", directive.verb, selection, count, directive.reason)
        if missed:
            task = asyncio.create_task(self._follow(directive, began, missed), name="queue changes")
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        return count

    async def resume(self, why: str) -> int:
        """Attempt mail now that was suspended by an override, as `Override.why` says; the number of entries."""
        by = f" by {why}: "

        async def suspended(entries: Sequence[Entry]) -> list[Entry]:
            return [e for e in entries if e.last_reply.startswith("suspended until ") and by in e.last_reply]

        async def retry(entry: Entry) -> bool:
            return await self._engine.reroute(entry, entry.route)

        count, _ = await self._pass(suspended, retry, Selection(state=State.DEFERRED))
        return count

    def close(self) -> None:
        """Change nothing any more."""
        for task in self._later:
            task.cancel()

    async def _follow(self, directive: Directive, began: float, missed: Sequence[Entry]) -> None:
        try:
            for _ in range(FOLLOWED):
                under_way = self._engine.under_way([entry.key for entry in missed])
                if under_way:
                    await asyncio.wait(under_way)
                ids = tuple(entry.id for entry in missed)
                _, missed = await self._pass(*self._steps(directive, began), Selection(ids=ids))
                if not missed:
                    return
        except StorageError as error:
            log.warning("the rest of the mail to %s could not be read: %s", directive.verb, error)

    def _steps(self, directive: Directive, began: float) -> tuple[Select, Change]:
        async def select(entries: Sequence[Entry]) -> list[Entry]:
            older = [entry for entry in entries if entry.message.queued_at <= began]  # not the new bounces
            return await self._selected(directive.selection, older)

        return select, lambda entry: self._change(entry, directive)

    async def _pass(self, select: Select, change: Change, coarse: Selection) -> tuple[int, list[Entry]]:
        """Change entries once; their number, and those that could not be, since an attempt was under way."""
        count = 0
        missed: list[Entry] = []
        after: str | None = None
        while True:
            with self._engine.reading() as current:
                page = await self._store.page(coarse, PAGE, after)
                selected = await select(page.entries)
                sound = {entry.key for entry in current(selected)}
                taken = [entry for entry in selected if entry.key in sound and self._engine.take(entry)]
            for start in range(0, len(taken), AT_ONCE):
                done = await asyncio.gather(*(change(entry) for entry in taken[start : start + AT_ONCE]))
                count += sum(done)
            keys = {entry.key for entry in taken}
            missed += [entry for entry in selected if entry.key not in keys]
            if (after := page.next) is None:
                return count, missed

    async def _change(self, entry: Entry, directive: Directive) -> bool:
        if directive.verb is DirectiveVerb.REROUTE:
            return await self._engine.reroute(entry, directive.route)
        return await self._engine.bounce(entry, directive.reason, tells_sender=directive.dsn)

    async def _selected(self, selection: MailSelection, entries: Sequence[Entry]) -> list[Entry]:
        """Those that are selected, and not another relay's or only reports."""
        candidates = [entry for entry in entries if entry.recipients and not entry.held_reason]
        if not selection.needs_hosts:
            return [entry for entry in candidates if selection.fits(entry, source_name(entry))]
        candidates = [entry for entry in candidates if selection.may_fit(entry, source_name(entry))]
        located = await asyncio.gather(*(self._locate(entry) for entry in candidates))
        found = []
        for entry, to in zip(candidates, located, strict=True):
            if isinstance(to.where, Site):
                facts = to.where.facts
                if selection.fits(entry, source_name(entry), facts, self._provider_of(facts)):
                    found.append(entry)
        return found


def _coarse(selection: MailSelection) -> Selection:
    """What the store can select by itself; it may be more."""
    domain = "" if selection.domain.startswith(".") else selection.domain
    return Selection(domain=domain, tenant=selection.tenant, label=selection.label)

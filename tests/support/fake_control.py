"""A relay for the admin listener's tests: entries in a dict, checks and faults as the test sets them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.support.facts import T0
from tests.support.submission_requests import SubmissionBox

from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Probe, entry_to_json
from mailboat.model.envelope import Entry, State
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow
from mailboat.queue.store import Batch, Selection, Verb
from mailboat.shaping.directive import Directive
from mailboat.shaping.mail_selection import MailSelection
from mailboat.shaping.overrides import Override
from mailboat.shaping.suspension import suspension


class FakeControl(SubmissionBox):
    """`admin.control.Control` over a handful of entries."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        super().__init__()
        self.entries = {entry.id: entry for entry in entries}
        self.health: dict[Probe, list[Check]] = {kind: [Check("event loop", ok=True)] for kind in Probe}
        self.config = ConfigStatus("sha256:ab", T0)
        self.fault: BaseException | None = None
        self.selections: list[Selection] = []
        self.received = b""
        self.receiving = False
        self.report_days: list[int | None] = []
        self.override_ids: list[str] = []
        self.flushed: list[str] = []
        self.rows: list[WaitingRow] = []
        self.wanted: list[tuple[GroupBy, SortBy]] = []
        self.directives: list[Directive] = []
        self.suspended: dict[str, Override] = {}

    def _selected(self, selection: Selection) -> list[Entry]:
        if self.fault:
            raise self.fault
        self.selections.append(selection)
        return [entry for entry in self.entries.values() if _matches(entry, selection)]

    async def checks(self, kind: Probe) -> Sequence[Check]:
        if self.fault:
            raise self.fault
        return self.health[kind]

    async def configz(self) -> ConfigStatus:
        return self.config

    def archive(self, batch: Batch) -> Iterator[bytes]:
        yield from (b"archive ", batch.id.encode())

    async def receive(self, pieces: AsyncIterator[bytes]) -> int:
        self.receiving = True
        try:
            self.received = b"".join([piece async for piece in pieces])
        finally:
            self.receiving = False
        if self.fault:
            raise self.fault
        return 3

    async def overrides(self) -> Sequence[dict[str, Any]]:
        return [{"id": id_} for id_ in self.override_ids]

    async def end_override(self, id: str) -> bool:  # noqa: A002 - the field's word
        known = id in self.override_ids
        if known:
            self.override_ids.remove(id)
        return known

    async def report_tls(self, day: int | None) -> Sequence[dict[str, Any]]:
        self.report_days.append(day)
        return [{"day": "2026-01-31", "domain": "a.test", "address": "r@a.test", "id": "1@b.test", "state": "sent"}]

    async def destinations(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        if self.fault:
            raise self.fault
        self.wanted.append((by, sort))
        return self.rows[:most]

    async def flush_sts(self, domain: str) -> int:
        if self.fault:
            raise self.fault
        self.flushed.append(domain)
        return 2

    async def suspend(self, selection: MailSelection, seconds: float, reason: str) -> Override:
        one = suspension("s1", selection, reason, T0, T0 + seconds)
        self.suspended[one.id] = one
        return one

    async def resume(self, id: str) -> bool:  # noqa: A002 - the field's word
        return self.suspended.pop(id, None) is not None

    def suspensions(self) -> Sequence[Override]:
        return list(self.suspended.values())

    async def direct(self, directive: Directive) -> int:
        if self.fault:
            raise self.fault
        self.directives.append(directive)
        return 3

    async def metrics(self) -> bytes:
        if self.fault:
            raise self.fault
        return b"mailboat_received_messages_total 1.0\n"

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        if after is not None and not after.isdigit():
            raise BadCursorError("not a number")
        begin = int(after or 0)
        chosen = self._selected(selection)
        following = str(begin + limit) if begin + limit < len(chosen) else None
        return [entry_to_json(entry) for entry in chosen[begin : begin + limit]], following

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the field's word
        return [entry_to_json(entry) for entry in self._selected(Selection(ids=(id,)))]

    async def change(self, verb: Verb, selection: Selection) -> int:
        chosen = [entry for entry in self._selected(selection) if entry.state in verb.touches]
        for entry in chosen:
            if verb.result is None:
                del self.entries[entry.id]
            else:
                when = T0 if verb.result is State.ACTIVE else None
                self.entries[entry.id] = replace(entry, state=verb.result, next_attempt=when)
        return len(chosen)


def _matches(entry: Entry, selection: Selection) -> bool:
    return (
        (not selection.ids or entry.id in selection.ids or entry.message.id in selection.ids)
        and selection.domain in ("", entry.domain)
        and selection.sender in ("", str(entry.message.sender))
        and selection.state in (None, entry.state)
        and selection.tenant in ("", entry.message.tenant)
        and (not selection.label or selection.label in entry.message.labels)
    )

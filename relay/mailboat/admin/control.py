"""What the admin listener needs of a relay, and how a queue entry is shown: the interface that `app` implements.

A relay may be one process or a fleet of workers behind a channel; it makes no difference here. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from mailboat.model.clock import rfc3339
from mailboat.model.envelope import Entry
from mailboat.queue.store import EVERYTHING, Batch, Selection, Step, Verb
from mailboat.submission.request import SubmissionRequest
from mailboat.submission.submitter import SubmissionHandle

EntryJson = dict[str, Any]
"""M of the queue API: what `entry_to_json` makes."""


class Probe(StrEnum):
    """The three questions of Kubernetes."""

    LIVEZ = "livez"
    """Do the event loops turn? No: kill and start again."""
    READYZ = "readyz"
    """Shall clients send mail here?"""
    STARTUPZ = "startupz"
    """Has the start come to its end?"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a probe's answer."""

    name: str
    ok: bool
    detail: str = ""
    """Why not, for people."""


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """What configuration runs, and why a newer one does not."""

    hash: str
    """`sha256:…` as documented in docs/configuration.md."""
    loaded_at: float
    """Seconds since the epoch."""
    error: str | None = None
    """Why the files as they are now were refused; None: they are what runs."""
    warnings: Sequence[str] = ()
    """What should be looked at although the configuration is good."""
    unbound: Sequence[str] = ()
    """Those of the warnings that are of source addresses which this machine does not have: their mail waits."""


class BadCursorError(ValueError):
    """`after` is not a `next` that this relay gave."""


class QueueAdmin(Protocol):
    """What an operator asks of a relay, and a relay of each of its workers. May raise `queue.store.StorageError`."""

    async def checks(self, kind: Probe) -> Sequence[Check]:
        """The checks of one probe; it fails when one of them does."""

    async def configz(self) -> ConfigStatus:
        """What configuration runs."""

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        """Entries in a stable order, and `after` of the next page or None. `BadCursorError`: `after` is not ours."""

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the field's word
        """The entry with this id, or all of the message with this id; empty when there is none."""

    async def change(self, verb: Verb, selection: Selection) -> int:
        """Do this to the entries of a selection that it touches; how many."""

    async def export(self, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
        """A step of an export; how many entries it was. An empty selection means everything."""

    async def take_in(self, archive: str) -> int:
        """Take in the archive of this path; how many entries. May raise `queue.archive.DamagedArchiveError`."""

    async def begin(self, request: SubmissionRequest) -> SubmissionHandle:
        """Start a program's message. May raise `submission.request.RefusedError`, now or while it is written."""


class Control(QueueAdmin, Protocol):
    """The relay as its operator sees it. A `StorageError` is answered 503."""

    def archive(self, batch: Batch) -> Iterator[bytes]:
        """The archive of an export that has begun, in pieces. For a thread: it blocks."""

    async def receive(self, pieces: AsyncIterator[bytes]) -> int:
        """Take in an archive that comes in pieces, once it is whole; how many entries.

        May raise `queue.archive.DamagedArchiveError`: then nothing is taken.
        """

    async def metrics(self) -> bytes:
        """The Prometheus text format 0.0.4: one sum for all workers."""


def entry_to_json(entry: Entry) -> EntryJson:
    """The JSON that the queue API and `mailboat queue --json` show of an entry; times are RFC 3339 UTC.

    The null sender is an empty text.
    """
    message = entry.message
    return {
        "id": entry.id,
        "state": entry.state.value,
        "sender": str(message.sender),
        "domain": entry.domain,
        "recipients": [str(recipient.address) for recipient in entry.recipients],
        "size": message.size,
        "attempts": entry.attempts,
        "queued_at": rfc3339(message.queued_at),
        "next_attempt_at": None if entry.next_attempt is None else rfc3339(entry.next_attempt),
        "last_reply": entry.last_reply,
        "last_mx": entry.last_mx,
        "held_reason": entry.held_reason or None,
        "origin": message.origin or None,
        "tenant": message.tenant,
        "labels": list(message.labels),
    }

"""The interface of a relay to the admin listener, implemented by `app`, and the JSON form of a queue entry.

A relay may be one process or a fleet of workers behind a channel; it makes no difference here. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from mailboat.model.clock import rfc3339
from mailboat.model.envelope import Entry
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow
from mailboat.queue.store import EVERYTHING, Batch, Selection, Step, Verb
from mailboat.shaping.directive import Directive
from mailboat.shaping.mail_selection import MailSelection
from mailboat.shaping.overrides import Override
from mailboat.submission.request import SubmissionRequest
from mailboat.submission.submitter import SubmissionHandle

EntryJson = dict[str, Any]
"""M of the queue API: what `entry_to_json` makes."""


class Probe(StrEnum):
    """The three probes of Kubernetes."""

    LIVEZ = "livez"
    """Whether the event loops run; if not, Kubernetes restarts the pod."""
    READYZ = "readyz"
    """Whether clients should send mail here."""
    STARTUPZ = "startupz"
    """Whether the start is complete."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a probe's answer."""

    name: str
    ok: bool
    detail: str = ""
    """Why not, for people."""


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """The configuration in force, and why a newer one is not."""

    hash: str
    """`sha256:…` as documented in docs/configuration.md."""
    loaded_at: float
    """Seconds since the epoch."""
    error: str | None = None
    """Why the present files were refused; None: they are in force."""
    warnings: Sequence[str] = ()
    """Warnings about a valid configuration."""
    unbound: Sequence[str] = ()
    """The warnings about source addresses that this machine does not have, for which mail waits."""
    dane: str = ""
    """`available`, `unavailable` if no trusted DNS server validates answers, or `off` if no setting wants DANE."""


class BadCursorError(ValueError):
    """`after` is not a `next` that this relay gave."""


class QueueAdmin(Protocol):
    """Operations of an operator on a relay, and of a relay on each worker. May raise `queue.store.StorageError`."""

    async def checks(self, kind: Probe) -> Sequence[Check]:
        """The checks of one probe; it fails when one of them does."""

    async def configz(self) -> ConfigStatus:
        """The configuration in force."""

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        """Entries in a stable order, and `after` of the next page or None. `BadCursorError`: `after` is not ours."""

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the field's word
        """The entry with this id, or all of the message with this id; empty when there is none."""

    async def destinations(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        """What waits, the first rows in an order."""

    async def change(self, verb: Verb, selection: Selection) -> int:
        """Apply a verb to the entries of a selection; the number of changed entries."""

    async def direct(self, directive: Directive) -> int:
        """Bounce or reroute queued mail; the number of entries. May raise `submission.request.RefusedError`."""

    async def export(self, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
        """A step of an export; the number of entries. An empty selection means everything."""

    async def import_archive(self, archive: str) -> int:
        """Import the archive at this path; the number of entries. May raise `queue.archive.DamagedArchiveError`."""

    async def report_tls(self, day: int | None) -> Sequence[dict[str, Any]]:
        """Send the reports on TLS of past days, or of one (days since the epoch), that are not sent yet; which."""

    async def flush_sts(self, domain: str) -> int:
        """Forget the MTA-STS policy of a domain (A-labels, lower case); the number of workers that knew of one."""

    async def begin(self, request: SubmissionRequest) -> SubmissionHandle:
        """Start a program's message. May raise `submission.request.RefusedError`, now or while it is written."""


class Control(QueueAdmin, Protocol):
    """The relay as its operator sees it. A `StorageError` is answered 503."""

    async def suspend(self, selection: MailSelection, seconds: float, reason: str) -> Override:
        """Suspend mail, queued and still to come, for a while; it is in force and durable then."""

    async def resume(self, id: str) -> bool:  # noqa: A002 - the field's word
        """End a suspension at once; False: there is none with this id."""

    def suspensions(self) -> Sequence[Override]:
        """Those in force."""

    def archive(self, batch: Batch) -> Iterator[bytes]:
        """The archive of an export that has begun, in pieces. For a thread: it blocks."""

    async def receive(self, pieces: AsyncIterator[bytes]) -> int:
        """Import an archive that arrives in pieces, when it is complete; the number of entries.

        May raise `queue.archive.DamagedArchiveError`: then nothing is imported.
        """

    async def overrides(self) -> Sequence[dict[str, Any]]:
        """What rules from replies have put into force, as the JSON of the shaping API."""

    async def end_override(self, id: str) -> bool:  # noqa: A002 - the field's word
        """End one at once; False: there is none with this id."""

    async def metrics(self) -> bytes:
        """The Prometheus text format 0.0.4: one sum for all workers."""


def entry_to_json(entry: Entry, held_by: str | None = None, held_until: float | None = None) -> EntryJson:
    """The JSON that the queue API and `mailboat queue --json` show of an entry; times are RFC 3339 UTC.

    The null sender is an empty text. `held_by` is what does not let a due entry start, and `held_until` the time when
    that may change, if it is known.
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
        "held_by": held_by,
        "held_until": None if held_until is None else rfc3339(held_until),
        "origin": message.origin or None,
        "tenant": message.tenant,
        "labels": list(message.labels),
    }

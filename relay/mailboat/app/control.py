"""One relay made of its workers: the interface of the admin listener and signals (`admin.control.Control`)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from mailboat import __version__
from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Probe
from mailboat.app.channel import WorkerPort
from mailboat.app.destinations import merged
from mailboat.app.limits import LimitOwner
from mailboat.app.overrides import shown
from mailboat.app.submissions import WorkerGoneError
from mailboat.metrics.catalog import WAITING_ENTRIES
from mailboat.metrics.prometheus import exposition
from mailboat.metrics.recorder import Totals
from mailboat.metrics.waiting import bounded
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow
from mailboat.queue.exports import archive_chunks
from mailboat.queue.imports import Upload
from mailboat.queue.store import EVERYTHING, PAGE_OCTETS, Batch, Selection, Step, StorageError, Verb
from mailboat.shaping.directive import Directive
from mailboat.shaping.mail_selection import MailSelection
from mailboat.shaping.overrides import Override
from mailboat.shaping.suspension import said_of, suspension
from mailboat.submission.request import SubmissionRequest
from mailboat.submission.submitter import SubmissionHandle

ANSWER_TIMEOUT = 5.0
"""Timeout in seconds of a worker's checks, metrics and configuration: longer than any pause of a healthy event loop,
and short enough for `admin.server` to show the other workers."""


class RelayControl:
    """Combines all workers. `workers` maps an incarnation's name to its port and may change at any time."""

    def __init__(
        self,
        workers: Mapping[str, WorkerPort],
        expected: int,
        totals: Totals,
        queue_dir: str = "",
        limits: LimitOwner | None = None,
    ) -> None:
        """`queue_dir`: the directory of their databases, from which archives are read. `limits` has the overrides."""
        self._limits = limits
        self._queue_dir = queue_dir
        self._importing = asyncio.Lock()
        self._workers = workers
        self._expected = expected
        self._totals = totals
        self._turn = 0

    async def checks(self, kind: Probe) -> Sequence[Check]:
        """Every worker's checks, named by worker when there are several."""
        answers = await asyncio.gather(*(self._checks_of(name, worker, kind) for name, worker in self._all()))
        checks = [check for answer in answers for check in answer]
        if kind is not Probe.LIVEZ and len(self._workers) < self._expected:
            # The relay is alive while a worker restarts, but not ready.
            checks.append(Check("workers", ok=False, detail=f"{len(self._workers)} of {self._expected} are up"))
        return checks

    async def _checks_of(self, name: str, worker: WorkerPort, kind: Probe) -> Sequence[Check]:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                checks = await worker.checks(kind)
        except (TimeoutError, WorkerGoneError):
            return [Check(name, ok=False, detail="does not answer")]
        if self._expected == 1:
            return checks
        return [Check(f"{name} {check.name}", check.ok, check.detail) for check in checks]

    async def configz(self) -> ConfigStatus:
        """The configuration that all workers run; while they differ, the older one."""
        workers = self._all()
        answers = await asyncio.gather(*(_configz_of(worker) for _, worker in workers))
        states = [answer for answer in answers if answer is not None]
        if not states:
            raise WorkerGoneError("no worker answers")
        failed = next((state for state in states if state.error), None)
        told = failed or min(states, key=lambda state: state.loaded_at)
        hung = [
            name for (name, _), answer in zip(workers, answers, strict=True) if not answer and name in self._workers
        ]
        warnings = dict.fromkeys(warning for state in states for warning in state.warnings)
        unbound = dict.fromkeys(warning for state in states for warning in state.unbound)
        silent = (f"{name} does not answer" for name in hung)
        dane = max(state.dane for state in states)  # of the three words, `unavailable` is the last
        return replace(told, warnings=(*warnings, *silent), unbound=tuple(unbound), dane=dane)

    async def metrics(self) -> bytes:
        """The sum for all workers that answer in time, with the last known counters of the others."""
        status, answered = await asyncio.gather(self._status(), self._count_all())
        missing = self._expected - answered
        merged = self._totals.merged()
        merged["gauges"][WAITING_ENTRIES] = bounded(merged["gauges"].get(WAITING_ENTRIES, {}))
        merged["gauges"]["mailboat_workers_missing"] = {"": float(missing)}
        if missing:
            merged["gauges"]["mailboat_ready"] = {"": 0.0}  # as the checks of `/readyz` say
        return exposition(merged, version=__version__, config_hash=status.hash if status else "")

    async def _status(self) -> ConfigStatus | None:
        try:
            return await self.configz()
        except WorkerGoneError:
            return None

    async def _count_all(self) -> int:
        """Add the metrics of all workers to the totals; how many have answered."""
        return sum(await asyncio.gather(*(self._count(name, worker) for name, worker in self._all())))

    async def _count(self, name: str, worker: WorkerPort) -> bool:
        """Add the metrics of a worker to the totals; whether it has answered."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                snapshot = await worker.snapshot()
        except (TimeoutError, StorageError):
            return False
        if self._workers.get(name) is not worker:
            return False  # it died after its answer: `Totals.gone` was already called, and would not be again
        self._totals.update(name, snapshot)
        return True

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        """One worker's queue after the other's. The cursor is the worker's number, a colon, and its own cursor.

        Missing workers are skipped, except in the middle of their queue: the listing continues there when they are
        back.
        """
        first, cursor = _split(after, self._expected)
        workers = {_number(name): worker for name, worker in self._workers.items()}
        found: list[EntryJson] = []
        octets = 0
        for number in range(first, self._expected):
            if number in workers:
                entries, cursor = await workers[number].queue_page(selection, limit - len(found), cursor)
                found += entries
                octets += len(orjson.dumps(entries))
            elif cursor is not None:
                raise WorkerGoneError(f"worker {number} is being restarted; its queue cannot be listed until then")
            if cursor is not None:
                return found, f"{number}:{cursor}"
            if len(found) >= limit or octets >= PAGE_OCTETS:
                return found, f"{number + 1}:" if number + 1 < self._expected else None
        return found, None

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the field's word
        """On the worker that has it."""
        answers = await asyncio.gather(*(worker.queue_get(id) for _, worker in self._all()))
        return [entry for answer in answers for entry in answer]

    async def destinations(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        """Of all workers that are up, added up.

        Each is asked for more rows than are wanted, so that those that are among the first of all are among its own.
        """
        answers = await asyncio.gather(*(worker.destinations(by, sort, 2 * most + 50) for _, worker in self._all()))
        return merged(answers, by, sort)[:most]

    async def change(self, verb: Verb, selection: Selection) -> int:
        """On every worker; the total number."""
        return sum(await asyncio.gather(*(worker.change(verb, selection) for _, worker in self._all())))

    async def direct(self, directive: Directive) -> int:
        """On every worker; all must be up."""
        return sum(await asyncio.gather(*(worker.direct(directive) for worker in self._complete())))

    def _owner(self) -> LimitOwner:
        if self._limits is None:
            raise StorageError("there is nothing that stores suspensions")
        return self._limits

    async def suspend(self, selection: MailSelection, seconds: float, reason: str) -> Override:
        """In force for all workers, and durable."""
        now = time.time()
        one = suspension(secrets.token_hex(4), selection, reason, now, now + seconds)
        await self._owner().begin_override(one)
        return one

    async def resume(self, id: str) -> bool:  # noqa: A002 - the field's word
        """For all workers; mail that was put off is attempted now."""
        found = next((one for one in self.suspensions() if one.id == id), None)
        if found is None or not await self._owner().finish_override(id):
            return False
        await asyncio.gather(*(worker.resume(found.why) for _, worker in self._all()))
        return True

    def suspensions(self) -> Sequence[Override]:
        """Those of administrators that are in force."""
        return [one for one in self._owner().overrides.listed() if said_of(one) is not None]

    async def export(self, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
        """On every worker; all must be up, except for `RESOLVE`, which a missing one does at its start."""
        if step is not Step.RESOLVE:
            return sum(await asyncio.gather(*(worker.export(step, batch, selection) for worker in self._complete())))
        ended = await asyncio.gather(*(worker.export(step, batch) for _, worker in self._all()), return_exceptions=True)
        return sum(count for count in ended if isinstance(count, int))

    def archive(self, batch: Batch) -> Iterator[bytes]:
        """Read while the workers run."""
        return archive_chunks(self._queue_dir, batch.id)

    async def receive(self, pieces: AsyncIterator[bytes]) -> int:
        """Store it in a file of the queue, check that it is complete, then import it by one worker after the other."""
        async with self._importing, Upload(self._queue_dir) as upload:
            async for piece in pieces:
                await asyncio.to_thread(upload.write, piece)
            await asyncio.to_thread(upload.verify)
            return await self.import_archive(str(upload.path))

    async def import_archive(self, archive: str) -> int:
        """By each worker; the first one before the others (see `queue.imports`)."""
        count = 0
        for worker in self._complete():
            count += await worker.import_archive(archive)
        return count

    def _complete(self) -> list[WorkerPort]:
        """All workers. Raises WorkerGoneError if one is missing."""
        workers = [worker for _, worker in self._all()]
        if len(workers) < self._expected:
            raise WorkerGoneError(f"{len(workers)} of {self._expected} workers are up: try again when all are up")
        return workers

    async def report_tls(self, day: int | None) -> Sequence[dict[str, Any]]:
        """By the first worker, which reads what all have counted."""
        first = next((worker for name, worker in self._all() if _number(name) == 0), None)
        if first is None:
            raise WorkerGoneError("the worker that sends TLS reports is being restarted: try again")
        return await first.report_tls(day)

    async def flush_sts(self, domain: str) -> int:
        """By each worker; all must be up, as each has policies of its own."""
        return sum(await asyncio.gather(*(worker.flush_sts(domain) for worker in self._complete())))

    async def overrides(self) -> Sequence[dict[str, Any]]:
        """Those that the owner of limits keeps for all workers."""
        listed = () if self._limits is None else self._limits.overrides.listed()
        return [shown(one) for one in listed if said_of(one) is None]

    async def end_override(self, id: str) -> bool:  # noqa: A002 - the field's word
        """For all workers."""
        return self._limits is not None and self._limits.end_override(id)

    async def begin(self, request: SubmissionRequest) -> SubmissionHandle:
        """On one worker after the other."""
        workers = self._all()
        if not workers:
            raise WorkerGoneError("no worker is up")
        self._turn += 1
        return await workers[self._turn % len(workers)][1].begin(request)

    def _all(self) -> list[tuple[str, WorkerPort]]:
        return sorted(self._workers.items(), key=lambda item: _number(item[0]))


def _number(incarnation: str) -> int:
    """The number of a worker, which it keeps when it is restarted: 3 for `worker-3.4711`."""
    return int(incarnation.removeprefix("worker-").partition(".")[0])


async def _configz_of(worker: WorkerPort) -> ConfigStatus | None:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await worker.configz()
    except (TimeoutError, WorkerGoneError):
        return None  # one that has exited runs no configuration


def _split(after: str | None, expected: int) -> tuple[int, str | None]:
    if after is None:
        return 0, None
    number, colon, cursor = after.partition(":")
    if not colon or not (number.isascii() and number.isdigit() and len(number) < 6):
        raise BadCursorError("`after` is not a cursor of this relay")
    if int(number) >= expected:
        raise BadCursorError("`after` is from a time when the relay had more workers: start again without it")
    return int(number), cursor or None

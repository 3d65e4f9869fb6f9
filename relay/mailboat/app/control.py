"""One relay made of its workers: what the admin listener and the signals speak to (`admin.control.Control`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from mailboat import __version__
from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Probe
from mailboat.app.channel import WorkerPort
from mailboat.app.submissions import WorkerGoneError
from mailboat.metrics.prometheus import exposition
from mailboat.metrics.tally import Totals
from mailboat.outbound.letter import Letter
from mailboat.outbound.submission import Port
from mailboat.queue.store import Selection

PROBE_TIMEOUT = 5.0
"""Seconds that a worker has for a probe: longer than any pause of a healthy event loop."""


class RelayControl:
    """Sums and asks over all workers. `workers` maps an incarnation's name to its port and may change at any time."""

    def __init__(self, workers: Mapping[str, WorkerPort], expected: int, totals: Totals) -> None:
        self._workers = workers
        self._expected = expected
        self._totals = totals
        self._turn = 0

    async def checks(self, kind: Probe) -> Sequence[Check]:
        """Every worker's checks, named by worker when there are several."""
        answers = await asyncio.gather(*(self._checks_of(name, worker, kind) for name, worker in self._all()))
        checks = [check for answer in answers for check in answer]
        if kind is not Probe.LIVEZ and len(self._workers) < self._expected:
            # A worker that starts again does not make the relay dead, but not all of it takes mail.
            checks.append(Check("workers", ok=False, detail=f"{len(self._workers)} of {self._expected} are up"))
        return checks

    async def _checks_of(self, name: str, worker: WorkerPort, kind: Probe) -> Sequence[Check]:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                checks = await worker.checks(kind)
        except (TimeoutError, WorkerGoneError):
            return [Check(name, ok=False, detail="does not answer")]
        if self._expected == 1:
            return checks
        return [Check(f"{name} {check.name}", check.ok, check.detail) for check in checks]

    async def configz(self) -> ConfigStatus:
        """The configuration that all workers run; while they differ, the one that is still to go."""
        answers = await asyncio.gather(*(_configz_of(worker) for _, worker in self._all()))
        states = [answer for answer in answers if answer is not None]
        if not states:
            raise WorkerGoneError("no worker is up")
        failed = next((state for state in states if state.error), None)
        told = failed or min(states, key=lambda state: state.loaded_at)
        warnings = dict.fromkeys(warning for state in states for warning in state.warnings)
        return replace(told, warnings=tuple(warnings))

    async def metrics(self) -> bytes:
        """One sum for all workers, dead ones' counters included."""
        workers = self._all()
        snapshots = await asyncio.gather(*(worker.snapshot() for _, worker in workers), return_exceptions=True)
        for (name, _), snapshot in zip(workers, snapshots, strict=True):
            if not isinstance(snapshot, BaseException):
                self._totals.update(name, snapshot)
        merged = self._totals.merged()
        if sum(not isinstance(snapshot, BaseException) for snapshot in snapshots) < self._expected:
            merged["gauges"]["mailboat_ready"] = {"": 0.0}  # as the checks of `/readyz` say
        status = await self.configz()
        return exposition(merged, version=__version__, config_hash=status.hash)

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        """One worker's queue after the other's. The cursor is the worker's place, a colon, and its own cursor."""
        workers = self._all()
        place, cursor = _split(after)
        found: list[EntryJson] = []
        while place < len(workers) and len(found) < limit:
            entries, cursor = await workers[place][1].queue_page(selection, limit - len(found), cursor)
            found += entries
            if cursor is None:
                place += 1
        return found, f"{place}:{cursor or ''}" if place < len(workers) else None

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the field's word
        """Whichever worker has it."""
        answers = await asyncio.gather(*(worker.queue_get(id) for _, worker in self._all()))
        return [entry for answer in answers for entry in answer]

    async def delete(self, selection: Selection) -> int:
        """On every worker; how many in all."""
        return await self._sum(lambda worker: worker.delete(selection))

    async def hold(self, selection: Selection) -> int:
        """On every worker; how many in all."""
        return await self._sum(lambda worker: worker.hold(selection))

    async def release(self, selection: Selection) -> int:
        """On every worker; how many in all."""
        return await self._sum(lambda worker: worker.release(selection))

    async def flush(self, selection: Selection) -> int:
        """On every worker; how many in all."""
        return await self._sum(lambda worker: worker.flush(selection))

    async def begin(self, letter: Letter) -> Port:
        """On one worker after the other."""
        workers = self._all()
        if not workers:
            raise WorkerGoneError("no worker is up")
        self._turn += 1
        return await workers[self._turn % len(workers)][1].begin(letter)

    async def _sum(self, ask: Callable[[WorkerPort], Awaitable[int]]) -> int:
        return sum(await asyncio.gather(*(ask(worker) for _, worker in self._all())))

    def _all(self) -> list[tuple[str, WorkerPort]]:
        return sorted(self._workers.items())


async def _configz_of(worker: WorkerPort) -> ConfigStatus | None:
    try:
        return await worker.configz()
    except WorkerGoneError:
        return None  # one that has ended, in a drain too, runs nothing


def _split(after: str | None) -> tuple[int, str | None]:
    if after is None:
        return 0, None
    place, colon, cursor = after.partition(":")
    if not colon or not (place.isascii() and place.isdigit() and len(place) < 6):
        raise BadCursorError("`after` is not a cursor of this relay")
    return int(place), cursor or None

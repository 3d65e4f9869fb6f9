"""One worker's life: start, serve, reload, drain. The whole relay when there is only one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path

from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Probe, entry_to_json
from mailboat.app import last_good
from mailboat.app.build import Parts, WorkerOptions
from mailboat.app.certificates import CertificateExpiry
from mailboat.app.clock import ClockWatch
from mailboat.app.destinations import WaitingCounts, WorkerDestinations
from mailboat.app.reload import ConfigWatch
from mailboat.app.tls_reporter import SentReport
from mailboat.app.watch import Watch, disk_of
from mailboat.delivery.engine import DOT_GRACE, HANG_UP_GRACE
from mailboat.loading.load import Loaded
from mailboat.metrics.catalog import WAITING_ENTRIES
from mailboat.metrics.plugins import pack
from mailboat.metrics.recorder import Snapshot
from mailboat.model.envelope import Entry
from mailboat.model.observer import Observer
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow
from mailboat.queue import exports, imports
from mailboat.queue.store import EVERYTHING, Batch, Selection, Step, StorageError, Verb
from mailboat.shaping.directive import Directive
from mailboat.submission import sending
from mailboat.submission.request import RefusedError, SubmissionRequest
from mailboat.submission.submitter import SubmissionHandle

log = logging.getLogger(__name__)

PLUGIN_GRACE = 2.0
"""Seconds for plugins to close."""
QUIT_GRACE = 1.0
"""Seconds for QUIT on idle connections at the end, and for the last results of TLS before."""
COMMIT_GRACE = 5.0
"""Seconds for the last commits, of a disk that is slow but works."""
STOP_MARGIN = DOT_GRACE + HANG_UP_GRACE + PLUGIN_GRACE + COMMIT_GRACE + 2 * QUIT_GRACE
"""Seconds that `stop` may take beyond the drain time."""
_AWAITED = (
    "outbound.ini does not exist yet, so all mail waits: is there an OutboundConfig, and an operator that watches its "
    "namespace?"
)


class Worker:
    """One event loop with its queue, its listeners and its deliveries."""

    def __init__(self, options: WorkerOptions, loaded: Loaded, parts: Parts) -> None:
        """`loaded` has no faults, `parts` come from `build`."""
        self._options = options
        self._parts = parts
        # Every worker applies a new configuration; one of them reports it, so that a reload counts once.
        observer = parts.observability.observer if options.worker == 0 else Observer()
        self.config = ConfigWatch(options.directory, loaded, parts.clock, observer, parts.plugins.marks)
        if options.last_good and options.worker == 0:
            self.config.applied = self._keep
        self._first: Loaded | None = loaded
        self._expiry = CertificateExpiry()
        self._destinations = WorkerDestinations(parts, lambda: self.config.settings)
        self._waiting = WaitingCounts(self._destinations)
        self._started = False
        self.failed = asyncio.Event()
        """Set when this process must exit to be restarted."""
        self._chores: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen and deliver. Raises OSError when a port is taken."""
        parts = self._parts
        sending.bind(parts.submitter)
        try:
            await parts.listener.start(shared=self._options.workers > 1)
        except OSError:
            await parts.plugins.close(PLUGIN_GRACE)
            parts.ahead.close()
            await parts.resolver.close()
            await parts.store.close()
            raise
        watch = Watch(parts.load, parts.store, self.config.settings.outbound.queue_dir, self._options.workers)
        watch.recovered = parts.engine.woken
        watch.failed = self.failed.set
        await watch.look()
        parts.engine.start()
        if self._first is not None and not self._first.stored_at:
            await self.config.applied(self._first)
        self._first = None
        clock = ClockWatch(parts.clock, parts.store, lambda: parts.engine.plan)
        self._chores = [
            asyncio.create_task(clock.run(), name="clock"),
            asyncio.create_task(watch.run(), name="watch"),
            asyncio.create_task(parts.policies.run(), name="MTA-STS"),
            asyncio.create_task(self.config.run(parts.apply), name="reload"),
            asyncio.create_task(parts.dnssec.run(), name="dnssec"),
            asyncio.create_task(parts.tls_counter.run(), name="TLS-RPT counts"),
            asyncio.create_task(self._waiting.run(), name="waiting entries"),
        ]
        if self._options.worker == 0:
            self._chores.append(asyncio.create_task(parts.tls_reporter.run(), name="TLS-RPT"))
        self._started = True

    async def _keep(self, loaded: Loaded) -> None:
        """Store the configuration in force as the last good set, unless a reload would refuse it."""
        if loaded.tolerated:
            return
        contents = {**self._parts.plugins.contents(), **loaded.contents}
        try:
            await asyncio.to_thread(last_good.store, Path(loaded.queue_dir), contents, self._parts.clock.now())
        except (OSError, StorageError) as error:
            log.error("the configuration could not be stored as the last good one: %s", error)  # noqa: TRY400

    async def stop(self) -> None:
        """Drain: no new clients, no new attempts, finish what is under way, commit, close."""
        # Nothing is recorded after a failure: a delivery would be repeated.
        parts, grace = self._parts, 0.0 if self.failed.is_set() else self._options.drain_timeout
        parts.load.draining = True
        for chore in self._chores:
            chore.cancel()
        parts.changes.close()
        await parts.listener.close()
        # The store must be closed in any case: it still has outcomes to commit.
        await _finished(parts.listener.finish(grace), parts.engine.drain(grace))
        await _finished(parts.plugins.close(PLUGIN_GRACE))  # they may still send mail
        # Record the attempts first: if the process is killed now, nothing is delivered twice.
        sending.unbind()
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIT_GRACE):
                await parts.tls_counter.flush()
        await parts.policies.close()  # before the store, which has what they fetched
        await parts.store.close()
        parts.ahead.close()
        await parts.resolver.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIT_GRACE):
                await parts.pool.close()
        await asyncio.gather(*self._chores, return_exceptions=True)
        parts.observability.events.tell_omitted()
        await asyncio.to_thread(parts.observability.writer.close)

    # Used by the admin listener, also over the supervisor's channel.

    async def checks(self, kind: Probe) -> Sequence[Check]:
        """The checks of a probe; see `admin.control.Control`."""
        match kind:
            case Probe.LIVEZ:
                return [Check("event loop", ok=True)]
            case Probe.STARTUPZ:
                return [Check("started", self._started, "" if self._started else "still starting")]
            case Probe.READYZ:
                return self._ready()

    def _ready(self) -> Sequence[Check]:
        parts = self._parts
        full = "the disk of the queue is nearly full" if parts.load.disk_full else ""
        storage = parts.store.fault or full
        return [
            Check("listeners", parts.listener.is_up, "" if parts.listener.is_up else "not listening"),
            Check("storage", not storage, storage),
            Check("configuration", ok=True),
            Check("accepting", not parts.load.draining, "draining" if parts.load.draining else ""),
        ]

    async def configz(self) -> ConfigStatus:
        """The configuration in force."""
        settings = self.config.settings
        unbound = tuple(dict.fromkeys(self._parts.unbound(settings).values()))
        awaited = (_AWAITED,) if settings.awaits_outbound else ()
        warnings = (*map(str, self.config.tolerated), *awaited, *unbound)
        return ConfigStatus(settings.hash, self.config.loaded_at, self.config.error, warnings, unbound, self._dane())

    def _dane(self) -> str:
        settings = self.config.settings
        if not settings.tls_outbound.dane and not any(route.dane for route in settings.outbound.routes):
            return "off"
        return "unavailable" if self._parts.dnssec.unavailable else "available"

    async def snapshot(self) -> Snapshot:
        """This process's metrics."""
        parts = self._parts
        settings = self.config.settings
        unbound = parts.unbound(settings)
        disk = await asyncio.to_thread(disk_of, settings.outbound.queue_dir)
        ready = all(check.ok for check in self._ready())
        snapshot = parts.observability.recorder.snapshot(parts.store.stats(), unbound, disk, ready=ready)
        tasks, threads = parts.plugins.left_running()
        snapshot["gauges"]["mailboat_certificate_expiry_timestamp_seconds"] = await self._expiry.of(settings)
        oldest_key = settings.signer and settings.signer.oldest_day
        complete_until = parts.tls_reporter.complete_until
        snapshot["gauges"] |= {
            "mailboat_tlsrpt_complete_until_timestamp_seconds": {"": complete_until} if complete_until else {},
            "mailboat_dkim_oldest_key_timestamp_seconds": {"": oldest_key} if oldest_key else {},
            "mailboat_dane_available": {"": float(not parts.dnssec.unavailable)},
            "mailboat_plugin_tasks": {"": float(tasks)},
            "mailboat_plugin_stuck_threads": {"": float(threads)},
            WAITING_ENTRIES: dict(self._waiting.series),
        }
        snapshot["plugins"] = pack(parts.plugins.counters.snapshot())
        return snapshot

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        """Entries for people to see. Raises BadCursorError."""
        try:
            page = await self._parts.store.page(selection, limit, after)
        except ValueError as error:
            raise BadCursorError(str(error)) from error
        return [self._shown(entry) for entry in page.entries], page.next

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the field's word
        """One entry, or those of one message."""
        return [self._shown(entry) for entry in await self._parts.store.get(id)]

    def _shown(self, entry: Entry) -> EntryJson:
        override = self._parts.overrides.holding(entry)
        if override is not None:
            return entry_to_json(entry, override.why, override.until)
        held = self._parts.engine.held_by(entry)
        if held is None:
            return entry_to_json(entry)
        clock = self._parts.clock
        until = None if held.until is None else clock.now() + held.until - clock.monotonic()
        return entry_to_json(entry, held.text, until)

    async def destinations(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        """What waits here."""
        return await self._destinations.rows(by, sort, most)

    async def change(self, verb: Verb, selection: Selection) -> int:
        """Apply an operator's verb."""
        return await self._parts.store.change(verb, selection)

    async def direct(self, directive: Directive) -> int:
        """Bounce or reroute queued mail. Raises RefusedError for a route or provider that does not exist."""
        table, selection = self.config.settings.shaping, directive.selection
        if directive.route and not self._parts.router.has_route(directive.route):
            raise RefusedError(f"route: outbound.ini has no [route:{directive.route}]")
        if selection.provider and all(selection.provider != provider.name for provider in table.providers):
            raise RefusedError(f"provider: there is no provider {selection.provider}")
        return await self._parts.changes.apply(directive)

    async def resume(self, why: str) -> int:
        """Attempt mail now that an override has suspended, as `Override.why` says."""
        return await self._parts.changes.resume(why)

    async def export(self, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
        """A step of an export."""
        return await exports.export(self._parts.store, step, batch, selection)

    async def import_archive(self, archive: str) -> int:
        """Import an archive."""
        return await imports.import_archive(self._parts.store, archive)

    async def report_tls(self, day: int | None) -> Sequence[SentReport]:
        """Send reports on TLS; for all workers."""
        await self._parts.tls_counter.flush()
        return await self._parts.tls_reporter.send(day)

    async def flush_sts(self, domain: str) -> int:
        """Forget the MTA-STS policy of a domain, and the targets that it was applied to."""
        known = await self._parts.policies.flush(domain)
        self._parts.router.forget()
        return int(known)

    async def begin(self, request: SubmissionRequest) -> SubmissionHandle:
        """Start a program's message."""
        if self._parts.load.draining:
            raise StorageError("the relay is shutting down")
        return self._parts.submitter.begin(request, "HTTP")


async def _finished(*steps: Awaitable[None]) -> None:
    """Wait for all of them; one that fails is logged, and the others are still waited for."""
    for result in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("the shutdown of the relay failed", exc_info=result)

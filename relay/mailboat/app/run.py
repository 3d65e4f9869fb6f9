"""`mailboat relay`: one process that does everything, or a supervisor with several workers, and the admin listener."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mailboat.admin.server import AdminServer
from mailboat.app import exits
from mailboat.app.build import Connections, WorkerOptions
from mailboat.app.control import RelayControl
from mailboat.app.fleet import Fleet, WorkerFailedError, exit_code
from mailboat.app.limits import OwnLimits
from mailboat.app.process import on_signals, run, start_worker, stopped_or_failed
from mailboat.app.start import BadConfigurationError, begin, fall_back
from mailboat.config.settings import Settings
from mailboat.delivery.tokens import TokenCache
from mailboat.ingress.listener import listening_socket
from mailboat.loading.load import Loaded
from mailboat.metrics.recorder import Totals
from mailboat.model.clock import SystemClock
from mailboat.queue.lock import Lock, make_directory
from mailboat.queue.spool import database_path
from mailboat.queue.store import Selection, StorageError, Verb

log = logging.getLogger(__name__)


def relay(options: WorkerOptions) -> int:
    """Run a relay until SIGTERM or SIGINT; the exit code."""
    return run(_relay(options))


async def _relay(options: WorkerOptions) -> int:
    stop = asyncio.Event()
    on_signals(stop, lambda: None)  # from the beginning: a relay can also be stopped cleanly while it starts
    try:
        loaded = begin(options)
    except BadConfigurationError as error:
        for reason in error.reasons:
            log.error("%s", reason)  # noqa: TRY400 - the reason is whole without a traceback
        return exits.CONFIG
    for warning in loaded.warnings:
        log.warning("%s", warning)
    assert loaded.settings is not None
    workers = worker_count(loaded.settings.smtp.nodes)
    if workers > 1:
        return await _supervise(replace(options, workers=workers), loaded, stop)
    return await _alone(options, stop)


def worker_count(nodes: int) -> int:
    """How many workers `nodes` of smtp.ini asks for, on this machine."""
    return max(1, nodes if nodes >= 0 else len(os.sched_getaffinity(0)))


async def _alone(options: WorkerOptions, stop: asyncio.Event) -> int:
    limits = OwnLimits(SystemClock())
    connections = Connections(lambda clock, observer: TokenCache(clock, observer.token_requested), limits.connect)
    worker = await start_worker(options, connections)
    if isinstance(worker, int):
        return worker
    ending = asyncio.create_task(stopped_or_failed(stop, worker))
    ending.add_done_callback(lambda _: stop.set())
    settings = worker.config.settings
    control = RelayControl({"worker-0": worker}, 1, Totals(), settings.outbound.queue_dir, limits.owner)
    code = await _serve(control, settings, worker.stop, stop)
    await limits.close()
    return code or await ending


async def _supervise(options: WorkerOptions, loaded: Loaded, stop: asyncio.Event) -> int:
    settings = loaded.settings
    assert settings is not None
    queue_dir = Path(settings.outbound.queue_dir)
    try:
        make_directory(queue_dir)
        Lock(database_path(queue_dir, 0).with_suffix(".lock")).release()
    except StorageError as error:
        log.error("%s", error)  # noqa: TRY400 - the reason is whole without a traceback
        return exits.TEMPFAIL
    try:
        for endpoint in settings.smtp.endpoints:
            # Workers share their ports, and would also share them with another program: check first that they are free.
            listening_socket(endpoint, shared=False).close()
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400 - the reason is whole without a traceback
        return exits.UNAVAILABLE
    totals = Totals()
    fleet = Fleet(options, totals, settings.outbound.queue_dir)
    start, stopped = asyncio.create_task(fleet.start()), asyncio.create_task(stop.wait())
    await asyncio.wait((start, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not start.done():
        start.cancel()
        await fleet.stop()
        return exits.OK
    try:
        await start
    except WorkerFailedError as error:
        return exit_code(error.code)
    if fleet.on_last_good and not loaded.stored_at:
        # Faults of plugins are found by workers only; the admin listener uses the same set as they do.
        with suppress(BadConfigurationError):
            settings = fall_back(options, loaded, ()).settings or settings
    control = RelayControl(fleet.ports, options.workers, totals, settings.outbound.queue_dir, fleet.limits)
    return await _serve(control, settings, fleet.stop, stop)


async def _serve(
    control: RelayControl, settings: Settings, drain: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> int:
    """Answer on the admin listener until a signal comes and the workers are drained."""
    flushes: set[asyncio.Task[None]] = set()

    def flush() -> None:
        task = asyncio.create_task(_flush(control))
        flushes.add(task)
        task.add_done_callback(flushes.discard)

    on_signals(stop, flush)
    admin = AdminServer(control, settings.http)
    try:
        await admin.start()
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400 - the reason is whole without a traceback
        await drain()
        return exits.UNAVAILABLE
    listening = ", ".join(map(str, settings.smtp.endpoints))
    log.info("mail on %s, admin on %s", listening, ", ".join(str(e) for e in settings.http.listen))
    await stop.wait()
    log.info("draining")
    await drain()
    await admin.close()
    return exits.OK


async def _flush(control: RelayControl) -> None:
    try:
        log.info("%d deferred entries are attempted now", await control.change(Verb.FLUSH, Selection()))
    except StorageError as error:
        log.error("the queue could not be flushed: %s", error)  # noqa: TRY400 - the reason is whole

"""`mailboat relay`: one process that does everything, or a supervisor with a worker a CPU, and the admin listener."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

from mailboat.admin.server import AdminServer
from mailboat.app import exits
from mailboat.app.build import WorkerOptions
from mailboat.app.control import RelayControl
from mailboat.app.fleet import Fleet, WorkerFailedError, exit_code
from mailboat.app.process import on_signals, run, start_worker
from mailboat.config.load import load
from mailboat.config.settings import Settings
from mailboat.ingress.listener import listening_socket
from mailboat.metrics.tally import Totals
from mailboat.queue.store import Selection

log = logging.getLogger(__name__)


def relay(options: WorkerOptions) -> int:
    """Run a relay until SIGTERM or SIGINT; the exit code."""
    return run(_relay(options))


async def _relay(options: WorkerOptions) -> int:
    loaded = load(options.directory, os.environ)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    for fault in loaded.faults:
        log.error("%s", fault)
    if loaded.settings is None:
        return exits.CONFIG
    workers = worker_count(loaded.settings.smtp.nodes)
    if workers > 1:
        return await _supervise(replace(options, workers=workers), loaded.settings)
    return await _alone(options, loaded.settings)


def worker_count(nodes: int) -> int:
    """How many workers `nodes` of smtp.ini asks for, on this machine."""
    return max(1, nodes if nodes >= 0 else len(os.sched_getaffinity(0)))


async def _alone(options: WorkerOptions, settings: Settings) -> int:
    worker = await start_worker(options)
    if isinstance(worker, int):
        return worker
    return await _serve(RelayControl({"worker-0": worker}, 1, Totals()), settings, worker.stop)


async def _supervise(options: WorkerOptions, settings: Settings) -> int:
    try:
        for endpoint in (*settings.smtp.listen, *settings.smtp.smtps_listen):
            # Workers share their ports, and would share them with a stranger too: see first that they are free.
            listening_socket(endpoint, shared=False).close()
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400 - the reason is whole without a traceback
        return exits.UNAVAILABLE
    totals = Totals()
    fleet = Fleet(options, totals)
    try:
        await fleet.start()
    except WorkerFailedError as error:
        return exit_code(error.code)
    return await _serve(RelayControl(fleet.ports, options.workers, totals), settings, fleet.stop)


async def _serve(control: RelayControl, settings: Settings, drain: Callable[[], Awaitable[None]]) -> int:
    """Answer on the admin listener until a signal comes and the workers are drained."""
    stop = asyncio.Event()
    flushes: set[asyncio.Task[int]] = set()

    def flush() -> None:
        task = asyncio.create_task(control.flush(Selection()))
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
    listening = ", ".join(str(e) for e in (*settings.smtp.listen, *settings.smtp.smtps_listen))
    log.info("mail on %s, admin on %s", listening, ", ".join(str(e) for e in settings.http.listen))
    await stop.wait()
    log.info("draining")
    await drain()
    await admin.close()
    return exits.OK

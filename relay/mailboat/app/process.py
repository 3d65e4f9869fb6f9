"""Common to all processes of a relay: event loop, memory management, diagnostics, signals.

Also the entry of a worker process: `python -m mailboat.app.process`, started by `fleet` only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from mailboat.app import exits
from mailboat.app.build import Connections, WorkerOptions, build
from mailboat.app.channel import serve
from mailboat.app.limits import Tell
from mailboat.app.log_format import BoundedFormatter
from mailboat.app.questions import Questions
from mailboat.app.remote_tokens import RemoteTokens
from mailboat.app.start import BadConfigurationError, begin, fall_back
from mailboat.app.worker import Worker
from mailboat.config.fault import Fault
from mailboat.hooks.loader import PluginsError
from mailboat.loading.load import Loaded
from mailboat.queue.commit import SWITCH_INTERVAL
from mailboat.queue.store import StorageError

log = logging.getLogger(__name__)

GC_THRESHOLD = 50_000
"""Allocations between two runs of the cyclic garbage collector. The message path makes hardly any cycles; the
default of 700 costs a tenth of the throughput."""


THREAD_GRACE = 5.0
"""Seconds for remaining threads to end at exit."""
LAST_GRACE = 0.5
"""Seconds for remaining tasks to end after they are cancelled at exit."""


def run(main: Coroutine[Any, Any, int], log_level: int = logging.INFO) -> int:
    """Run a process of the relay to its exit code."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(BoundedFormatter())
    logging.basicConfig(level=log_level, handlers=[handler], force=True)
    threading.excepthook = _thread_failed
    # The usual soft limit of 1024 descriptors is below `max_connections`; the hard one is the administrator's limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()  # imported modules are never freed
    gc.set_threshold(GC_THRESHOLD, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(main)
        threading.Thread(target=_cut_short, args=(code,), daemon=True).start()
        if runner.run(_stragglers()):
            # Closing the event loop would wait for them endlessly. All state is on disk.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(code)
        return code


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    """Log the exception that ended a thread."""
    name = args.thread.name if args.thread else "?"
    log.error("thread %s failed", name, exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback))


def _cut_short(code: int) -> None:
    """End the process if threads, probably of plugins, still run: Python would wait for them endlessly."""
    time.sleep(THREAD_GRACE)
    log.warning("threads of plugins did not end in time: they end with the process")
    logging.shutdown()
    os._exit(code)


async def _stragglers() -> int:
    """Cancel remaining tasks; returns how many, probably of plugins, do not end even then."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if not left:
        return 0
    _, pending = await asyncio.wait(left, timeout=LAST_GRACE)
    if pending:
        log.warning("%d tasks ignored cancellation: they end with the process", len(pending))
    return len(pending)


def on_signals(stop: asyncio.Event, flush: Callable[[], None]) -> None:
    """SIGTERM and SIGINT set `stop`, the second one ends the process; SIGHUP flushes."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            os._exit(exits.SOFTWARE)  # the second signal: the queue is on disk, nothing is lost
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGHUP, flush)


async def stopped_or_failed(stop: asyncio.Event, worker: Worker) -> int:
    """Wait for a signal or a failure; the exit code."""
    waiting = [asyncio.create_task(event.wait()) for event in (stop, worker.failed)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return exits.SOFTWARE if worker.failed.is_set() else exits.OK


async def start_worker(options: WorkerOptions, connections: Connections) -> Worker | int:
    """A started worker, or an exit code if it failed; the reason is in the log."""
    try:
        loaded = begin(options)
        worker = await _build(options, loaded, connections)
    except BadConfigurationError as error:
        for reason in error.reasons:
            log.error("%s", reason)  # noqa: TRY400 - the reason is whole without a traceback
        return exits.CONFIG
    except StorageError as error:
        log.error("%s", error)  # noqa: TRY400
        return exits.TEMPFAIL
    try:
        await worker.start()
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400
        return exits.UNAVAILABLE
    return worker


async def _build(options: WorkerOptions, loaded: Loaded, connections: Connections) -> Worker:
    """A worker with the loaded configuration, or with the last good set if the former fails only now.

    Raises BadConfigurationError and StorageError.
    """
    assert loaded.settings is not None
    try:
        return Worker(options, loaded, await build(options, loaded.settings, connections))
    except PluginsError as error:
        good = fall_back(options, loaded, error.faults, error.marks)
    except (OSError, ValueError) as error:
        good = fall_back(options, loaded, (Fault("tls.ini", 0, "", "", str(error)),))
    return await _build(options, good, connections)


async def _serve_supervisor(options: WorkerOptions, channel: socket.socket) -> int:
    stop = asyncio.Event()
    # The terminal's Ctrl-C reaches every process of the group; only the supervisor handles it.
    on_signals(stop, lambda: None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    questions = Questions()

    def limits(_: str, tell: Tell) -> Tell:
        questions.told = tell
        return questions.say

    worker = await start_worker(options, Connections(lambda clock, _: RemoteTokens(questions, clock), limits))
    if isinstance(worker, int):
        return worker
    on_last_good = bool(worker.config.settings.copies)
    supervisor = asyncio.create_task(serve(channel, worker, questions, on_last_good=on_last_good))
    supervisor.add_done_callback(lambda _: stop.set())  # the supervisor has exited: nothing else would end this process
    code = await stopped_or_failed(stop, worker)
    await worker.stop()
    supervisor.cancel()
    return code


def main() -> int:
    """The worker process."""
    parser = argparse.ArgumentParser(prog="mailboat worker", description="A worker of `mailboat relay`.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--worker", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--log-format", required=True)
    parser.add_argument("--drain-timeout", type=float, required=True)
    parser.add_argument("--last-good", action="store_true")
    given = parser.parse_args()
    options = WorkerOptions(
        directory=given.config,
        worker=given.worker,
        workers=given.workers,
        log_format=given.log_format,
        drain_timeout=given.drain_timeout,
        last_good=given.last_good,
    )
    return run(_serve_supervisor(options, socket.socket(fileno=given.channel)))


if __name__ == "__main__":
    sys.exit(main())

"""The supervisor of several workers: starts them, restarts them when they die, forwards signals, stops them.

It handles no mail. A worker that cannot start ends the relay with that worker's exit code; one that dies later is
restarted after a growing pause, with its queue as of its last commit.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from contextlib import suppress

from mailboat.app import exits
from mailboat.app.build import WorkerOptions
from mailboat.app.channel import RemoteWorker, WorkerPort
from mailboat.app.limits import LimitOwner
from mailboat.app.process import THREAD_GRACE
from mailboat.app.worker import STOP_MARGIN
from mailboat.delivery.tokens import TokenCache
from mailboat.metrics.recorder import Snapshot, Totals
from mailboat.model.clock import SystemClock
from mailboat.model.observer import TokenResult

log = logging.getLogger(__name__)

PAUSES = (0.1, 1.0, 5.0, 15.0)
"""Seconds before a dead worker is restarted, by the number of deaths in a row."""
STEADY = 60.0
"""Seconds of uptime after which the count of deaths restarts."""
KILL_MARGIN = STOP_MARGIN + THREAD_GRACE + 1.0
"""Seconds beyond the drain time until a worker is killed: the longest shutdown, and one for a busy machine."""


class WorkerFailedError(Exception):
    """A worker could not start; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker could not start: exit code {code}")
        self.code = code


class Fleet:
    """All workers of one relay."""

    def __init__(self, options: WorkerOptions, totals: Totals, queue_dir: str) -> None:
        """`options.workers` is their number. What limits count is stored in `queue_dir`."""
        self._options = options
        self._totals = totals
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._tokens = TokenCache(SystemClock(), self._token_requested)
        self._token_requests = dict.fromkeys(TokenResult, 0.0)
        self.limits = LimitOwner(queue_dir, SystemClock())
        """Of all workers, with what rules from replies have put into force."""
        self.ports: dict[str, WorkerPort] = {}
        """The workers that are up, by incarnation."""
        self.on_last_good = False
        """Whether the workers have started with the last good set."""

    async def start(self) -> None:
        """Start every worker and wait until all are ready. Raises WorkerFailedError."""
        ready = [asyncio.get_running_loop().create_future() for _ in range(self._options.workers)]
        self._keepers = [asyncio.create_task(self._keep(number, first)) for number, first in enumerate(ready)]
        try:
            await asyncio.gather(*ready)
        except WorkerFailedError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain all workers, and wait for them."""
        self._stop.set()
        for process in list(self._processes.values()):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        _, late = await asyncio.wait(self._keepers, timeout=self._options.drain_timeout + KILL_MARGIN)
        for number, process in list(self._processes.items()):
            log.error("worker %d does not exit: it is killed, and its unrecorded attempts are repeated", number)
            with suppress(ProcessLookupError):
                process.kill()
        for keeper in late:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self.limits.close()

    async def _keep(self, number: int, first: asyncio.Future[None]) -> None:
        """Keep worker `number` running until the relay stops."""
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stop.is_set():
            born = loop.time()
            code = await self._live(number, first)
            if self._stop.is_set():
                break
            if not first.done():
                log.error("worker %d exited with %d before it was ready", number, code)
                first.set_exception(WorkerFailedError(code))
                return
            deaths = 1 if loop.time() - born > STEADY else deaths + 1
            pause = PAUSES[min(deaths, len(PAUSES)) - 1]
            log.error("worker %d exited with %d; it is restarted in %g s", number, code, pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()

    async def _live(self, number: int, first: asyncio.Future[None]) -> int:
        """One life of a worker process; its exit code."""
        ours, theirs = socket.socketpair()
        options = self._options
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mailboat.app.process", "--config", str(options.directory)),
                *("--worker", str(number), "--workers", str(options.workers), "--channel", str(theirs.fileno())),
                *("--log-format", options.log_format, "--drain-timeout", str(options.drain_timeout)),
                *(("--last-good",) if options.last_good else ()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            log.error("worker %d cannot be started: %s", number, error)  # noqa: TRY400 - no process, no memory
            ours.close()
            return exits.SOFTWARE
        finally:
            theirs.close()
        self._processes[number] = process
        if self._stop.is_set():
            process.terminate()  # `stop` came too early to see it
        port = RemoteWorker(ours, self._tokens, self.limits)
        incarnation = f"worker-{number}.{process.pid}"
        talk = asyncio.create_task(port.run())
        greet = asyncio.create_task(self._greet(port, incarnation, first))
        code = await process.wait()
        greet.cancel()
        await talk
        self.ports.pop(incarnation, None)
        self._totals.gone(incarnation)
        del self._processes[number]
        return code

    def _token_requested(self, result: TokenResult) -> None:
        """Count a request to a token server, which the supervisor makes, not a worker."""
        self._token_requests[result] += 1
        counters = {"mailboat_oauth_token_requests_total": {str(r): n for r, n in self._token_requests.items()}}
        self._totals.update("supervisor", Snapshot(counters=counters, gauges={}, histograms={}))

    async def _greet(self, port: RemoteWorker, name: str, first: asyncio.Future[None]) -> None:
        await port.ready.wait()
        self.ports[name] = port
        if not first.done():
            self.on_last_good |= port.on_last_good
            first.set_result(None)


def exit_code(code: int) -> int:
    """A worker's exit code as the relay's: a signal's death is a software fault."""
    return code if code > 0 else exits.SOFTWARE

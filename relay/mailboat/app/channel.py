"""The supervisor's line to a worker process: one JSON object a line over a socket pair, questions and answers.

`serve` answers for a `Worker`; `RemoteWorker` asks and looks like one. Nothing else crosses the process boundary.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import orjson

from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Operated, Probe
from mailboat.app.submissions import Desk, RemoteSubmission, WorkerGoneError, pack
from mailboat.metrics.tally import Snapshot
from mailboat.model.envelope import State
from mailboat.outbound.letter import Letter, Refused, RefusedError
from mailboat.outbound.submission import Port
from mailboat.queue.store import Selection, StorageError

log = logging.getLogger(__name__)

LINE_LIMIT = 64 * 2**20
"""Octets of a line; a message with all its recipients is the longest. A longer one would end the connection."""
ANSWER_TIMEOUT = 60.0
"""Seconds; a flush of a million entries takes a while."""


class WorkerPort(Operated, Protocol):
    """A worker as the relay's control sees it, here or in another process."""

    async def snapshot(self) -> Snapshot:
        """Its numbers."""


class RemoteWorker:
    """A worker process, asked over its channel."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self.ready = asyncio.Event()
        """Set when the worker has said that it is started."""

    async def run(self) -> None:
        """Read answers until the worker is gone."""
        reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=LINE_LIMIT)
        try:
            while line := await reader.readline():
                self._heard(orjson.loads(line))
        except (OSError, ValueError):
            pass  # a dead worker's last line may be cut
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(WorkerGoneError("the worker is gone"))
            self._waiting.clear()
            self._writer.close()
            self._writer = None

    def _heard(self, message: dict[str, Any]) -> None:
        if message.get("ready"):
            self.ready.set()
            return
        future = self._waiting.pop(message["id"], None)
        if future is None or future.done():
            return
        error = message.get("error")
        if error is None:
            future.set_result(message["result"])
        else:
            future.set_exception(_ERRORS.get(message["kind"], StorageError)(error))

    async def _ask(self, verb: str, *arguments: Any) -> Any:
        if self._writer is None:
            raise WorkerGoneError("the worker is gone")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(orjson.dumps({"id": number, "verb": verb, "arguments": arguments}) + b"\n")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await future
        except TimeoutError:
            raise WorkerGoneError("the worker does not answer") from None
        finally:
            self._waiting.pop(number, None)

    async def checks(self, kind: Probe) -> Sequence[Check]:
        """See `WorkerPort`."""
        return [Check(**check) for check in await self._ask("checks", kind.value)]

    async def configz(self) -> ConfigStatus:
        """See `WorkerPort`."""
        answer = await self._ask("configz")
        return ConfigStatus(**answer | {name: tuple(answer[name]) for name in ("warnings", "unbound")})

    async def snapshot(self) -> Snapshot:
        """See `WorkerPort`."""
        snapshot: Snapshot = await self._ask("snapshot")
        return snapshot

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        """See `WorkerPort`."""
        entries, following = await self._ask("queue_page", _pack(selection), limit, after)
        return entries, following

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the field's word
        """See `WorkerPort`."""
        entries: Sequence[EntryJson] = await self._ask("queue_get", id)
        return entries

    async def delete(self, selection: Selection) -> int:
        """See `WorkerPort`."""
        return int(await self._ask("delete", _pack(selection)))

    async def hold(self, selection: Selection) -> int:
        """See `WorkerPort`."""
        return int(await self._ask("hold", _pack(selection)))

    async def release(self, selection: Selection) -> int:
        """See `WorkerPort`."""
        return int(await self._ask("release", _pack(selection)))

    async def flush(self, selection: Selection) -> int:
        """See `WorkerPort`."""
        return int(await self._ask("flush", _pack(selection)))

    async def begin(self, letter: Letter) -> Port:
        """See `WorkerPort`."""
        return RemoteSubmission(self._ask, await self._ask("begin", pack(letter)))


async def serve(sock: socket.socket, worker: WorkerPort) -> None:
    """Say that the worker is ready, then answer until the supervisor is gone."""
    reader, writer = await asyncio.open_connection(sock=sock, limit=LINE_LIMIT)
    writer.write(b'{"ready":true}\n')
    tasks: set[asyncio.Task[None]] = set()
    clerk = _Clerk(worker, Desk(worker))
    try:
        while line := await reader.readline():
            task = asyncio.create_task(_answer(orjson.loads(line), clerk, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in tasks:
            task.cancel()
        await clerk.desk.close()
        writer.close()


@dataclass(frozen=True, slots=True)
class _Clerk:
    """Who answers the supervisor."""

    worker: WorkerPort
    desk: Desk


async def _answer(question: dict[str, Any], clerk: _Clerk, writer: asyncio.StreamWriter) -> None:
    verb, arguments = question["verb"], question["arguments"]
    reply: dict[str, Any]
    try:
        reply = {"result": await _VERBS[verb](clerk, arguments)}
    except StorageError as error:
        reply = {"error": str(error), "kind": "storage"}
    except BadCursorError as error:
        reply = {"error": str(error), "kind": "cursor"}
    except RefusedError as error:
        reply = {"error": str(error), "kind": error.kind.name}
    except Exception as error:  # nobody else would answer
        log.exception("the supervisor's question %r", verb)
        reply = {"error": f"internal error: {error}", "kind": "storage"}
    writer.write(_line(question["id"], reply))


def _line(number: int, reply: dict[str, Any]) -> bytes:
    # Label values are enum members, as keys too.
    line = orjson.dumps({"id": number, **reply}, option=orjson.OPT_NON_STR_KEYS) + b"\n"
    if len(line) < LINE_LIMIT:
        return line
    return _line(
        number, {"error": f"the answer has {len(line)} octets, and {LINE_LIMIT} are allowed", "kind": "storage"}
    )


def _pack(selection: Selection) -> dict[str, Any]:
    return {**asdict(selection), "ids": list(selection.ids)}


def _unpack(packed: dict[str, Any]) -> Selection:
    state = packed["state"]
    return Selection(packed["ids"], packed["domain"], packed["sender"], State(state) if state else None)


def _refusal(kind: Refused) -> Callable[[str], Exception]:
    return lambda text: RefusedError(text, kind)


_ERRORS: dict[str, Callable[[str], Exception]] = {
    "cursor": BadCursorError,
    **{kind.name: _refusal(kind) for kind in Refused},
}
"""What an answer's `kind` is raised as; anything else is storage."""

_VERBS: dict[str, Callable[[_Clerk, list[Any]], Awaitable[Any]]] = {
    "checks": lambda clerk, a: clerk.worker.checks(Probe(a[0])),
    "configz": lambda clerk, _: clerk.worker.configz(),
    "snapshot": lambda clerk, _: clerk.worker.snapshot(),
    "queue_page": lambda clerk, a: clerk.worker.queue_page(_unpack(a[0]), a[1], a[2]),
    "queue_get": lambda clerk, a: clerk.worker.queue_get(a[0]),
    "delete": lambda clerk, a: clerk.worker.delete(_unpack(a[0])),
    "hold": lambda clerk, a: clerk.worker.hold(_unpack(a[0])),
    "release": lambda clerk, a: clerk.worker.release(_unpack(a[0])),
    "flush": lambda clerk, a: clerk.worker.flush(_unpack(a[0])),
    "begin": lambda clerk, a: clerk.desk.begin(a[0]),
    "write": lambda clerk, a: clerk.desk.write(a[0], a[1]),
    "commit": lambda clerk, a: clerk.desk.commit(a[0]),
    "abandon": lambda clerk, a: clerk.desk.abandon(a[0]),
}

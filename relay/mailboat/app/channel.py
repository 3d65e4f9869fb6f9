"""The connection of the supervisor to a worker process: the requests of both sides over `questions`.

`serve` answers for a `Worker`; `RemoteWorker` has the same interface, sends requests, and answers the worker's requests
for access tokens. Nothing else crosses the process boundary.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import orjson

from mailboat.admin.control import Check, ConfigStatus, EntryJson, Probe, QueueAdmin
from mailboat.app.limits import LimitOwner
from mailboat.app.questions import Questions, answer, open_line
from mailboat.app.remote_tokens import TOKEN, give
from mailboat.app.submissions import RemoteSubmission, SubmissionTable, pack
from mailboat.delivery.oauth import TokenSource
from mailboat.metrics.recorder import Snapshot
from mailboat.model.envelope import State
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow
from mailboat.queue.store import EVERYTHING, Batch, Selection, Step, Verb
from mailboat.shaping.directive import Directive
from mailboat.submission.request import SubmissionRequest
from mailboat.submission.submitter import SubmissionHandle


class WorkerPort(QueueAdmin, Protocol):
    """A worker as the relay's control sees it, here or in another process."""

    async def snapshot(self) -> Snapshot:
        """Its numbers."""

    async def resume(self, why: str) -> int:
        """Attempt mail now that an override has suspended, as `Override.why` says; the number of entries."""


class RemoteWorker:
    """A worker process, used over its channel."""

    def __init__(self, sock: socket.socket, tokens: TokenSource, limits: LimitOwner) -> None:
        """`tokens` answers the worker's requests for access tokens, `limits` leases what limits allow."""
        self._sock = sock
        self._tokens = tokens
        self._limits = limits
        self._questions = Questions()
        self._ask = self._questions.ask
        self.ready = asyncio.Event()
        """Set when the worker has reported that it is started."""
        self.on_last_good = False
        """Whether it has started with the last good set."""

    async def run(self) -> None:
        """Read answers and requests until the worker has exited."""
        reader, writer = await open_line(self._sock)
        self._questions.open(writer)
        lease = self._limits.join(self._questions.say)
        self._questions.told = lease.heard
        try:
            async with _Answers(self._know, writer) as answers:
                while line := await reader.readline():
                    message = orjson.loads(line)
                    if message.get("ready"):
                        self.on_last_good = message["last_good"]
                        self.ready.set()
                    elif not answers.begin(message):
                        self._questions.heard(message)
        except (OSError, ValueError):
            pass  # a dead worker's last line may be incomplete
        finally:
            self._questions.close()
            lease.end()
            writer.close()

    async def _know(self, verb: str, arguments: list[Any]) -> Any:
        if verb != TOKEN:
            raise ValueError(f"no question for the supervisor: {verb}")
        return await give(self._tokens, arguments)

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

    async def destinations(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        """See `WorkerPort`."""
        rows: Sequence[WaitingRow] = await self._ask("destinations", by.value, sort.value, most)
        return rows

    async def change(self, verb: Verb, selection: Selection) -> int:
        """See `WorkerPort`."""
        return int(await self._ask("change", verb.value, _pack(selection)))

    async def direct(self, directive: Directive) -> int:
        """See `WorkerPort`. It takes what the bounces take."""
        return int(await self._ask("direct", directive.packed(), timeout=None))

    async def resume(self, why: str) -> int:
        """See `WorkerPort`."""
        return int(await self._ask("resume", why, timeout=None))

    async def export(self, step: Step, batch: Batch, selection: Selection = EVERYTHING) -> int:
        """See `WorkerPort`. It may wait for attempts that are under way."""
        return int(await self._ask("export", step.value, asdict(batch), _pack(selection), timeout=None))

    async def import_archive(self, archive: str) -> int:
        """See `WorkerPort`. It takes what the archive takes."""
        return int(await self._ask("import_archive", archive, timeout=None))

    async def report_tls(self, day: int | None) -> Sequence[dict[str, Any]]:
        """See `WorkerPort`. It waits for those that get the reports."""
        sent: Sequence[dict[str, Any]] = await self._ask("report_tls", day, timeout=None)
        return sent

    async def flush_sts(self, domain: str) -> int:
        """See `WorkerPort`."""
        return int(await self._ask("flush_sts", domain))

    async def begin(self, request: SubmissionRequest) -> SubmissionHandle:
        """See `WorkerPort`."""
        return RemoteSubmission(self._ask, await self._ask("begin", pack(request)))


async def serve(sock: socket.socket, worker: WorkerPort, questions: Questions, *, on_last_good: bool = False) -> None:
    """Report that the worker is ready, then answer until the supervisor has exited; it answers `questions`."""
    reader, writer = await open_line(sock)
    writer.write(orjson.dumps({"ready": True, "last_good": on_last_good}) + b"\n")
    questions.open(writer)
    dispatcher = _Dispatcher(worker, SubmissionTable(worker))
    try:
        async with _Answers(dispatcher.know, writer) as answers:
            while line := await reader.readline():
                message = orjson.loads(line)
                if not answers.begin(message):
                    questions.heard(message)
    finally:
        questions.close()
        await dispatcher.submissions.close()
        writer.close()


class _Answers:
    """Pending answers to requests of the other side; cancelled at the end."""

    def __init__(self, know: Callable[[str, list[Any]], Awaitable[Any]], writer: asyncio.StreamWriter) -> None:
        self._know = know
        self._writer = writer
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()

    def begin(self, message: dict[str, Any]) -> bool:
        """Answer a request in the background; False: the message is not a request."""
        if "verb" not in message:
            return False
        task = asyncio.create_task(answer(message, self._know, self._writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True


@dataclass(frozen=True, slots=True)
class _Dispatcher:
    """Answers requests of the supervisor."""

    worker: WorkerPort
    submissions: SubmissionTable

    async def know(self, verb: str, arguments: list[Any]) -> Any:
        """The worker's answer to a request."""
        return await _VERBS[verb](self, arguments)


def _pack(selection: Selection) -> dict[str, Any]:
    return {**asdict(selection), "ids": list(selection.ids)}


def _unpack(packed: dict[str, Any]) -> Selection:
    return Selection(**packed | {"state": State(packed["state"]) if packed["state"] else None})


_VERBS: dict[str, Callable[[_Dispatcher, list[Any]], Awaitable[Any]]] = {
    "checks": lambda dispatcher, a: dispatcher.worker.checks(Probe(a[0])),
    "configz": lambda dispatcher, _: dispatcher.worker.configz(),
    "snapshot": lambda dispatcher, _: dispatcher.worker.snapshot(),
    "queue_page": lambda dispatcher, a: dispatcher.worker.queue_page(_unpack(a[0]), a[1], a[2]),
    "queue_get": lambda dispatcher, a: dispatcher.worker.queue_get(a[0]),
    "destinations": lambda dispatcher, a: dispatcher.worker.destinations(GroupBy(a[0]), SortBy(a[1]), a[2]),
    "change": lambda dispatcher, a: dispatcher.worker.change(Verb(a[0]), _unpack(a[1])),
    "direct": lambda dispatcher, a: dispatcher.worker.direct(Directive.unpacked(a[0])),
    "resume": lambda dispatcher, a: dispatcher.worker.resume(a[0]),
    "export": lambda dispatcher, a: dispatcher.worker.export(Step(a[0]), Batch(**a[1]), _unpack(a[2])),
    "import_archive": lambda dispatcher, a: dispatcher.worker.import_archive(a[0]),
    "report_tls": lambda dispatcher, a: dispatcher.worker.report_tls(a[0]),
    "flush_sts": lambda dispatcher, a: dispatcher.worker.flush_sts(a[0]),
    "begin": lambda dispatcher, a: dispatcher.submissions.begin(a[0]),
    "write": lambda dispatcher, a: dispatcher.submissions.write(a[0], a[1]),
    "commit": lambda dispatcher, a: dispatcher.submissions.commit(a[0]),
    "abandon": lambda dispatcher, a: dispatcher.submissions.abandon(a[0]),
}

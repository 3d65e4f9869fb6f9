"""Requests and answers between two processes: one JSON object on each line of a socket pair; both sides may ask.

`Questions` sends requests and waits, `answer` answers one request with a given function. Errors that the other side
must distinguish are sent with their kind. Used by `channel` and `remote_tokens`, which know the verbs.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from mailboat.admin.control import BadCursorError
from mailboat.app.submissions import WorkerGoneError
from mailboat.delivery.oauth import TokenError
from mailboat.queue.archive import DamagedArchiveError
from mailboat.queue.store import StorageError
from mailboat.submission.request import RefusalKind, RefusedError

log = logging.getLogger(__name__)

LINE_LIMIT = 64 * 2**20
"""Octets of a line; a message with all its recipients is the longest. A longer one would end the connection."""
ANSWER_TIMEOUT = 60.0
"""Seconds; a flush of a million entries takes a while."""


async def open_line(sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Reader and writer of one socket of a pair."""
    return await asyncio.open_connection(sock=sock, limit=LINE_LIMIT)


class Questions:
    """The pending requests of one side."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self.opened = asyncio.Event()
        """Set when the connection is open."""
        self.told: Callable[[list[Any]], None] = lambda _message: None
        """Called with what the other side says without asking."""
        self._unsaid: list[bytes] = []
        """What was said before the connection was open."""

    def open(self, writer: asyncio.StreamWriter) -> None:
        """Use this connection from now on."""
        self._writer = writer
        self.opened.set()
        writer.writelines(self._unsaid)
        self._unsaid.clear()

    def close(self) -> None:
        """The other side has exited: fail all pending requests."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(WorkerGoneError("the worker is gone"))
        self._waiting.clear()
        self._writer = None

    async def ask(self, verb: str, *arguments: Any, timeout: float | None = ANSWER_TIMEOUT) -> Any:
        """Send a request and return the answer. Raises the other side's error, or WorkerGoneError without an answer.

        `timeout` in seconds; None: until the other side exits.
        """
        if self._writer is None:
            raise WorkerGoneError("the worker is gone")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(orjson.dumps({"id": number, "verb": verb, "arguments": arguments}) + b"\n")
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise WorkerGoneError("the worker does not answer") from None
        finally:
            self._waiting.pop(number, None)

    def say(self, message: list[Any]) -> None:
        """Send what needs no answer. It is lost if the other side has exited."""
        line = orjson.dumps({"say": message}) + b"\n"
        if self._writer is not None:
            self._writer.write(line)
        elif not self.opened.is_set():
            self._unsaid.append(line)

    def heard(self, message: dict[str, Any]) -> None:
        """Handle an answer, or what the other side says without asking."""
        if "say" in message:
            try:
                self.told(message["say"])
            except Exception:  # the connection must go on: others use it
                log.exception("what another process said: %r", message["say"][:1])
            return
        future = self._waiting.pop(message["id"], None)
        if future is None or future.done():
            return
        if message.get("error") is None:
            future.set_result(message["result"])
        else:
            future.set_exception(_error(message))


async def answer(
    question: dict[str, Any], know: Callable[[str, list[Any]], Awaitable[Any]], writer: asyncio.StreamWriter
) -> None:
    """Answer one request: `know` is called with its verb and arguments."""
    reply: dict[str, Any]
    try:
        reply = {"result": await know(question["verb"], question["arguments"])}
    except StorageError as error:
        reply = {"error": str(error), "kind": "storage"}
    except DamagedArchiveError as error:
        reply = {"error": str(error), "kind": "damaged"}
    except BadCursorError as error:
        reply = {"error": str(error), "kind": "cursor"}
    except TokenError as error:
        reply = {"error": str(error), "kind": "token", "retry_at": error.retry_at}
    except RefusedError as error:
        reply = {"error": str(error), "kind": error.kind.name}
    except Exception as error:  # the other side waits for an answer
        log.exception("the question %r of another process", question["verb"])
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


def _error(reply: dict[str, Any]) -> Exception:
    """What an answer's `kind` is raised as; anything unknown is storage."""
    text, kind = reply["error"], reply["kind"]
    if kind == "cursor":
        return BadCursorError(text)
    if kind == "damaged":
        return DamagedArchiveError(text)
    if kind == "token":
        return TokenError(text, retry_at=reply["retry_at"])
    return RefusedError(text, RefusalKind[kind]) if kind in RefusalKind.__members__ else StorageError(text)

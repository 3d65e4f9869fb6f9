"""Where `mailboat queue` gets its answers: the admin API of a running relay, or the databases of a stopped one.

`Api` speaks HTTP to whatever `http.ini` names; `Offline` opens the databases, for changes under
their lock. `mailboat.cli.queue` chooses and prints.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from prometheus_client.parser import text_string_to_metric_families

from mailboat.admin.auth import TokenFile
from mailboat.admin.control import EntryJson, entry_to_json
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.model.envelope import State
from mailboat.queue.store import Selection, StateStats, Verb
from mailboat.shaping.directive import DirectiveVerb

if TYPE_CHECKING:
    from mailboat.queue.spool_set import Databases

_PAGE = 500
_TIMEOUT = 60.0
_MAX_ANSWER = 64 * 2**20


class QueueCommandError(Exception):
    """The command cannot be done: a sentence for people, and the exit code."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class NotRunningError(QueueCommandError):
    """No relay listens where the configuration says."""

    def __init__(self, where: str) -> None:
        super().__init__(f"no relay is running: nothing answers at {where}", os.EX_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Share:
    """What `queue stats` says of one state."""

    messages: int
    octets: int
    oldest_seconds: float
    """Age of the oldest; 0 when there is none."""


class Api:
    """The admin API of a running relay."""

    def __init__(self, settings: HttpSettings) -> None:
        self._listen = settings.listen
        self._token = TokenFile(settings.token_file)

    def is_running(self) -> bool:
        """Whether a listener takes a connection."""
        try:
            self._connect().close()
        except NotRunningError:
            return False
        return True

    def may_read(self) -> bool:
        """Whether it lets us see the queue: a listener that is not loopback wants a token."""
        try:
            self.show("-")  # no id
        except QueueCommandError as error:
            return error.status != os.EX_NOPERM
        return True

    def messages(self, selection: Selection) -> Iterator[EntryJson]:
        """Page by page, so that a long queue is shown as it comes."""
        query = {name: value for name, value in wanted_of(selection).items() if name != "ids"}
        after: str | None = ""
        while after is not None:
            page = self._json("GET", f"/v1/queue?{urlencode(query | {'limit': _PAGE, 'after': after})}")
            yield from page["messages"]
            after = page["next"]

    def show(self, id: str) -> list[EntryJson]:  # noqa: A002
        """The entry of this id, or those of this message."""
        try:
            found = self._json("GET", f"/v1/queue/{quote(id, safe='')}")
        except _NotFoundError:
            return []
        return list(found["messages"]) if "messages" in found else [found]

    def stats(self) -> dict[State, Share]:
        """From the relay's gauges: they cost it nothing."""
        text = self._call("GET", "/metrics")
        try:
            gauges = {
                (sample.name.removeprefix("mailboat_queue_"), sample.labels.get("state")): sample.value
                for family in text_string_to_metric_families(text.decode())
                for sample in family.samples
            }
        except ValueError:
            raise self._stranger() from None
        return {
            state: Share(
                int(gauges.get(("messages", state), 0)),
                int(gauges.get(("bytes", state), 0)),
                gauges.get(("oldest_seconds", state), 0.0),
            )
            for state in State
        }

    def change(self, verb: Verb, selection: Selection) -> int:
        """On every worker. An empty selection means everything."""
        return int(self._json("POST", f"/v1/queue/{verb}", wanted_of(selection) or {"all": True})["count"])

    def direct(self, verb: DirectiveVerb, wanted: Mapping[str, object]) -> int:
        """Bounce or reroute mail; the number of entries. It may take long: each one gets a bounce message."""
        return int(self._json("POST", f"/v1/queue/{verb}", wanted, timeout=None)["count"])

    def suspend(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """Suspend mail; the suspension."""
        return dict(self._json("POST", "/v1/suspensions", wanted))

    def resume(self, id: str) -> None:  # noqa: A002 - the field's word
        """End a suspension."""
        self._json("DELETE", f"/v1/suspensions/{quote(id, safe='')}", timeout=None)

    def suspensions(self) -> list[dict[str, Any]]:
        """Those in force."""
        return list(self._json("GET", "/v1/suspensions")["suspensions"])

    def report_tls(self, day: str) -> list[dict[str, Any]]:
        """Send the reports on TLS of past days, or of one; which."""
        return list(self._json("POST", "/v1/tlsrpt/report", {"day": day} if day else {})["reports"])

    def flush_sts(self, domain: str) -> int:
        """Forget the MTA-STS policy of a domain; the number of workers that knew of one."""
        return int(self._json("POST", "/v1/sts/flush", {"domain": domain})["count"])

    def destinations(self, by: str, sort: str, limit: int) -> list[dict[str, Any]]:
        """What waits, the first rows."""
        query = urlencode({"by": by, "sort": sort, "limit": limit})
        return list(self._json("GET", f"/v1/destinations?{query}")["destinations"])

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float | None = _TIMEOUT
    ) -> Any:
        content = self._call(method, path, body, timeout)
        try:
            return json.loads(content)
        except ValueError:
            raise self._stranger() from None

    def _stranger(self) -> QueueCommandError:
        where = ", ".join(map(str, self._listen))
        return QueueCommandError(f"the answer from {where} is not that of a relay of this release", os.EX_UNAVAILABLE)

    def connect(self) -> tuple[http.client.HTTPConnection, dict[str, str]]:
        """A connection, and the header fields that every request has."""
        connection = self._connect()
        token = self._token()
        return connection, {"Authorization": f"Bearer {token}"} if token else {}

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float | None = _TIMEOUT
    ) -> bytes:
        connection, headers = self.connect()
        connection.sock.settimeout(timeout)
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = json.dumps(body) if body is not None else None
        return answer_to(connection, lambda: connection.request(method, path, content, headers))

    def _connect(self) -> http.client.HTTPConnection:
        """To the first listener that takes the connection."""
        for endpoint in self._listen:
            connection = _connection(endpoint)
            try:
                connection.connect()
            except OSError:
                continue
            return connection
        raise NotRunningError(", ".join(map(str, self._listen)))


def answer_to(connection: http.client.HTTPConnection, ask: Callable[[], None]) -> bytes:
    """The content of the answer to a request, which `ask` sends; the connection is closed then."""
    try:
        ask()
        answer = connection.getresponse()
        content = answer.read(_MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise QueueCommandError(f"the relay did not answer: {error}", os.EX_TEMPFAIL) from None
    finally:
        connection.close()
    if answer.status >= 300:
        raise failure(answer.status, content)
    return content


def _connection(endpoint: Endpoint) -> http.client.HTTPConnection:
    # A wildcard is no destination.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(endpoint.host, endpoint.host)
    return http.client.HTTPConnection(host, endpoint.port, timeout=_TIMEOUT)


class _NotFoundError(QueueCommandError):
    pass


def failure(status: int, content: bytes) -> QueueCommandError:
    """What an answer that is no success means."""
    try:
        detail = str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"HTTP status {status}"
    if status == 404:
        return _NotFoundError(detail, 1)
    if status == 422:
        return QueueCommandError(f"the archive is refused, and nothing is imported: {detail}", os.EX_DATAERR)
    if status in (401, 403, 421):
        return QueueCommandError(f"not allowed: {detail}", os.EX_NOPERM)
    return QueueCommandError(detail, os.EX_USAGE if status < 500 else os.EX_TEMPFAIL)


def wanted_of(selection: Selection) -> dict[str, Any]:
    """The API's words for a selection: only what restricts."""
    return {name: value for name, value in {**asdict(selection), "ids": list(selection.ids)}.items() if value}


class Offline:
    """The databases of a stopped relay. Raises `StorageError`, also when there are none."""

    def __init__(self, queue_dir: str, now: Callable[[], float] = time.time, *, new: bool = False) -> None:
        """`new`: make the directory where no relay has run with it yet."""
        # A running relay's queue needs no database here, and `queue` shall start quickly.
        from mailboat.queue.lock import make_directory  # noqa: PLC0415
        from mailboat.queue.offline import OfflineQueue  # noqa: PLC0415

        if new:
            make_directory(Path(queue_dir).absolute())
        self._queue = OfflineQueue(queue_dir)
        self.queue_dir = queue_dir
        self._now = now

    def messages(self, selection: Selection) -> Iterator[EntryJson]:
        """As they are read."""
        return map(entry_to_json, self._queue.entries(selection))

    def show(self, id: str) -> list[EntryJson]:  # noqa: A002
        """The entry of this id, or those of this message."""
        return [entry_to_json(entry) for entry in self._queue.get(id)]

    def change(self, verb: Verb, selection: Selection) -> int:
        """While no relay has the queue open."""
        return asyncio.run(self._change(verb, selection))

    async def _change(self, verb: Verb, selection: Selection) -> int:
        store = await open_offline(self.queue_dir)
        try:
            return await store.change(verb, selection)
        finally:
            await store.close()

    def stats(self) -> dict[State, Share]:
        """As the databases say."""
        found = self._queue.stats()
        return {state: _share(found.get(state, StateStats()), self._now()) for state in State}


async def open_offline(queue_dir: str) -> Databases:
    """The queue of a stopped relay, to change it; close it. Raises QueueInUse where a relay runs after all."""
    from mailboat.model.clock import SystemClock  # noqa: PLC0415
    from mailboat.model.observer import Observer  # noqa: PLC0415
    from mailboat.queue.opening import open_store  # noqa: PLC0415

    # As one worker, which adopts the databases of all others.
    return await open_store(queue_dir, 0, 1, SystemClock(), Observer())


def _share(stats: StateStats, now: float) -> Share:
    return Share(stats.messages, stats.size, 0.0 if stats.oldest is None else max(0.0, now - stats.oldest))

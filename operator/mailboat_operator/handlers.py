"""Watching, with kopf. Events go into `watch_cache`, and the keys of the affected resources into the queue.

Nothing here makes kopf write: no handler of it keeps state, so it sets neither annotations nor finalizers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import kopf
from kubernetes.aio.client import Configuration

from mailboat_operator import names
from mailboat_operator.metrics import Metrics
from mailboat_operator.observed import ObjectKey
from mailboat_operator.watch_cache import WatchCache

_WATCHED = {
    names.KIND: (names.GROUP, names.VERSION, names.PLURAL),
    names.SENDING_KIND: (names.GROUP, names.VERSION, names.SENDING_PLURAL),
    # Without a selector, because objects that users refer to have no label of the operator; the cache keeps little of
    # them.
    "ConfigMap": ("", "v1", "configmaps"),
    "Secret": ("", "v1", "secrets"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
}
_NO_RELEASES = "type!=helm.sh/release.v1"
"""Field selector: Helm keeps megabytes in Secrets that no resource refers to."""


class _Forever:
    """An endless back-off: an API server that is unreachable for an hour must not end the operator."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0, 3.0)
        while True:
            yield 5.0


class _NoDiffBase(kopf.DiffBaseStorage):
    """Stores no last-handled state: for it kopf would deep-copy each object, a quarter of all work."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return {}

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nowhere."""


def settings() -> kopf.OperatorSettings:
    """kopf's settings, without unused features."""
    wanted = kopf.OperatorSettings()
    wanted.peering.standalone = True  # the Lease decides which replica is active
    wanted.scanning.disabled = True
    wanted.posting.enabled = False
    wanted.persistence.finalizer = f"{names.GROUP}/operator"  # never set; if it were, with the operator's name
    wanted.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"operator.{names.GROUP}")
    wanted.persistence.diffbase_storage = _NoDiffBase()
    wanted.process.ultimate_exiting_timeout = None
    wanted.watching.server_timeout = 300
    wanted.watching.connect_timeout = 10
    wanted.watching.chunk_size = 250
    wanted.watching.field_selectors["", "v1", "secrets"] = _NO_RELEASES
    wanted.networking.request_timeout = 30
    wanted.networking.connect_timeout = 10
    wanted.networking.error_backoffs = _Forever()
    wanted.queueing.idle_timeout = 0.2  # kopf has a worker for each object: they should not accumulate
    wanted.queueing.exit_timeout = 0.5
    return wanted


@dataclass(frozen=True, slots=True)
class WatchEvents:
    """The receivers of watch events."""

    cache: WatchCache
    add: Callable[[ObjectKey], None]
    """Queues a resource."""
    relisted: Callable[[], None]
    """A watch restarted with a list: no event reports deletions in between."""
    metrics: Metrics


def registry(
    watch_events: WatchEvents, configuration: Callable[[], Awaitable[Configuration]], *, signs: bool
) -> kopf.OperatorRegistry:
    """The handlers. `configuration` has the credentials; `signs`: the API server knows SendingDomains."""
    handlers = kopf.OperatorRegistry()
    for kind, (group, version, plural) in _WATCHED.items():
        if kind == names.SENDING_KIND and not signs:
            continue
        kopf.on.event(group, version, plural, registry=handlers, id=plural)(_watcher(kind, watch_events))

    listed: set[str] = set()

    async def login(**_: Any) -> kopf.AiohttpSession:
        return session(connection(await configuration()), listed, watch_events.relisted)

    kopf.on.login(registry=handlers)(login)
    return handlers


def _watcher(kind: str, watch_events: WatchEvents) -> Any:
    counter = watch_events.metrics.events.labels(kind)

    async def watched(event: Any, **_: Any) -> None:
        counter.inc()
        for key in watch_events.cache.watched(kind, event["object"], event["type"]):
            watch_events.add(key)

    return watched


def session(info: kopf.ConnectionInfo, listed: set[str], relisted: Callable[[], None]) -> kopf.AiohttpSession:
    """kopf's own session, which also calls `relisted` when a watch restarts, because kopf reports objects only.

    `listed` collects the path of each list: the first list of each path is the start, whatever session asks for it.
    """

    async def requested(_: object, __: object, request: aiohttp.TraceRequestStartParams) -> None:
        query = request.url.query
        if request.method != "GET" or "limit" not in query or "continue" in query:
            return  # not the first page of a list
        if request.url.path in listed:
            relisted()
        listed.add(request.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(requested)
    connector = aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context())
    own = aiohttp.ClientSession(connector=connector, headers=info.as_http_headers(), trace_configs=[trace])
    return kopf.AiohttpSession(server=info.server, aiohttp_session=own)


def connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The official client's configuration as kopf wants it."""
    scheme, _, token = configuration.api_key.get("BearerToken", "").partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme.capitalize() or None,
        token=token.strip() or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def quiet() -> None:
    """kopf logs each event that it has handled."""
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.WARNING)

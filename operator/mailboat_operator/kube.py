"""Calls of the Kubernetes API: JSON in, JSON out, and one kind of error. Used by `observe`, `apply`, `lease`, `events`.

The official client provides configuration, credentials and connections; bodies are plain dictionaries, because typed
models of a thousand ConfigMaps are expensive. Knows no OutboundConfig.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from mailboat_operator.metrics import Metrics

log = logging.getLogger(__name__)

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_TIMEOUT = 30.0
"""Timeout of a call in seconds."""
_CONNECT_TIMEOUT = 5.0
_PAGE = 250
"""Objects in one page of a list: large pages cause memory peaks."""
_THROTTLED_TRIES = 4
_THROTTLED_MAX = 10.0
"""Longest wait in seconds for a busy server within a call; longer ones are left to the queue."""

_PERMANENT = frozenset({400, 403, 405, 413, 415, 422})


class ApiError(Exception):
    """The API server refused a call, or did not answer (`status` 0)."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds to wait, by Retry-After."""

    @property
    def permanent(self) -> bool:
        """Whether retrying the same call is useless."""
        return self.status in _PERMANENT


async def load_configuration() -> Configuration:
    """The API server and credentials: KUBECONFIG, else the pod's service account, else ~/.kube/config.

    Raises kubernetes' ConfigException, or OSError, if there is none of them.
    """
    configuration: Configuration = type.__call__(Configuration)  # not the default stored by the class
    if not os.environ.get("KUBECONFIG") and os.path.exists(_SERVICE_ACCOUNT):  # noqa: ASYNC240, PTH110 - a small file
        config.load_incluster_config(client_configuration=configuration)
    else:
        await config.load_kube_config(client_configuration=configuration)
    # Else each call looks for a netrc file in two threads. A proxy can be given in the kubeconfig.
    configuration.client_session_kwargs = {"trust_env": False}
    return configuration


@dataclass(frozen=True, slots=True)
class _Content:
    """The headers and options of a request."""

    body: Mapping[str, Any] | None
    kind: str = JSON


class Kube:
    """One API server, for any number of tasks."""

    def __init__(self, configuration: Configuration, metrics: Metrics) -> None:
        self._client = ApiClient(configuration)
        self._metrics = metrics
        self.may_write: Callable[[], float] = lambda: _TIMEOUT
        """Seconds that a write may take from now; raises if this process must not write any more."""
        self.reachable = True
        """Whether the last call was answered."""
        self.recovered: Callable[[], None] = lambda: None
        """Called when calls are answered again."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, path: str) -> dict[str, Any] | None:
        """One object; None if it does not exist."""
        try:
            return await self.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def pages(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """A list, page by page. ApiError 410 if it takes so long that the continue token has expired."""
        following = ""
        while True:
            page = await self.call("GET", path, {**query, "limit": str(_PAGE), "continue": following})
            yield page
            following = page["metadata"].get("continue") or ""
            if not following:
                return

    async def write(
        self, method: str, path: str, body: Mapping[str, Any], kind: str = JSON, **query: str
    ) -> dict[str, Any]:
        """Make a write, if and as long as this process may write."""
        return await self._call(method, _url(path, query), _Content(body, kind), self.may_write)

    async def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One call; retried if the server is busy, any other failure is an ApiError."""
        return await self._call(method, _url(path, query), _Content(body), lambda: _TIMEOUT)

    async def _call(self, method: str, path: str, content: _Content, most: Callable[[], float]) -> dict[str, Any]:
        """`most` returns the timeout in seconds, before each try."""
        for tries in range(1, _THROTTLED_TRIES + 1):
            status, retry_after, answer = await self._once(method, path, content, min(_TIMEOUT, most()))
            if status < 300:
                parsed: dict[str, Any] = orjson.loads(answer)
                return parsed
            if status != 429 or retry_after > _THROTTLED_MAX or tries == _THROTTLED_TRIES:
                break
            await asyncio.sleep(max(retry_after, 0.1))
        raise ApiError(status, f"{method} {path.partition('?')[0]}: {status} {_message(answer)}", retry_after)

    async def _once(self, method: str, path: str, sent: _Content, seconds: float) -> tuple[int, float, bytes]:
        url = f"{self._client.configuration.host}{path}"
        headers = {"Accept": JSON, "Content-Type": sent.kind}
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(_CONNECT_TIMEOUT, seconds))
        try:
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], url, method, sent.body)
            answer = await self._client.call_api(method, url, headers, sent.body, _request_timeout=timeout)
            content: bytes = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._metrics.requests.labels("<error>", method).inc()
            self.reachable = False
            raise ApiError(0, f"the API server does not answer: {error or type(error).__name__}") from error
        self._metrics.requests.labels(str(answer.status), method).inc()
        if not self.reachable:
            self.reachable = True
            self.recovered()
        return answer.status, _seconds(answer.getheader("Retry-After")), content


def _url(path: str, query: Mapping[str, str] | None) -> str:
    words = {key: value for key, value in (query or {}).items() if value}
    return path + (f"?{urlencode(words)}" if words else "")


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0  # a date; the queue's back-off is used


def _message(answer: bytes) -> str:
    try:
        said = orjson.loads(answer)
    except ValueError:
        return "(no message)"
    return str(said.get("message", "")) if isinstance(said, dict) else "(no message)"


def core(namespace: str, plural: str, name: str = "") -> str:
    """The path of an object of the core group, or of all in a namespace, or (with an empty one) of all there are."""
    return _path("/api/v1", namespace, plural, name)


def group(api: str, namespace: str, plural: str, name: str = "") -> str:
    """The same of another group, such as `apps/v1`."""
    return _path(f"/apis/{api}", namespace, plural, name)


def _path(base: str, namespace: str, plural: str, name: str) -> str:
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{base}{where}/{plural}" + (f"/{quote(name, safe='')}" if name else "")

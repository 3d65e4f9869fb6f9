"""Talks to relay pods over their admin listener: which configuration they run, and please flush. Called by `observe`.

A pod may be slow, gone, or not what it seems: whatever it answers becomes a short text or nothing, in a few seconds.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import orjson

from mailboat_operator.observed import PodState

_TIMEOUT = aiohttp.ClientTimeout(total=3)
_ANSWER_MAX = 4 * 2**20
"""Octets; a page of metrics has some hundred thousand."""
_OLDEST = re.compile(rb"^mailboat_queue_oldest_seconds\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)
_TEXT_MAX = 300
"""Characters of what a pod says that are repeated."""
_WARNINGS_MAX = 4
_CONNECTIONS = 64
_FLUSH_TIMEOUT = aiohttp.ClientTimeout(total=20)
"""A long queue takes a while."""


@dataclass(frozen=True, slots=True)
class Pod:
    """Where a relay is."""

    name: str
    address: str
    port: int
    ready: bool
    image_id: str = ""

    def url(self, path: str) -> str:
        """Of its admin listener."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}{path}"


class Relays:
    """The client."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, pod: Pod) -> PodState:
        """What it says at `/configz`; a pod that is not ready is not asked."""
        state = PodState(pod.name, pod.ready, address=pod.address, image_id=pod.image_id)
        if not pod.ready:
            return state
        try:
            said = orjson.loads(await self._read("GET", pod.url("/configz"), _TIMEOUT))
            if not isinstance(said, dict):
                return replace(state, silence="its answer is not that of a relay")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return replace(state, silence=f"does not answer: {_text(str(error) or 'in time')}")
        return replace(
            state,
            hash=_text(said.get("hash")),
            error=_text(said.get("error")),
            warnings=_texts(said.get("warnings")),
            # A relay that does not tell them apart warns of nothing else.
            unbound=_texts(said.get("unbound", said.get("warnings"))),
            dane=_text(said.get("dane")),
        )

    async def oldest(self, pod: Pod) -> float | None:
        """Seconds that the oldest mail in its queue has waited, 0 without any; None: it does not say."""
        try:
            page = await self._read("GET", pod.url("/metrics"), _TIMEOUT)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        ages = [float(age) for age in _OLDEST.findall(page)]
        return max(ages) if ages else None

    async def flush(self, pods: tuple[Pod, ...], token: str) -> dict[str, str]:
        """Have every ready pod attempt its deferred mail now; by pod what went wrong, empty where nothing did."""
        ready = [pod for pod in pods if pod.ready]
        results = await asyncio.gather(*(self._flush(pod, token) for pod in ready))
        return {pod.name: result for pod, result in zip(ready, results, strict=True)}

    async def _flush(self, pod: Pod, token: str) -> str:
        try:
            await self._read("POST", pod.url("/v1/queue/flush"), _FLUSH_TIMEOUT, token)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return _text(str(error) or "no answer in time")
        return ""

    async def _read(self, method: str, url: str, timeout: aiohttp.ClientTimeout, token: str = "") -> bytes:
        if self._session is None:
            # Pods are not reached through a proxy, whatever the environment says.
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body: Any = {} if method == "POST" else None
        async with self._session.request(
            method, url, headers=headers, json=body, timeout=timeout, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                raise aiohttp.ClientError(f"it answers {answer.status}")
            content = b""
            async for chunk in answer.content.iter_any():
                content += chunk
                if len(content) > _ANSWER_MAX:
                    raise aiohttp.ClientError("its answer does not end")
            return content


def _texts(values: object) -> tuple[str, ...]:
    """The first lines of a foreign list."""
    return tuple(map(_text, values[:_WARNINGS_MAX])) if isinstance(values, list) else ()


def _text(value: object) -> str:
    """Foreign text as a short line."""
    if not isinstance(value, str):
        return ""
    line = "".join(char if char.isprintable() else " " for char in value)
    return line if len(line) <= _TEXT_MAX else f"{line[:_TEXT_MAX]}…"

"""An API server in this process, as far as SendingDomains need one: objects by path, versions, and what is refused.

What it does not know of the real one (schemas, field managers, lists) no test with it is about.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from mailboat_operator.kube import JSON, MERGE, ApiError, Kube

Rule = Callable[[str, str], int | None]
"""Method and path -> the status of a refusal; 0: no answer. None: what it would do by itself."""


class MemoryApi(Kube):
    """The calls that `observe`, `apply` and `sending_apply` make."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        """By path."""
        self.rule: Rule = lambda _method, _path: None
        self.lost: Rule = lambda _method, _path: None
        """The same for the answers to writes that took effect."""
        self.writes: list[tuple[str, str]] = []
        """Method and path of those that took effect."""
        self._numbers = itertools.count(1)

    async def get(self, path: str) -> dict[str, Any] | None:
        """One object."""
        self._refuse(self.rule, "GET", path)
        return self.objects.get(path)

    async def pages(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """No list has anything in it."""
        self._refuse(self.rule, "GET", path)
        yield {"items": []}

    async def write(
        self, method: str, path: str, body: Mapping[str, Any], kind: str = JSON, **query: str
    ) -> dict[str, Any]:
        """POST creates; PATCH changes under the uid and version that it has, or makes what is not there."""
        self._refuse(self.rule, method, path)
        place = f"{path}/{body['metadata']['name']}" if method == "POST" else path.removesuffix("/status")
        known = self.objects.get(place)
        if method == "POST" and known is not None:
            raise ApiError(409, f"{place} already exists")
        if known is None and (kind == MERGE or path.endswith("/status")):
            raise ApiError(404, f"{place} not found")
        if known is not None and any(
            known["metadata"][name] != body["metadata"].get(name, known["metadata"][name])
            for name in ("uid", "resourceVersion")
        ):
            raise ApiError(409, f"{place} is another or has changed")
        self.writes.append((method, path))
        answer = self.put(place, _merged(known or {}, body))
        self._refuse(self.lost, method, path)
        return answer

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Somebody writes an object; it as it is now."""
        number = next(self._numbers)
        metadata = {"uid": f"uid-{number}"} | dict(body["metadata"]) | {"resourceVersion": str(number)}
        self.objects[path] = found = {**body, "metadata": metadata}
        return found

    @staticmethod
    def _refuse(rule: Rule, method: str, path: str) -> None:
        status = rule(method, path)
        if status is not None:
            raise ApiError(status, f"{method} {path}: injected {status}")


def _merged(known: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396 for what is no status, which is written whole."""
    merged = dict(known)
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping) and name != "status":
            merged[name] = _merged(merged.get(name) or {}, value)
        else:
            merged[name] = value
    return merged

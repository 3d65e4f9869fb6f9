"""Lists everything at the start and at each resync, because watches may miss changes. Used by `app`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mailboat_operator import names
from mailboat_operator.kube import ApiError, Kube, core, group
from mailboat_operator.observed import ObjectKey
from mailboat_operator.watch_cache import DELETED, WatchCache

log = logging.getLogger(__name__)

MANAGED = f"{names.MANAGED_BY}={names.FIELD_MANAGER}"
_WAIT_FOR_CRD = 2.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of objects to list."""

    name: str
    path: Callable[[str], str]
    """Of a namespace, or of all for an empty one."""
    selector: str = ""


_KINDS = (
    # Children first: otherwise a resource would try to create existing children.
    _Kind("ConfigMap", lambda namespace: core(namespace, "configmaps"), MANAGED),
    _Kind("Secret", lambda namespace: core(namespace, "secrets"), MANAGED),
    _Kind("StatefulSet", lambda namespace: group("apps/v1", namespace, "statefulsets")),
    # Before OutboundConfigs, which render the keys of these.
    _Kind(names.SENDING_KIND, lambda namespace: group(names.API_VERSION, namespace, names.SENDING_PLURAL)),
    _Kind(names.KIND, lambda namespace: group(names.API_VERSION, namespace, names.PLURAL)),
)


class Lister:
    """Lists what concerns the operator in its namespaces."""

    def __init__(self, kube: Kube, cache: WatchCache, namespaces: Sequence[str]) -> None:
        """`namespaces`: none for all there are."""
        self._kube = kube
        self._cache = cache
        self._namespaces = namespaces
        self.signs = False
        """Whether the API server knows SendingDomains: a chart of before leaves its CRDs as they are at an upgrade."""

    async def wait_for_crd(self) -> None:
        """Wait until the API server knows OutboundConfigs: the operator may start before its CRD is ready."""
        while True:
            try:
                found = await self._kube.get(f"/apis/{names.API_VERSION}")
                plurals = {resource["name"] for resource in (found or {}).get("resources", ())}
                if names.PLURAL in plurals:
                    self.signs = names.SENDING_PLURAL in plurals
                    if not self.signs:
                        log.warning("no %s: apply its CustomResourceDefinition and restart", names.SENDING_KIND)
                    return
                log.warning("the CustomResourceDefinition of %s does not exist yet", names.KIND)
            except ApiError as error:
                log.warning("%s", error)
            await asyncio.sleep(_WAIT_FOR_CRD)

    async def refresh(self, changed: set[ObjectKey]) -> None:
        """List all objects into the cache.

        The resources affected by changes are added to `changed`, even if ApiError is raised half-way.
        """
        for kind in _KINDS:
            if kind.name == names.SENDING_KIND and not self.signs:
                continue
            for namespace in self._namespaces or ("",):
                await self._list(kind, namespace, changed)

    async def _list(self, kind: _Kind, namespace: str, changed: set[ObjectKey]) -> None:
        listed: set[tuple[str, str]] = set()
        version = ""
        async for page in self._pages(kind, namespace):
            version = page["metadata"]["resourceVersion"]
            for body in page["items"]:
                listed.add((body["metadata"]["namespace"], body["metadata"]["name"]))
                changed |= self._cache.put(kind.name, body)
        for body in self._cache.unlisted(kind.name, listed, namespace, version):
            changed |= self._cache.put(kind.name, body, DELETED)

    def _pages(self, kind: _Kind, namespace: str) -> AsyncIterator[dict[str, Any]]:
        return self._kube.pages(kind.path(namespace), labelSelector=kind.selector)

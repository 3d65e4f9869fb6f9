"""The only reader of the API for one reconciliation: combines the watch cache with calls of the API.

Referenced Secrets are read each time and never kept. Called by `reconcile`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from mailboat_operator import names
from mailboat_operator.desired.children import possible
from mailboat_operator.kube import Kube, core
from mailboat_operator.observed import ChildKey, LiveChild, ObjectKey, Observed, PodState, SourceObject
from mailboat_operator.polling import PodPoller
from mailboat_operator.references import Reference, SourceKind
from mailboat_operator.relay_views import RelayViews
from mailboat_operator.relays import Pod, Relays
from mailboat_operator.sending.keys import RelayReport
from mailboat_operator.spec import Spec, parse
from mailboat_operator.watch_cache import LiveWorkload, WatchCache, content

PLURALS = {SourceKind.SECRET: "secrets", SourceKind.CONFIG_MAP: "configmaps"}


class ClusterObserver:
    """Gathers the input of one reconciliation."""

    def __init__(self, kube: Kube, cache: WatchCache, relays: Relays, poller: PodPoller, views: RelayViews) -> None:
        self._kube = kube
        self._views = views
        self._cache = cache
        self._relays = relays
        self._poller = poller

    async def gather(self, key: ObjectKey, resource: Mapping[str, Any], spec: Spec | None) -> Observed:
        """Everything about a resource; without its spec, only its children. May raise ApiError."""
        self._poller.follow(key, {})  # until `ask` knows the pods
        children = self._cache.children(key, possible(key.name))
        if spec is None:
            return Observed(key, resource, children, {})
        wanted = dict.fromkeys(ref.source for ref in spec.references())
        places = [(kind.value, name) for kind, name in wanted]
        # First, so that a change during the reads is not lost.
        self._cache.refer(key, [*places, *([("StatefulSet", spec.target)] if spec.target else [])])
        found = await asyncio.gather(*(self.source(key, kind, name) for kind, name in wanted))
        live = self._cache.workload(key.namespace, spec.target) if spec.target else None
        return Observed(
            key,
            resource,
            children,
            dict(zip(wanted, found, strict=True)),
            self._hash_key(key, children),
            live.workload if live else None,
            self._cache.rival(key),
            self._cache.signing.signed(key),
        )

    async def source(self, key: ObjectKey, kind: SourceKind, name: str) -> SourceObject | None:
        """One Secret or ConfigMap."""
        body = await self._kube.get(core(key.namespace, PLURALS[kind], name)) if name else None
        version = body["metadata"]["resourceVersion"] if body else ""
        self._cache.saw(kind.value, key.namespace, name, version)
        if body is None:
            return None
        allowed = (body["metadata"].get("labels") or {}).get(names.ALLOW) == names.ALLOWED
        return SourceObject(content(kind, body), allowed)

    def _hash_key(self, key: ObjectKey, children: Mapping[ChildKey, LiveChild]) -> bytes:
        """The key in `<name>-credentials`, so that replicas and restarts agree; if it was deleted, the last one."""
        live = children.get(ChildKey(SourceKind.SECRET, key.name + names.CREDENTIALS))
        there = live.hash_key if live else b""
        found = there or self._cache.hash_keys.get(key) or secrets.token_bytes(names.HASH_KEY_SIZE)
        self._cache.hash_keys[key] = found
        return found

    async def ask(self, key: ObjectKey, spec: Spec) -> tuple[PodState, ...]:
        """The configuration reported by the pods of the workload, which are polled for changes from now on."""
        pods = await self.pods(key, spec)
        states = await asyncio.gather(*map(self._relays.ask, pods))
        self._poller.follow(key, dict(zip(pods, states, strict=True)))
        live = self._cache.workload(key.namespace, spec.target) if spec.target else None
        self._views.asked(key, states, live.workload.replicas if live else 0)
        return tuple(states)

    def rendered(self, observed: Observed, hash_: str, longest_wait: float) -> None:
        """Remember which keys a pod has that reports this hash."""
        self._views.rendered(observed.key, hash_, observed.domains, longest_wait)

    def report(self, relay: ObjectKey, domain: str, hashes: Mapping[str, str]) -> RelayReport:
        """What the pods of an OutboundConfig do with keys of a domain (hash by selector), as far as they were asked."""
        return self._views.report(relay, domain, hashes)

    async def sources(
        self, key: ObjectKey, references: Iterable[Reference]
    ) -> dict[tuple[SourceKind, str], SourceObject | None]:
        """The objects that a resource refers to. From now on, their changes concern it. May raise ApiError."""
        wanted = dict.fromkeys(ref.source for ref in references)
        self._cache.refer(key, [(kind.value, name) for kind, name in wanted])
        found = await asyncio.gather(*(self.source(key, kind, name) for kind, name in wanted))
        return dict(zip(wanted, found, strict=True))

    async def oldest_queued(self, relay: ObjectKey) -> float | None:
        """Seconds that the oldest mail in a queue of an OutboundConfig's pods has waited; None: a pod does not say."""
        resource = self._cache.resources.get(relay)
        spec, _ = parse(resource) if resource else (None, ())
        pods = await self.pods(relay, spec) if spec else ()
        ages = await asyncio.gather(*(self._relays.oldest(pod) for pod in pods))
        return max((age for age in ages if age is not None), default=None) if None not in ages else None

    def forget(self, key: ObjectKey) -> None:
        """A resource was deleted: stop polling its pods."""
        self._poller.follow(key, {})
        self._views.forget(key)

    async def flush(self, key: ObjectKey, spec: Spec, token: str) -> dict[str, str]:
        """Ask the pods of the workload to attempt their deferred mail; returns the error of each pod."""
        return await self._relays.flush(await self.pods(key, spec), token)

    async def pods(self, key: ObjectKey, spec: Spec) -> tuple[Pod, ...]:
        """The pods of the workload, from the API server's cache."""
        live = self._cache.workload(key.namespace, spec.target) if spec.target else None
        if live is None:
            return ()
        found = []
        query = {"labelSelector": live.selector, "resourceVersion": "0"}
        async for page in self._kube.pages(core(key.namespace, "pods"), **query):
            found += [_pod(body) for body in page["items"] if _belongs(body, live)]
        return tuple(sorted(found, key=lambda pod: pod.name))


def _belongs(body: Mapping[str, Any], live: LiveWorkload) -> bool:
    metadata = body["metadata"]
    owned = any(owner.get("uid") == live.uid for owner in metadata.get("ownerReferences") or ())
    return owned and not metadata.get("deletionTimestamp")


def _pod(body: Mapping[str, Any]) -> Pod:
    status = body.get("status") or {}
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
    containers = (body.get("spec") or {}).get("containers") or ()
    ports = [
        (container["name"], port["containerPort"])
        for container in containers
        for port in container.get("ports") or ()
        if port.get("name") == names.ADMIN_PORT_NAME
    ]
    relay, port = next(iter(ports), (containers[0]["name"] if containers else "", names.ADMIN_PORT))
    images = {container["name"]: container.get("imageID", "") for container in status.get("containerStatuses") or ()}
    address = status.get("podIP", "")
    return Pod(body["metadata"]["name"], address, port, ready=ready and bool(address), image_id=images.get(relay, ""))

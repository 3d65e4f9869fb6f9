"""The only writer of the API: executes a plan, and writes the status. Called by `reconcile`.

A missing child is created, which the API server refuses if it exists; an existing one is written by server-side apply
under its uid. So neither can change an object of another owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailboat_operator import names
from mailboat_operator.desired.children import Child
from mailboat_operator.kube import APPLY, MERGE, ApiError, Kube, core, group
from mailboat_operator.observe import PLURALS
from mailboat_operator.observed import ChildKey, ObjectKey
from mailboat_operator.plan import Action, Create, Delete, Stamp, Update
from mailboat_operator.watch_cache import WatchCache, content

_OURS = {"fieldManager": names.FIELD_MANAGER}
_FORCED = {**_OURS, "force": "true"}


class Applier:
    """Writes."""

    def __init__(self, kube: Kube, cache: WatchCache) -> None:
        self._kube = kube
        self._cache = cache

    async def execute(self, key: ObjectKey, action: Action) -> None:
        """Execute an action. ApiError if it was refused; the cache then has the present child."""
        match action:
            case Create(child):
                await self._child(child, self._create(child))
            case Update(child, uid):
                await self._child(child, self._update(child, uid))
            case Delete(child_key, uid):
                await self._delete(key, child_key, uid)
            case Stamp(workload, hash_):
                await self._stamp(key, workload, hash_)

    async def status(self, key: ObjectKey, uid: str, status: Mapping[str, Any]) -> None:
        """Write the status; ignored if the resource was deleted."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": key.kind,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "status": status,
        }
        path = group(names.API_VERSION, key.namespace, names.PLURALS[key.kind], key.name)
        try:
            answer = await self._kube.write("PATCH", f"{path}/status", body, APPLY, **_FORCED)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        self._cache.wrote(key.kind, answer, by=key)

    async def _child(self, child: Child, writing: Any) -> None:
        try:
            answer = await writing
        except ApiError as error:
            if error.status in (404, 409):
                # Created, deleted or replaced by another writer: read it for the retry.
                await self.look(child.owner, child.key)
            raise
        self._cache.wrote(child.key.kind.value, answer)

    async def _create(self, child: Child) -> dict[str, Any]:
        path = core(child.owner.namespace, PLURALS[child.key.kind])
        return await self._kube.write("POST", path, child.manifest(), **_OURS)

    async def _update(self, child: Child, uid: str) -> dict[str, Any]:
        path = core(child.owner.namespace, PLURALS[child.key.kind], child.key.name)
        answer = await self._kube.write("PATCH", path, child.manifest(uid), APPLY, **_FORCED)
        # Apply keeps fields of other managers: remove keys that the relay must not see, and foreign owners.
        strangers = content(child.key.kind, answer).keys() - child.data.keys()
        owners = (answer["metadata"].get("ownerReferences") or []) != [dict(child.owner_reference)]
        if not strangers and not owners:
            return answer
        manifest = child.manifest(uid)
        patch = {
            "metadata": {"uid": uid, "ownerReferences": manifest["metadata"]["ownerReferences"]},
            "data": dict.fromkeys(strangers) | manifest["data"],
        }
        if child.key.kind.value == "ConfigMap":
            patch["binaryData"] = None
        return await self._kube.write("PATCH", path, patch, MERGE, **_OURS)

    async def _delete(self, key: ObjectKey, child: ChildKey, uid: str) -> None:
        path = core(key.namespace, PLURALS[child.kind], child.name)
        try:
            await self._kube.write("DELETE", path, {"preconditions": {"uid": uid}})
        except ApiError as error:
            if error.status != 404:
                await self.look(key, child)
                raise
        self._cache.removed(key, child)

    async def look(self, key: ObjectKey, child: ChildKey) -> None:
        """Read a child again: what is known of it was not so."""
        body = await self._kube.get(core(key.namespace, PLURALS[child.kind], child.name))
        if body is None:
            self._cache.removed(key, child)
        else:
            self._cache.put(child.kind.value, body)

    async def _stamp(self, key: ObjectKey, workload: str, hash_: str) -> None:
        """Without force: no other writer uses this annotation."""
        body = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": workload, "namespace": key.namespace},
            "spec": {"template": {"metadata": {"annotations": {names.HASH: hash_}}}},
        }
        path = group("apps/v1", key.namespace, "statefulsets", workload)
        self._cache.put("StatefulSet", await self._kube.write("PATCH", path, body, APPLY, **_OURS))

"""Writes the children of SendingDomains: the Secret with their keys, and the DNSEndpoint, for `sending_reconcile`.

A key that is there is never written over: a Secret is created, which is refused where there is one, or changed under
the version that was read.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from mailboat_operator import names
from mailboat_operator.apply import Applier
from mailboat_operator.desired.children import owner_reference
from mailboat_operator.desired.endpoint import API, KIND, PLURAL
from mailboat_operator.kube import APPLY, MERGE, ApiError, Kube, core, group
from mailboat_operator.observed import ChildKey, LiveChild, ObjectKey, live_child
from mailboat_operator.references import SourceKind
from mailboat_operator.watch_cache import WatchCache, content

_OURS = {"fieldManager": names.FIELD_MANAGER}
_FORCED = {**_OURS, "force": "true"}


class ForeignChildError(Exception):
    """An object with a child's name belongs to somebody else; the message names it."""


class SendingApplier:
    """Writes."""

    def __init__(self, kube: Kube, cache: WatchCache, applier: Applier) -> None:
        self._kube = kube
        self._cache = cache
        self._applier = applier

    async def status(self, key: ObjectKey, uid: str, status: Mapping[str, Any]) -> None:
        """Write the status; nothing happens when the resource is gone."""
        await self._applier.status(key, uid, status)

    async def keys(
        self, key: ObjectKey, owner: str, live: LiveChild | None, changes: Mapping[str, bytes | None]
    ) -> LiveChild:
        """Add keys to the Secret of a SendingDomain, and take out those that are None; the Secret as it is then.

        `live` is the one that this is meant for; None: there is none yet. `owner` is the uid of the SendingDomain that
        the Secret is to go with; empty: it stays. Raises ApiError, with status 409 where there is another Secret.
        """
        child = ChildKey(SourceKind.SECRET, key.name + names.DKIM)
        data = {
            name: base64.b64encode(octets).decode() if octets is not None else None for name, octets in changes.items()
        }
        manifest: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(key, child.name, owner)}
        try:
            if live is None:
                body = manifest | {"type": "Opaque", "data": {name: text for name, text in data.items() if text}}
                answer = await self._kube.write("POST", core(key.namespace, "secrets"), body, **_OURS)
            else:
                manifest["metadata"] |= {"uid": live.uid, "resourceVersion": live.version}
                path = core(key.namespace, "secrets", child.name)
                answer = await self._kube.write("PATCH", path, manifest | {"data": data}, MERGE, **_OURS)
        except ApiError as error:
            if error.status in (404, 409):
                await self._applier.look(key, child)
            raise
        self._cache.wrote("Secret", answer, by=key)
        return live_child(SourceKind.SECRET, answer, content(SourceKind.SECRET, answer))

    async def endpoint(self, key: ObjectKey, owner: str, wanted: Mapping[str, Any]) -> str:
        """Have a DNSEndpoint say what is `wanted`. Why that is not possible, or an empty text.

        Raises ForeignChildError.
        """
        try:
            await self._endpoint(key, owner, wanted)
        except ApiError as error:
            if error.status == 404:
                return "the API server knows no DNSEndpoints"
            if error.status == 403:
                return "the operator may not write DNSEndpoints (rbac.dnsEndpoints of its chart)"
            raise
        return ""

    async def _endpoint(self, key: ObjectKey, owner: str, wanted: Mapping[str, Any]) -> None:
        name = key.name + names.DKIM
        path = group(API, key.namespace, PLURAL)
        live = await self._kube.get(f"{path}/{name}")
        if live is not None:
            labels = live["metadata"].get("labels") or {}
            if labels.get(names.SENDING_OWNER) != key.name or labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
                raise ForeignChildError(f"DNSEndpoint {name}")
        metadata = _metadata(key, name, owner)
        metadata["labels"] = dict(wanted["labels"]) | metadata["labels"]
        metadata["annotations"] = dict(wanted["annotations"])
        body = {"apiVersion": API, "kind": KIND, "metadata": metadata, "spec": wanted["spec"]}
        if live is None or not _holds(live, body):
            await self._kube.write("PATCH", f"{path}/{name}", body, APPLY, **_FORCED)


def _metadata(key: ObjectKey, name: str, owner: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": key.namespace,
        "labels": {names.MANAGED_BY: names.FIELD_MANAGER, names.SENDING_OWNER: key.name},
        "ownerReferences": [owner_reference(key, owner)] if owner else [],
    }


def _holds(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an object says already what it should."""
    there, given = live["metadata"], wanted["metadata"]
    return bool(
        live.get("spec") == wanted["spec"]
        and (there.get("labels") or {}).items() >= given["labels"].items()
        and (there.get("annotations") or {}).items() >= given["annotations"].items()
        and (there.get("ownerReferences") or []) == given["ownerReferences"]
    )

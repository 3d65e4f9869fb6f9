"""The observed state of one OutboundConfig: the resource, its children, its sources, its relays. Pure.

Made by `observe`, used by `checks`, `plan` and `status`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mailboat_operator import names
from mailboat_operator.references import SourceKind
from mailboat_operator.sending.signed import SignedDomain


class ObjectKey(NamedTuple):
    """Names one OutboundConfig, or a resource of another `kind`."""

    namespace: str
    name: str
    kind: str = names.KIND

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ChildKey(NamedTuple):
    """Names one child within its namespace."""

    kind: SourceKind
    name: str


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A referenced Secret or ConfigMap."""

    data: Mapping[str, bytes] = field(repr=False)
    allowed: bool = False
    """Whether its owner lets OutboundConfigs send what it holds to hosts of their choice (`names.ALLOW`)."""


@dataclass(frozen=True, slots=True)
class LiveChild:
    """An existing Secret or ConfigMap with the name of a child."""

    key: ChildKey
    uid: str
    version: str
    controller: tuple[str, str, str]
    """Kind, name and uid of the object that controls it; empty texts for none."""
    label: str
    """The resource in its label, if it is labelled as managed by the operator."""
    digest: str
    """See `digest`."""
    hash_key: bytes = field(default=b"", repr=False)
    """Of `<name>-credentials`: see `names.HASH_KEY`; empty: it has none that will do."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The StatefulSet that `targetRef` names."""

    replicas: int
    stamp: str
    """The configuration's hash in its pod template; empty: none."""
    config_maps: frozenset[str] = frozenset()
    """Names of those that its pod template mounts."""


@dataclass(frozen=True, slots=True)
class PodState:
    """One pod of the workload, and the configuration that it reports."""

    name: str
    ready: bool
    hash: str = ""
    """Empty: it is not ready, or did not answer."""
    error: str = ""
    """Why it refused the files."""
    warnings: tuple[str, ...] = ()
    """Its warnings."""
    unbound: tuple[str, ...] = ()
    """The warnings about missing source addresses, for which mail waits."""
    dane: str = ""
    """`available`, `unavailable` (no trusted DNS server validates) or `off`; empty: it does not say."""
    silence: str = ""
    """Why it did not answer."""
    address: str = ""
    """Empty: it has none yet."""
    image_id: str = ""
    """The relay's image with its digest; empty: it does not run yet."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The whole observed state of one reconciliation."""

    key: ObjectKey
    resource: Mapping[str, Any]
    children: Mapping[ChildKey, LiveChild]
    sources: Mapping[tuple[SourceKind, str], SourceObject | None]
    """None: it does not exist."""
    hash_key: bytes = field(default=b"", repr=False)
    """The key for hashes of secrets."""
    workload: Workload | None = None
    rival: str = ""
    """The older OutboundConfig that has the same target; empty: none."""
    domains: tuple[SignedDomain, ...] = ()
    """What SendingDomains have it sign."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The resource's."""
        metadata: Mapping[str, Any] = self.resource["metadata"]
        return metadata

    @property
    def status(self) -> Mapping[str, Any]:
        """The resource's; empty before the first."""
        return self.resource.get("status") or {}

    def annotation(self, name: str) -> str:
        """The value of one of the resource's annotations; empty: there is none."""
        return str((self.metadata.get("annotations") or {}).get(name, ""))


def digest(data: Mapping[str, bytes], owner: Mapping[str, Any], label: str) -> str:
    """A digest of a child's content, owner reference and label."""
    state = hashlib.sha256()
    for part in (label, *(f"{key}={owner[key]}" for key in sorted(owner))):
        state.update(f"{len(part)} {part}\n".encode())
    for name in sorted(data):
        state.update(f"{name} {len(data[name])}\n".encode())
        state.update(data[name])
    return state.hexdigest()


def live_child(kind: SourceKind, body: Mapping[str, Any], data: Mapping[str, bytes]) -> LiveChild:
    """A child from the API's object; `data` is its content decoded."""
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    mine = labels.get(names.MANAGED_BY) == names.FIELD_MANAGER
    label = labels.get(names.OWNER) or labels.get(names.SENDING_OWNER, "") if mine else ""
    owners: list[dict[str, Any]] = metadata.get("ownerReferences") or []
    owner = next((ref for ref in owners if ref.get("controller")), {})
    hash_key = data.get(names.HASH_KEY, b"") if kind is SourceKind.SECRET else b""
    return LiveChild(
        ChildKey(kind, metadata["name"]),
        metadata["uid"],
        metadata["resourceVersion"],
        (owner.get("kind", ""), owner.get("name", ""), owner.get("uid", "")),
        label,
        digest(data, owner, label),
        hash_key if len(hash_key) == names.HASH_KEY_SIZE else b"",
    )

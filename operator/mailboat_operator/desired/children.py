"""The objects that one OutboundConfig has: two ConfigMaps, and Secrets where there are credentials or DKIM keys. Pure.

Called by `reconcile`; `plan` compares them with the observed children, `apply` writes them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailboat.config.hash import config_hash
from mailboat_operator import names
from mailboat_operator.checks import Resolved
from mailboat_operator.desired.dkim import dkim_files, dkim_secrets
from mailboat_operator.desired.files import bounce_files, outbound_ini, shaping_ini, tenants_ini, tls_ini, tlsrpt_ini
from mailboat_operator.observed import ChildKey, ObjectKey, digest
from mailboat_operator.references import SourceKind
from mailboat_operator.sending.signed import SignedDomain
from mailboat_operator.spec import Spec

MAX_SIZE = 900 * 1024
"""Maximum octets of one child; the API server accepts 1 MiB including metadata."""


@dataclass(frozen=True, slots=True)
class Child:
    """One desired object."""

    key: ChildKey
    owner: ObjectKey
    owner_reference: Mapping[str, Any]
    data: Mapping[str, bytes] = field(repr=False)

    @property
    def digest(self) -> str:
        """The digest with which a live child is compared."""
        return digest(self.data, self.owner_reference, self.owner.name)

    def manifest(self, uid: str = "") -> dict[str, Any]:
        """The object for the API; with `uid` the write is refused if the object was replaced."""
        metadata: dict[str, Any] = {
            "name": self.key.name,
            "namespace": self.owner.namespace,
            "labels": {names.MANAGED_BY: names.FIELD_MANAGER, names.OWNER: self.owner.name},
            "ownerReferences": [dict(self.owner_reference)],
        }
        if uid:
            metadata["uid"] = uid
        manifest: dict[str, Any] = {"apiVersion": "v1", "kind": self.key.kind.value, "metadata": metadata}
        if self.key.kind is SourceKind.SECRET:
            return manifest | {
                "type": "Opaque",
                "data": {name: base64.b64encode(content).decode() for name, content in self.data.items()},
            }
        return manifest | {"data": {name: content.decode() for name, content in self.data.items()}}


@dataclass(frozen=True, slots=True)
class Desired:
    """All children, in the order in which they are written: a referenced object comes before the one that refers to
    it."""

    children: tuple[Child, ...]
    hash: str
    """The hash that the relays will report."""


def build(
    key: ObjectKey, uid: str, spec: Spec, resolved: Resolved, hash_key: bytes, domains: Sequence[SignedDomain] = ()
) -> Desired:
    """The children of one OutboundConfig; `hash_key` is random. ValueError when it cannot be rendered."""
    reference = owner_reference(key, uid)
    outbound = outbound_ini(spec, resolved, hash_key).encode()
    tls = tls_ini(spec, resolved, hash_key).encode()
    written = {"tenants.ini": tenants_ini(spec), "tlsrpt.ini": tlsrpt_ini(spec), "shaping.ini": shaping_ini(spec)}
    given = {**bounce_files(resolved), **dkim_files(domains), **written}
    others = {name: text.encode() for name, text in given.items() if text is not None}
    credentials = {**resolved.files, names.HASH_KEY: hash_key} if resolved.files else {}
    contents: dict[ChildKey, Mapping[str, bytes]] = {
        ChildKey(SourceKind.SECRET, key.name + names.CREDENTIALS): credentials,
        **{ChildKey(SourceKind.SECRET, key.name + suffix): files for suffix, files in dkim_secrets(domains).items()},
        ChildKey(SourceKind.CONFIG_MAP, key.name + names.OUTBOUND): {"outbound.ini": outbound, **others},
        ChildKey(SourceKind.CONFIG_MAP, key.name + names.TLS): {"tls.ini": tls},
    }
    for child, data in contents.items():
        if (size := sum(map(len, data.values()))) > MAX_SIZE:
            raise ValueError(f"{child.kind} {child.name} would have {size} octets, more than {MAX_SIZE}")
    children = tuple(Child(child, key, reference, data) for child, data in contents.items() if data)
    tenants, dkim, tlsrpt, shaping = map(others.get, ("tenants.ini", "dkim.ini", "tlsrpt.ini", "shaping.ini"))
    return Desired(children, config_hash(outbound, tls, tenants, dkim=dkim, tlsrpt=tlsrpt, shaping=shaping))


def owner_reference(key: ObjectKey, uid: str) -> dict[str, Any]:
    """How a child names the resource that controls it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": key.kind,
        "name": key.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def possible(name: str) -> tuple[ChildKey, ...]:
    """The keys of all children that an OutboundConfig of this name may have."""
    return (
        ChildKey(SourceKind.SECRET, name + names.CREDENTIALS),
        *(ChildKey(SourceKind.SECRET, name + suffix) for suffix in names.DKIM_SECRETS),
        ChildKey(SourceKind.CONFIG_MAP, name + names.OUTBOUND),
        ChildKey(SourceKind.CONFIG_MAP, name + names.TLS),
    )

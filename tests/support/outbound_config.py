"""OutboundConfigs for tests: the CRD as data, resources as the API server would give them, and how they render."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mailboat_operator.checks import Resolved, Sources, resolve
from mailboat_operator.desired.children import Desired, build
from mailboat_operator.observed import ObjectKey, SourceObject
from mailboat_operator.references import SourceKind
from mailboat_operator.spec import Spec, parse

ROOT = Path(__file__).resolve().parents[2]
CRD_FILE = ROOT / "crds" / "outboundconfigs.yaml"
UID = "3b27a3f5-b23a-4fcf-a5be-5bcb10c5aa0e"
KEY = ObjectKey("mail", "relay")


@cache
def crd() -> dict[str, Any]:
    """The CustomResourceDefinition; not to be changed."""
    document: dict[str, Any] = yaml.safe_load(CRD_FILE.read_text())
    return document


def schema(*path: str) -> dict[str, Any]:
    """The schema of `spec`, or of what is at a path below it; `[]` goes into a list."""
    found = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name in path:
        found = found["items"] if name == "[]" else found["properties"][name]
    return dict(found)


def defaulted(value: Any, of: dict[str, Any]) -> Any:
    """A value with the defaults of its schema, as the API server fills them in."""
    if isinstance(value, dict) and "properties" in of:
        filled = dict(value)
        for name, below in of["properties"].items():
            if name not in filled and "default" in below:
                filled[name] = below["default"]
            if name in filled:
                filled[name] = defaulted(filled[name], below)
        return filled
    if isinstance(value, list):
        return [defaulted(item, of["items"]) for item in value]
    return value


def resource(spec: dict[str, Any], status: dict[str, Any] | None = None, **annotations: str) -> dict[str, Any]:
    """An OutboundConfig with defaults; annotations without their group, underscores for hyphens."""
    return {
        "metadata": {
            "namespace": KEY.namespace,
            "name": KEY.name,
            "uid": UID,
            "resourceVersion": "10",
            "generation": 3,
            "deletionTimestamp": None,
            "annotations": {f"mailboat.dev/{name.replace('_', '-')}": value for name, value in annotations.items()},
        },
        "spec": defaulted(spec, schema()),
        "status": status or {},
    }


def parsed(spec: dict[str, Any]) -> Spec:
    """The spec, which must have no faults."""
    found, faults = parse(resource(spec))
    assert faults == ()
    assert found is not None
    return found


def faults_of(spec: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong with a spec; there must be something."""
    found, faults = parse(resource(spec))
    assert found is None
    assert faults
    return faults


def secret(*, allowed: bool = True, **data: bytes | str) -> SourceObject:
    """A Secret, by default with the label that lets passwords of it be used; `__` in a key stands for a dot."""
    content = {name.replace("__", "."): d.encode() if isinstance(d, str) else d for name, d in data.items()}
    return SourceObject(content, allowed)


def secrets(**named: SourceObject | None) -> Sources:
    """Secrets by name, underscores for hyphens."""
    return {(SourceKind.SECRET, name.replace("_", "-")): source for name, source in named.items()}


def resolved(spec: Spec, sources: Sources | None = None) -> Resolved:
    """What the references give; nothing may be wrong with them."""
    found, faults = resolve(spec, sources or {})
    assert faults == ()
    assert found is not None
    return found


def rendered(spec: dict[str, Any], sources: Sources | None = None, hash_key: bytes = bytes(32)) -> Desired:
    """The children of a resource."""
    checked = parsed(spec)
    return build(KEY, UID, checked, resolved(checked, sources), hash_key)


def files(desired: Desired) -> dict[str, bytes]:
    """All that a relay pod sees in its directory."""
    return {name: content for child in desired.children for name, content in child.data.items()}

"""OutboundConfigs for tests: the schema, resources as the API server would give them, and how they render."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.config_directory import Directory
from tests.support.crds import CRDS, crd_of, defaulted

from mailboat.config.settings import Settings
from mailboat_operator.checks import Resolved, Sources, resolve
from mailboat_operator.desired.children import Desired, build
from mailboat_operator.observed import ObjectKey, SourceObject
from mailboat_operator.references import SourceKind
from mailboat_operator.spec import Spec, parse

CRD_FILE = CRDS / "outboundconfigs.yaml"
UID = "3b27a3f5-b23a-4fcf-a5be-5bcb10c5aa0e"
KEY = ObjectKey("mail", "relay")


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition; not to be changed."""
    return crd_of(CRD_FILE)


def schema(*path: str) -> dict[str, Any]:
    """The schema of `spec`, or of what is at a path below it; `[]` goes into a list."""
    found = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name in path:
        found = found["items"] if name == "[]" else found["properties"][name]
    return dict(found)


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


def in_pod(path: Path, spec: dict[str, Any]) -> Settings:
    """What a pod makes of the children of a resource beside an `smtp.ini` of its own."""
    directory = Directory(path)
    directory.write("smtp.ini", "listen=0.0.0.0:2525, [::]:2525\n")
    for name, content in files(rendered(spec)).items():
        directory.write(name, content)
    loaded = directory.load()
    assert loaded.faults == ()
    assert loaded.settings is not None
    return loaded.settings

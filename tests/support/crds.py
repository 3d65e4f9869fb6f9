"""The CRDs as data, and what the API server makes of a resource by their schemas."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).resolve().parents[2] / "crds"
CRD_FILES = sorted(CRDS.glob("*.yaml"))


@cache
def crd_of(file: Path) -> dict[str, Any]:
    """A CustomResourceDefinition; not to be changed."""
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def schema_of(file: Path) -> dict[str, Any]:
    """The schema of its resources."""
    return dict(crd_of(file)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def rules_in(of: dict[str, Any]) -> list[str]:
    """The messages of all rules of a schema."""
    below = [*of.get("properties", {}).values(), *([of["items"]] if "items" in of else [])]
    return [rule["message"] for rule in of.get("x-kubernetes-validations", ())] + [
        message for each in below for message in rules_in(each)
    ]


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

"""Every field of a CRD as the tables of a reference page. The page of each resource type calls `field_tables`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).resolve().parents[2] / "crds"
IniKeys = Mapping[str, tuple[str, Mapping[str, str]]]
"""Path of an object -> the ini file that it becomes, and its keys: key -> field."""


def field_tables(crd: str, ini_keys: IniKeys) -> str:
    """A section for each object of the spec and of the status."""
    document = yaml.safe_load((CRDS / crd).read_text(encoding="utf-8"))
    properties = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    parts = (part for path in ("spec", "status") for part in _sections(path, properties[path], ini_keys))
    return "\n".join(parts).rstrip()


def _sections(path: str, schema: Mapping[str, Any], ini_keys: IniKeys) -> Iterator[str]:
    """An object, then the objects in it."""
    file, keys = ini_keys.get(path, ("", {}))
    rows = [_row(name, below, schema.get("required", ()), keys) for name, below in schema["properties"].items()]
    rules = [f"- {rule['message']}" for rule in _rules(schema)]
    key = "| key " if file else ""
    head = f"| field | type | default {key}| meaning |\n|---|---|---|{'---|' if file else ''}---|"
    where = f" It is `{file}`." if file else ""
    text = f"## {path}\n\n{schema['description']}{where}\n\n{head}\n" + "\n".join(rows) + "\n"
    yield text + ("\nRules:\n\n" + "\n".join(rules) + "\n" if rules else "")
    for name, below in schema["properties"].items():
        inner = below["items"] if below["type"] == "array" else below
        if "properties" in inner:
            yield from _sections(f"{path}.{name}" + "[]" * (below["type"] == "array"), inner, ini_keys)


def _rules(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rules of an object and of its plain fields; those of the objects in it stand with them."""
    yield from schema.get("x-kubernetes-validations", ())
    for below in schema["properties"].values():
        if below["type"] == "object":
            continue
        yield from below.get("x-kubernetes-validations", ())
        if below.get("items", {}).get("type") == "string":
            yield from below["items"].get("x-kubernetes-validations", ())


def _row(name: str, schema: Mapping[str, Any], required: tuple[str, ...], keys: Mapping[str, str]) -> str:
    default = f"`{_default(schema['default'])}`" if _plain(schema.get("default")) else ""
    shown = "**required**" if name in required else default
    inis = ", ".join(f"`{ini}`" for ini, field in keys.items() if field == name)
    key = f"| {inis} " if keys else ""
    return f"| `{name}` | {_type(schema)} | {shown} {key}| {schema['description'].replace('|', chr(92) + '|')} |"


def _plain(default: Any) -> bool:
    return default is not None and not isinstance(default, dict)


def _default(default: Any) -> str:
    if isinstance(default, list):
        return ", ".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if "additionalProperties" in schema:
        return f"map of up to {schema['maxProperties']} texts"
    if schema["type"] == "array":
        return f"list of up to {schema['maxItems']}"
    if "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if schema["type"] == "string" and "maxLength" in schema:
        return f"text of up to {schema['maxLength']}"
    return str(schema["type"])

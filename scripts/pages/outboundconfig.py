"""docs/outboundconfig.md: the prose of `outboundconfig.md.in`, and every field from the CRD.

Called by `scripts.docs`; a test fails when the page has drifted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mailboat_operator import fields

_CRD = Path(__file__).resolve().parents[2] / "crds" / "outboundconfigs.yaml"
_KEYS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "spec.outbound": ("outbound.ini", fields.OUTBOUND),
    "spec.routes[]": ("outbound.ini [route:NAME]", fields.ROUTE),
    "spec.routes[].oauth": ("outbound.ini [route:NAME]", fields.ROUTE_OAUTH),
    "spec.tenants[]": ("tenants.ini [tenant:NAME]", fields.TENANT),
    "spec.tls": ("tls.ini", fields.TLS),
    "spec.tls.outbound": ("tls.ini [outbound]", fields.TLS_OUTBOUND),
}


def render() -> str:
    """The whole page."""
    document = yaml.safe_load(_CRD.read_text(encoding="utf-8"))
    properties = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    sections = [*_sections("spec", properties["spec"]), *_sections("status", properties["status"])]
    unreachable = [f"| `{file}` | `{key}` | {why} |" for (file, key), why in fields.UNREACHABLE.items()]
    template = Path(__file__).with_name("outboundconfig.md.in").read_text(encoding="utf-8")
    parts = {"@fields@": "\n".join(sections).rstrip(), "@unreachable@": "\n".join(unreachable)}
    for mark, text in parts.items():
        template = template.replace(mark, text)
    return template


def _sections(path: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """An object, then the objects in it."""
    file, keys = _KEYS.get(path, ("", {}))
    rows = [_row(name, below, schema.get("required", ()), keys) for name, below in schema["properties"].items()]
    rules = [f"- {rule['message']}" for rule in _rules(schema)]
    key = "| key " if file else ""
    head = f"| field | type | default {key}| meaning |\n|---|---|---|{'---|' if file else ''}---|"
    where = f" It is `{file}`." if file else ""
    text = f"## {path}\n\n{schema['description']}{where}\n\n{head}\n" + "\n".join(rows) + "\n"
    yield text + ("\nRules:\n\n" + "\n".join(rules) + "\n" if rules else "")
    for name, below in schema["properties"].items():
        inner = below["items"] if below["type"] == "array" else below
        if inner["type"] == "object":
            yield from _sections(f"{path}.{name}" + "[]" * (below["type"] == "array"), inner)


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
    return str(default).lower() if isinstance(default, bool) else str(default)


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema["type"] == "array":
        return f"list of up to {schema['maxItems']}"
    if "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if schema["type"] == "string" and "maxLength" in schema:
        return f"text of up to {schema['maxLength']}"
    return str(schema["type"])

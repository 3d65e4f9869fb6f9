"""CRD, renderer, relay settings and pages say the same: a key added to one and not to the others fails here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.crds import CRD_FILES, crd_of, schema_of
from tests.support.outbound_config import schema

from mailboat.config.settings import (
    NamedKey,
    OutboundSettings,
    OutboundTlsSettings,
    Route,
    Tenant,
    TlsReportSettings,
    TlsSettings,
    keys_of,
)
from mailboat.config.settings.shaping import ProviderSettings, RuleSettings, ScopeSettings, ShapingSettings
from mailboat.config.show import text_of
from mailboat_operator import fields

TABLES: list[tuple[str, type, Mapping[str, str], tuple[str, ...]]] = [
    ("outbound.ini", OutboundSettings, fields.OUTBOUND, ("outbound",)),
    ("outbound.ini", Route, fields.ROUTE, ("routes", "[]")),
    ("outbound.ini", Route, fields.ROUTE_OAUTH, ("routes", "[]", "oauth")),
    ("tenants.ini", Tenant, fields.TENANT, ("tenants", "[]")),
    ("tlsrpt.ini", TlsReportSettings, fields.TLS_REPORTS, ("tlsReports",)),
    ("shaping.ini [main]", ShapingSettings, fields.SHAPING, ("shaping",)),
    ("shaping.ini [provider:NAME]", ProviderSettings, fields.SHAPING_PROVIDER, ("shaping", "providers", "[]")),
    ("shaping.ini", ScopeSettings, fields.SHAPING_LIMITS, ("shaping", "scopes", "[]", "limits")),
    ("shaping.ini", ScopeSettings, fields.SHAPING_SCOPE, ("shaping", "scopes", "[]")),
    ("shaping.ini [rule:NAME]", RuleSettings, fields.SHAPING_RULE, ("shaping", "rules", "[]")),
    ("tls.ini", TlsSettings, fields.TLS, ("tls",)),
    ("tls.ini [outbound]", OutboundTlsSettings, fields.TLS_OUTBOUND, ("tls", "outbound")),
]
NOT_OF_A_FILE = {
    "routes": {"name", "oauth"},
    "tenants": {"name"},
    "tls": {"outbound"},
    "shaping": {"providers", "scopes", "rules"},
    "providers": {"name"},
    "scopes": {"scope", "name", "source", "limits", "unset"},
    "rules": {"name"},
}
"""Fields that are no key: the name of a section, a section, keys of one that stand together."""
UNSET = {
    *("tempFailIntervals", "maxTempFailures", "dnsServers", "ciphers", "authType", "forceTLSHosts", "noTLSHosts"),
    *("forceDANEHosts", "dnsTrustAD", "tokenURL", "clientID", "scope", "users", "listeners", "mayName"),
    *("organization", "contact", "from"),
    *fields.SHAPING_PROVIDER.values(),
    *fields.SHAPING_RULE.values(),
}
"""Fields without a default: unset is a value of its own, or it would contradict another field."""


CASES = [
    pytest.param(file, key, table, path, id=f"{file}-{kind.__name__}-{key.ini}")
    for file, kind, table, path in TABLES
    for key in keys_of(kind)
    if kind is not Route or (key.ini in fields.ROUTE_OAUTH) == (table is fields.ROUTE_OAUTH)
    if kind is not ScopeSettings or (key.ini in fields.SHAPING_LIMITS) == (table is fields.SHAPING_LIMITS)
    if kind is not ProviderSettings or key.ini not in {of_all.ini for of_all in keys_of(ScopeSettings)}
]


@pytest.mark.parametrize(("file", "key", "table", "path"), CASES)
def test_every_key_of_the_relay_has_a_field_or_a_reason(
    file: str, key: NamedKey, table: Mapping[str, str], path: tuple[str, ...]
) -> None:
    if (file, key.ini) in fields.UNREACHABLE:
        assert key.ini not in table
        return
    assert table[key.ini] in schema(*path)["properties"]


@pytest.mark.parametrize(("file", "kind", "table", "path"), TABLES)
def test_every_field_is_a_key_of_the_relay(
    file: str, kind: type, table: Mapping[str, str], path: tuple[str, ...]
) -> None:
    assert table.keys() <= {key.ini for key in keys_of(kind)}
    known = {key.ini for name, other, _, _ in TABLES if name == file for key in keys_of(other)}
    others = schema(*path)["properties"].keys() - set(table.values())
    assert others == NOT_OF_A_FILE.get(path[-1] if path[-1] != "[]" else path[-2], set())
    assert {ini for name, ini in fields.UNREACHABLE if name == file} <= known


@pytest.mark.parametrize(("file", "key", "table", "path"), CASES)
def test_defaults_are_the_relays(file: str, key: NamedKey, table: Mapping[str, str], path: tuple[str, ...]) -> None:
    name = table.get(key.ini, "")
    if not name or name in fields.REFERENCES or name in UNSET or key.ini in ("domains", "senders", "hosts"):
        return
    field = schema(*path)["properties"][name]
    if key.default is None:
        assert "default" not in field, "what is not set is as elsewhere"
        return
    if path == ("tls", "outbound"):
        assert "default" not in field, "what is not set is inherited"
        return
    assert key.key.parse(_ini(field["default"])) == key.default


@pytest.mark.parametrize(("file", "key", "table", "path"), CASES)
def test_bounds_are_the_relays(file: str, key: NamedKey, table: Mapping[str, str], path: tuple[str, ...]) -> None:
    """The lowest and highest numbers that the schema allows are taken by the relay, and those beyond are not."""
    field = schema(*path)["properties"].get(table.get(key.ini, ""), {})
    if "minimum" not in field:
        return
    for bound, beyond in ((field["minimum"], -1), (field["maximum"], 1)):
        assert text_of(key, key.key.parse(str(bound))) == str(bound)
        with pytest.raises(ValueError, match="is not"):
            key.key.parse(str(bound + beyond))


@pytest.mark.parametrize(("file", "key", "table", "path"), CASES)
def test_words_are_the_relays(file: str, key: NamedKey, table: Mapping[str, str], path: tuple[str, ...]) -> None:
    field = schema(*path)["properties"].get(table.get(key.ini, ""), {})
    for word in field.get("enum", ()):
        assert text_of(key, key.key.parse(_ini(word))).lower() == _ini(word).lower()


def _ini(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else _WORDS.get(value, str(value))


_WORDS = {"FirstHand": "first-hand"}
"""Words that are not those of the file in upper case."""


def _schemas(of: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, of
    for name, below in of.get("properties", {}).items():
        yield from _schemas(below, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in of:
            yield from _schemas(of[inner], f"{path}[]")


def everything() -> list[Any]:
    return [
        pytest.param(of, id=f"{file.stem}-{path}")
        for file in CRD_FILES
        for part in ("spec", "status")
        for path, of in _schemas(schema_of(file)["properties"][part], part)
    ]


@pytest.mark.parametrize("of", everything())
def test_every_field_is_explained_and_bounded(of: dict[str, Any]) -> None:
    """`kubectl explain` says something, and no rule can cost more than the API server grants."""
    assert of["description"].endswith((".", "*", "'"))
    if of["type"] == "string" and "enum" not in of and "format" not in of:
        assert of["maxLength"]
    if of["type"] == "array":
        assert of["maxItems"]
        assert of["x-kubernetes-list-type"]
    if of["type"] == "integer" and "spec" in of:
        assert {"minimum", "maximum"} <= of.keys()
    if "additionalProperties" in of:
        assert of["maxProperties"]
    for rule in of.get("x-kubernetes-validations", ()):
        assert rule["message"]


@pytest.mark.parametrize("file", CRD_FILES, ids=lambda path: path.stem)
def test_columns_show_what_is_there(file: Path) -> None:
    shown = schema_of(file)["properties"] | {"metadata": {"properties": {"creationTimestamp": {}}}}
    for column in crd_of(file)["spec"]["versions"][0]["additionalPrinterColumns"]:
        found: dict[str, Any] = {"properties": shown}
        for name in column["jsonPath"].partition("[")[0].strip(".").split("."):
            found = found["properties"][name]


def test_each_unreachable_key_is_one() -> None:
    known = {(file, key.ini) for file, kind, _, _ in TABLES for key in keys_of(kind)}
    assert fields.UNREACHABLE.keys() <= known


def test_a_key_without_a_field_says_why_where_it_is_defined() -> None:
    said = {("outbound.ini", key.ini): key.key.no_field for key in keys_of(OutboundSettings) if key.key.no_field}
    assert said
    assert said.items() <= fields.UNREACHABLE.items()

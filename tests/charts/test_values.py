"""The charts' values and their schemas: each value described, described rightly, and nothing else let in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from scripts.charts import CHARTS, documented

from mailboat.config.settings import SmtpSettings, keys_of

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("mailboat-operator", "mailboat-relay")
EXAMPLES = sorted((ROOT / "examples" / "values").glob("*.yaml"))


def schema_of(chart: str) -> dict[str, Any]:
    return dict(json.loads((CHARTS / chart / "values.schema.json").read_text()))


def values_of(chart: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CHARTS / chart / "values.yaml").read_text()))


def chart_of(example: Path) -> str:
    return f"mailboat-{example.name.partition('-')[0]}"


def paths_of(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The values that a schema knows, without what it passes on as it is."""
    for name, below in schema.get("properties", {}).items():
        if "properties" in below and name != "global":
            yield from paths_of(below, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("chart", NAMES)
def test_the_schema_is_one_and_takes_the_defaults(chart: str) -> None:
    Draft202012Validator.check_schema(schema_of(chart))
    Draft202012Validator(schema_of(chart)).validate(values_of(chart))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_fits_its_schema(example: Path) -> None:
    Draft202012Validator(schema_of(chart_of(example))).validate(yaml.safe_load(example.read_text()))


@pytest.mark.parametrize("chart", NAMES)
def test_schema_values_and_descriptions_speak_of_the_same_keys(chart: str) -> None:
    described = {value.path for value in documented(CHARTS / chart / "values.yaml")}
    known = set(paths_of(schema_of(chart)))
    # The keys of smtp.ini are one value with a schema of its own.
    known = {path[:2] if path[:2] == ("config", "smtp") else path for path in known}
    assert described == known


@pytest.mark.parametrize("chart", NAMES)
def test_each_value_has_a_description(chart: str) -> None:
    described = {value.path for value in documented(CHARTS / chart / "values.yaml")}

    def undescribed(tree: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for key, value in tree.items():
            if (*path, key) in described:
                continue
            if isinstance(value, dict) and value:
                yield from undescribed(value, (*path, key))
            else:
                yield (*path, key)

    assert list(undescribed(values_of(chart), ())) == []


@pytest.mark.parametrize("chart", NAMES)
def test_a_misspelt_value_is_refused_at_every_level(chart: str) -> None:
    def closed(schema: dict[str, Any], path: str) -> Iterator[str]:
        if "properties" in schema and path != "/global" and schema.get("additionalProperties") is not False:
            yield path
        for name, below in schema.get("properties", {}).items():
            yield from closed(below, f"{path}/{name}")

    assert list(closed(schema_of(chart), "")) == []


def test_the_schema_knows_each_key_of_smtp_ini_but_those_that_the_chart_writes() -> None:
    smtp = schema_of("mailboat-relay")["properties"]["config"]["properties"]["smtp"]["properties"]
    written = {"listen", "submission_listen", "smtps_listen", "await_outbound"}
    assert set(smtp) == {key.ini for key in keys_of(SmtpSettings)} - written


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config.me", "relay.example.com\nlisten=25"),
        ("config.smtp", {"databytes": "50M\nlisten=0.0.0.0:25"}),
        ("config.smtp", {"listen": "0.0.0.0:25"}),
        ("config.relayAllow", ["10.0.0.0/8\n0.0.0.0/0"]),
        ("config.plugins", ["a\nb"]),
        ("config.files", {"../../etc/passwd": "x"}),
        ("config.files", {"plugins.d/../smtp.ini": "x"}),
        ("config.existingSecrets", [{"name": "s"}]),
        ("config.existingSecrets", [{"name": "s", "items": [{"key": "k", "path": "/etc/passwd"}]}]),
        ("persistence.accessModes", ["ReadWriteMany"]),
        ("logFormat", "xml"),
        ("image.pullPolicy", "Sometimes"),
        ("replicaCount", -1),
    ],
)
def test_the_relay_schema_refuses(path: str, value: object) -> None:
    """Values that would write lines of their own into a file, leave the directory, or mean nothing."""
    section, _, key = path.partition(".")
    values = values_of("mailboat-relay")
    if key:
        values[section][key] = value
    else:
        values[section] = value
    assert not Draft202012Validator(schema_of("mailboat-relay")).is_valid(values)

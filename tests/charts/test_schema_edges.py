"""What the charts' schemas let in the programs take: no release is installed whose pods would end with 78.

The edges of each schema go, as the chart writes them, through the relay's own configuration check.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from scripts.charts import CHARTS
from tests.support import chart_config
from tests.support.helm import Helm, RefusedError
from tests.support.schema_edges import edges

from mailboat.cli.endpoint import parse_endpoint
from mailboat.loading.load import load


def schema(chart: str, *path: str) -> dict[str, Any]:
    """The part of a chart's schema that a value has to fit."""
    found = json.loads((CHARTS / chart / "values.schema.json").read_text())
    for name in path:
        found = found["properties"][name]
    return dict(found)


SMTP = schema("mailboat-relay", "config", "smtp")["properties"]
ADDRESSES = schema("mailboat-relay", "listen", "addresses")["items"]
MOST_NETWORKS = schema("mailboat-relay", "config", "relayAllow")["maxItems"]
NETWORKS = schema("mailboat-relay", "config", "relayAllow")["items"]
ME = schema("mailboat-relay", "config", "me")
SENDER = schema("mailboat-relay", "config", "sendersAllow")["items"]
PLUGIN = schema("mailboat-relay", "config", "plugins")["items"]


def faults(directory: Path, name: str, *lines: object) -> list[str]:
    """What the relay has against a directory with this file, and with nothing else."""
    (directory / name).write_text("".join(f"{line}\n" for line in lines))
    return [str(fault) for fault in load(directory, {}).faults]


def test_the_relay_takes_each_name_that_the_schema_takes(tmp_path: Path) -> None:
    assert {value: found for value in edges(ME) if (found := faults(tmp_path, "me", value))} == {}


def test_the_relay_takes_each_network_that_the_schema_takes(tmp_path: Path) -> None:
    taken = edges(NETWORKS)
    for begin in range(0, len(taken), MOST_NETWORKS):
        some = taken[begin : begin + MOST_NETWORKS]
        assert faults(tmp_path, "relay_acl_allow", "127.0.0.0/8", "::1/128", *some) == []


def test_the_relay_takes_each_sender_that_the_schema_takes(tmp_path: Path) -> None:
    senders = edges(SENDER)
    assert faults(tmp_path, "senders_allow", *senders) == []
    assert len(senders) > 1


def test_the_relay_takes_each_address_to_listen_on_that_the_schema_takes(tmp_path: Path) -> None:
    distinct = {ip_address(value): value for value in edges(ADDRESSES)}.values()
    endpoints = ", ".join(f"[{value}]:2525" if ":" in value else f"{value}:2525" for value in distinct)
    assert faults(tmp_path, "smtp.ini", f"listen={endpoints}") == []


def test_the_relay_takes_each_name_of_a_plugin_that_the_schema_takes(tmp_path: Path) -> None:
    distinct = {value.replace("/", "_"): value for value in edges(PLUGIN)}.values()
    assert faults(tmp_path, "plugins", *distinct) == []


@pytest.mark.parametrize("key", SMTP)
def test_the_relay_takes_each_value_of_smtp_ini_that_the_schema_takes(tmp_path: Path, key: str) -> None:
    taken = edges(SMTP[key])
    assert len(taken) > 1
    assert {value: found for value in taken if (found := faults(tmp_path, "smtp.ini", f"{key}={value}"))} == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key, of in SMTP.items()
        for number in of.get("anyOf", [of])
        if "maximum" in number
        for value in (number["minimum"] - 1, number["maximum"] + 1)
    ],
)
def test_the_schema_takes_each_number_that_the_relay_takes(tmp_path: Path, key: str, value: int) -> None:
    """One below the least and one above the most are refused by both."""
    assert not Draft202012Validator(SMTP[key]).is_valid(value)
    assert faults(tmp_path, "smtp.ini", f"{key}={value}") != []


def test_the_operator_takes_each_address_to_listen_on_that_the_schema_takes() -> None:
    for value in edges(schema("mailboat-operator", "listen")):
        endpoint = parse_endpoint(value, 9026)
        assert ip_address(endpoint.host)
        assert endpoint.port > 0


CASES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("values_from_the_field.yaml").read_text())
TAKEN = ["no size limit"]
"""The one that the relay takes, too."""


def test_values_seen_in_use_are_refused_by_the_schema_where_the_relay_would_not_start() -> None:
    validator = Draft202012Validator(schema("mailboat-relay"))
    assert [case for case, values in CASES.items() if validator.is_valid(values)] == TAKEN


@pytest.mark.helm
@pytest.mark.parametrize("case", [case for case in CASES if case not in TAKEN])
def test_helm_refuses_values_with_which_the_relay_would_not_start(helm: Helm, case: str) -> None:
    (key,) = CASES[case]["config"]
    with pytest.raises(RefusedError, match=f"values don't meet the specifications of the schema(.|\n)*config[/.]{key}"):
        helm.template("mailboat-relay", values=CASES[case])


@pytest.mark.helm
def test_no_size_limit_reaches_the_relay_as_the_most_that_there_is(helm: Helm, tmp_path: Path) -> None:
    loaded = load(chart_config.write(helm.template("mailboat-relay", values=CASES["no size limit"]), tmp_path), {})
    assert loaded.settings is not None, loaded.faults
    assert loaded.settings.smtp.databytes == 2**40

"""Tenants of an OutboundConfig: the `tenants.ini` that pods read, and the hash that they report of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.outbound_config import KEY, UID, faults_of, files, in_pod, parsed, rendered, resolved

from mailboat.config.hash import config_hash
from mailboat.config.settings import Endpoint, Tenant
from mailboat_operator.desired.children import build
from mailboat_operator.relay_check import RelayFaults, relay_faults

SHOP = {"name": "shop", "users": ["shop", "shop batch"], "mayName": ["billing"]}
PRINTERS = {"name": "printers", "listeners": ["0.0.0.0:2525", "[::]:2525"]}


def refused(*tenants: dict[str, Any]) -> RelayFaults:
    spec = parsed({"tenants": list(tenants)})
    return relay_faults(spec, build(KEY, UID, spec, resolved(spec), bytes(32)))


def test_a_pod_reads_the_tenants_of_the_resource_and_reports_the_hash_that_the_operator_expects(tmp_path: Path) -> None:
    spec = {"tenants": [SHOP, PRINTERS]}
    settings = in_pod(tmp_path, spec)
    assert settings.tenants == (
        Tenant("shop", users=("shop", "shop batch"), may_name=("billing",)),
        Tenant("printers", listeners=(Endpoint("0.0.0.0", 2525), Endpoint("::", 2525))),
    )
    assert settings.hash == rendered(spec).hash


@pytest.mark.parametrize("spec", [{}, {"tenants": []}])
def test_without_tenants_there_is_no_file_and_the_hash_is_what_it_was(spec: dict[str, Any], tmp_path: Path) -> None:
    desired = rendered(spec)
    found = files(desired)
    assert "tenants.ini" not in found
    assert desired.hash == config_hash(found["outbound.ini"], found["tls.ini"]) == in_pod(tmp_path, spec).hash


def test_a_tenant_that_says_nothing_is_one_that_others_may_name(tmp_path: Path) -> None:
    assert in_pod(tmp_path, {"tenants": [{"name": "billing"}]}).tenants == (Tenant("billing"),)


@pytest.mark.parametrize(
    ("tenants", "fault"),
    [
        ([SHOP, SHOP], "spec.tenants: two have the same name"),
        ([{"name": "a b"}], "spec.tenants[0].name: an item is not a tenant's name"),
        ([{"name": ""}], "spec.tenants[0].name: '' is not one item"),
        ([{"name": "a", "users": ["b,c"]}], "spec.tenants[0].users[0]: 'b,c' is not one item"),
        ([{"name": "a", "listeners": ["here"]}], "spec.tenants[0].listeners[0]: "),
        ([{"name": "a", "mayName": ["b!"]}], "spec.tenants[0].mayName[0]: an item is not a tenant's name"),
    ],
)
def test_what_is_wrong_with_a_tenant_is_told_with_its_path(tenants: list[dict[str, Any]], fault: str) -> None:
    (found,) = faults_of({"tenants": tenants})
    assert found.startswith(fault)


@pytest.mark.parametrize(("field", "claimed"), [("users", "u"), ("listeners", "0.0.0.0:2525")])
def test_what_belongs_to_two_tenants_is_told_with_its_path(field: str, claimed: str) -> None:
    found = refused({"name": "a", field: [claimed]}, {"name": "b", field: [claimed]})
    assert found == RelayFaults((f"spec.tenants[1].{field}: '{claimed}' already belongs to [tenant:a]",), ())


def test_where_the_pods_listen_is_for_the_pods_to_say() -> None:
    assert refused(PRINTERS, {"name": "a", "listeners": ["127.0.0.1:9"]}) == RelayFaults((), ())

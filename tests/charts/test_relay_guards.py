"""Values of the relay's chart that would make an open relay, lose mail or never start are refused, with the reason."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from tests.support.helm import Helm, RefusedError

from mailboat.config.acl import surplus

pytestmark = pytest.mark.helm


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "10.0.0.0/7",
        "10.0.0.0/0",
        "10.0.0.0/00",
        "10.0.0.0/33",
        "::/0",
        "8000::/1",
        "2000::/3",
        "2001::/15",
        "::ffff:0:0/96",
        "::FFFF:0.0.0.0/96",
        "0:0:0:0:0:ffff::/96",
        "0000:0000:0000:0000:0000:ffff:0:0/97",
    ],
)
def test_a_network_as_wide_as_the_internet_is_no_client(helm: Helm, network: str) -> None:
    """Halves too, and IPv4-mapped IPv6: the relay unpacks it."""
    with pytest.raises(RefusedError, match=r"relayAllow"):
        helm.template("mailboat-relay", values={"config": {"relayAllow": ["10.0.0.0/8", network]}})


def test_many_networks_do_not_add_up_to_everybody(helm: Helm) -> None:
    everybody = [f"{first}.0.0.0/8" for first in range(256)]
    with pytest.raises(RefusedError, match=r"relayAllow"):
        helm.template("mailboat-relay", values={"config": {"relayAllow": everybody}})


def test_as_many_and_as_wide_networks_as_the_chart_takes_are_no_open_relay_to_the_relay(helm: Helm) -> None:
    v4 = [f"{first}.0.0.0/8" for first in range(1, 65)]
    v6 = [f"{rir + block:x}::/16" for rir in (0x2400, 0x2600, 0x2800, 0x2A00, 0x2C00) for block in range(16)]
    config = helm.template("mailboat-relay", values={"config": {"relayAllow": v4 + v6[:64]}})
    acl = config.one("ConfigMap", "mailboat-relay-config")["data"]["relay_acl_allow"].split()
    assert surplus([ip_network(line) for line in acl]) == frozenset()
    assert surplus([ip_network(f"{first}.0.0.0/8") for first in range(1, 129)]) == frozenset()
    with pytest.raises(RefusedError, match="65 public IPv6 networks are wider than /20"):
        helm.template("mailboat-relay", values={"config": {"relayAllow": v6[:65]}})


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.0.2.7", "192.0.2.7/32", "2001:db8::/32", "fd00::/16", "::1"])
def test_ordinary_networks_are_clients(helm: Helm, network: str) -> None:
    config = helm.template("mailboat-relay", values={"config": {"relayAllow": [network]}})
    files = config.one("ConfigMap", "mailboat-relay-config")["data"]
    assert files["relay_acl_allow"].splitlines() == ["127.0.0.0/8", "::1/128", network]


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_no_client_may_hide_behind_a_node_that_may_relay(helm: Helm, kind: str) -> None:
    service = {"type": kind, "externalTrafficPolicy": "Cluster"}
    with pytest.raises(RefusedError, match="externalTrafficPolicy must be Local"):
        helm.template("mailboat-relay", values={"service": service, "config": {"relayAllow": ["10.0.0.0/8"]}})
    # Where nobody relays by address, it does not matter.
    helm.template("mailboat-relay", values={"service": service})


@pytest.mark.parametrize("name", ["smtp.ini", "http.ini", "relay_acl_allow", "plugins", "me"])
@pytest.mark.parametrize("way", ["files", "existingSecrets", "existingConfigMaps"])
def test_files_that_the_chart_writes_come_from_nowhere_else(helm: Helm, name: str, way: str) -> None:
    given: Any = {name: "x"} if way == "files" else [{"name": "mine", "items": [{"key": "x", "path": name}]}]
    with pytest.raises(RefusedError, match=f"{name} is written by the chart"):
        helm.template("mailboat-relay", values={"config": {way: given}})


@pytest.mark.parametrize("way", ["files", "existingSecrets", "existingConfigMaps"])
@pytest.mark.parametrize(
    ("file", "field"), [("tenants.ini", "tenants"), ("tlsrpt.ini", "tlsReports"), ("shaping.ini", "shaping")]
)
def test_tenants_shaping_and_tls_reports_of_pods_with_an_outbound_config_stand_in_it(
    helm: Helm, way: str, file: str, field: str
) -> None:
    given: Any = {file: "x"} if way == "files" else [{"name": "mine", "items": [{"key": "x", "path": file}]}]
    helm.template("mailboat-relay", values={"config": {way: given}})
    with pytest.raises(RefusedError, match=rf"give outboundConfig\.spec\.{field} instead"):
        helm.template("mailboat-relay", values={"config": {way: given}, "outboundConfig": {"create": True}})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"smtps": {"enabled": True}}, "smtps.enabled needs tls.secretName"),
        ({"terminationGracePeriodSeconds": 60}, "terminationGracePeriodSeconds must be at least 70"),
        ({"podDisruptionBudget": {"maxUnavailable": ""}}, "maxUnavailable or minAvailable"),
        ({"autoscaling": {"enabled": True, "minReplicas": 6}}, "maxReplicas is below minReplicas"),
        ({"config": {"plugins": ["auth/flat_file", "auth_flat_file"]}}, "listed twice"),
        ({"replicas": 3}, "replicas"),
        ({"config": {"relay_allow": []}}, "relay_allow"),
        ({"config": {"smtp": {"listen": "0.0.0.0:25"}}}, "listen"),
    ],
)
def test_other_values_that_cannot_be_meant(helm: Helm, values: Any, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        helm.template("mailboat-relay", values=values)

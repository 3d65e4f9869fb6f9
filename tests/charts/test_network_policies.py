"""Who reaches which port, by the NetworkPolicies of both charts together: for each pair of peers.

A row of a table is who connects, a column to whom; a cell has the ports that are reached: `all`, or `-` for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.helm import Helm, Object
from tests.support.network_policy import NetworkPeer, Policy, may_connect, reached

pytestmark = pytest.mark.helm

Values = Mapping[str, Any]

RELAYS, OPERATORS = "mail", "mailboat"
"""The namespaces of the two releases."""


def namespace(name: str) -> Mapping[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def cluster(helm: Helm, relay: Values, operator: Values) -> tuple[list[Policy], dict[str, NetworkPeer]]:
    """The policies of a release of each chart, and the peers in and around their cluster."""
    more = {"extraPorts": [{"name": "more", "containerPort": 15000}]}
    relays = helm.template("mailboat-relay", values={"networkPolicy": relay, **more})
    watch = {"watch": {"namespaces": [RELAYS]}}
    operators = helm.template(
        "mailboat-operator", "--namespace", OPERATORS, values={"networkPolicy": operator, **watch}
    )
    pod, operator_pod = relays.one("StatefulSet")["spec"]["template"], operators.one("Deployment")["spec"]["template"]
    mail = {str(port): port for port in (25, 465, 587, 443)}
    peers = {
        "relay": _pod(pod, "10.0.0.1", RELAYS),
        "other relay": _pod(pod, "10.0.0.2", RELAYS),
        "operator": _pod(operator_pod, "10.0.1.1", OPERATORS),
        "other operator": _pod(operator_pod, "10.0.1.2", OPERATORS),
        "shop": NetworkPeer("10.0.2.1", "shop", {"app": "shop"}),
        "blog": NetworkPeer("10.0.3.1", "blog", {"app": "blog"}, ports=mail),
        "impostor": _pod(operator_pod, "10.0.3.2", "blog"),
        "false relay": _pod(pod, "10.0.3.3", "blog"),
        "helm test": _pod(relays.one("Pod"), "10.0.0.3", RELAYS),
        "prometheus": NetworkPeer("10.0.4.1", "monitoring", {"app": "prometheus"}),
        "MX": NetworkPeer("192.0.2.25", ports=mail),
        "MX by IPv6": NetworkPeer("2001:db8::25", ports=mail),
        "API": NetworkPeer("198.51.100.1", ports={"443": 443, "6443": 6443, "2379": 2379}),
    }
    return [*relays.of("NetworkPolicy"), *operators.of("NetworkPolicy")], peers


def _pod(pod: Object, address: str, namespace: str) -> NetworkPeer:
    """A pod as it is in the release, or of a workload's template."""
    ports = {each["name"]: each["containerPort"] for each in pod["spec"]["containers"][0].get("ports", ())}
    return NetworkPeer(address, namespace, pod["metadata"]["labels"], ports=ports)


def table(helm: Helm, expected: str, *, relay: Values, operator: Values) -> str:
    """The table with the rows and columns of the expected one, filled with what is so."""
    policies, peers = cluster(helm, relay, operator)
    head, *rows = ([cell.strip() for cell in line.split("|")] for line in expected.strip().splitlines())
    found = [[row[0], *(_cell(policies, peers[row[0]], peers[column]) for column in head[1:])] for row in rows]
    widths = [max(len(row[at]) for row in [head, *rows, *found]) for at in range(len(head))]
    return "\n".join(
        " | ".join(cell.ljust(widths[at]) for at, cell in enumerate(row)).rstrip() for row in [head, *found]
    )


def _cell(policies: list[Policy], source: NetworkPeer, target: NetworkPeer) -> str:
    names = reached(policies, source, target)
    return "all" if names == set(target.ports) else " ".join(name for name in target.ports if name in names) or "-"


SWITCHED_OFF = """
           | other relay | other operator | blog | MX  | API
relay      | all         | all            | all  | all | all
operator   | all         | all            | all  | all | all
shop       | all         | all            | all  | all | all
impostor   | all         | all            | all  | all | all
helm test  | all         | all            | all  | all | all
prometheus | all         | all            | all  | all | all
MX         | all         | all            | all  | all | all
"""
NOTHING_SAID = """
            | other relay           | other operator | blog | MX  | API
relay       | all                   | all            | all  | all | all
operator    | smtp submission admin | all            | all  | all | all
shop        | smtp submission admin | all            | all  | all | all
impostor    | smtp submission admin | all            | all  | all | all
false relay | smtp submission admin | all            | all  | all | all
helm test   | smtp submission admin | all            | all  | all | all
prometheus  | smtp submission admin | all            | all  | all | all
MX          | smtp submission admin | all            | all  | all | all
"""
PEERS_NAMED = """
            | other relay           | other operator | blog | MX  | API
relay       | all                   | -              | all  | all | all
operator    | admin                 | -              | all  | all | all
shop        | smtp submission       | -              | all  | all | all
blog        | -                     | -              | all  | all | all
impostor    | -                     | -              | all  | all | all
false relay | -                     | -              | all  | all | all
helm test   | smtp submission admin | -              | all  | all | all
prometheus  | admin                 | all            | all  | all | all
MX          | -                     | -              | all  | all | all
"""
OPERATOR_ELSEWHERE = """
           | other relay
operator   | smtp submission
prometheus | smtp submission admin
"""
EGRESS = """
           | other relay           | false relay | other operator | blog | MX  | MX by IPv6 | API
relay      | all                   | -           | -              | -    | all | all        | 443
operator   | admin                 | -           | -              | -    | -   | -          | 443 6443
shop       | smtp submission       | all         | -              | all  | all | all        | all
blog       | -                     | all         | -              | all  | all | all        | all
impostor   | -                     | all         | -              | all  | all | all        | all
helm test  | smtp submission admin | all         | -              | all  | all | all        | all
prometheus | admin                 | all         | all            | all  | all | all        | all
"""


@pytest.mark.parametrize(
    ("expected", "relay", "operator"),
    [
        pytest.param(SWITCHED_OFF, {"enabled": False}, {"enabled": False}, id="switched off"),
        pytest.param(NOTHING_SAID, {}, {}, id="nothing said"),
        pytest.param(
            PEERS_NAMED,
            {
                "smtpFrom": [namespace("shop")],
                "adminFrom": [namespace("monitoring")],
                "operatorNamespace": OPERATORS,
            },
            {"metricsFrom": [namespace("monitoring")]},
            id="peers named",
        ),
        pytest.param(OPERATOR_ELSEWHERE, {"adminFrom": [namespace("monitoring")]}, {}, id="operator elsewhere"),
        pytest.param(
            EGRESS,
            {
                "smtpFrom": [namespace("shop")],
                "adminFrom": [namespace("monitoring")],
                "operatorNamespace": OPERATORS,
                "egressEnabled": True,
                "egressExcept": ["10.0.0.0/8", "fd00::/8"],
            },
            {
                "metricsFrom": [namespace("monitoring")],
                "egressEnabled": True,
                "apiServerCIDRs": ["198.51.100.1/32"],
            },
            id="egress too",
        ),
    ],
)
def test_each_pair_of_peers_reaches_the_ports_of_the_table(
    helm: Helm, expected: str, relay: Values, operator: Values
) -> None:
    assert table(helm, expected, relay=relay, operator=operator) == expected.strip("\n")


def test_both_ask_the_dns_whatever_egress_is_restricted_to(helm: Helm) -> None:
    policies, peers = cluster(helm, {"egressEnabled": True}, {"egressEnabled": True})
    resolver = NetworkPeer("10.0.5.1", "kube-system")
    for asking in ("relay", "operator"):
        for protocol in ("UDP", "TCP"):
            assert may_connect(policies, peers[asking], resolver, 53, protocol)


NO_POLICIES: Values = {"tls": {"outbound": {"mtaSTS": False}}}
"""MTA-STS needs 443 too, and would hide what does."""


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({"outboundConfig": {"spec": {"routes": [{"name": "a"}]}}}, "25 465 587 443"),
        ({"outboundConfig": {"spec": NO_POLICIES}}, "25 465 587"),
        (
            {"outboundConfig": {"spec": {**NO_POLICIES, "tlsReports": {"organization": "a", "contact": "b"}}}},
            "25 465 587 443",
        ),
        (
            {
                "outboundConfig": {"spec": NO_POLICIES},
                "config": {"files": {"tlsrpt.ini": "organization=a\ncontact=b\n"}},
            },
            "25 465 587 443",
        ),
        (
            {"outboundConfig": {"spec": {"routes": [{"oauth": {"tokenURL": "https://login.test/token"}}]}}},
            "25 465 587 443",
        ),
        (
            {"outboundConfig": {"spec": {"routes": [{"oauth": {"tokenURL": "https://login.test:8443/x:1"}}]}}},
            "25 465 587 443 8443",
        ),
        (
            {"config": {"files": {"outbound.ini": "[route:a]\noauth_token_url = https://login.test/?a=b\n"}}},
            "25 465 587 443",
        ),
    ],
)
def test_relays_reach_the_hosts_of_mta_sts_policies_and_of_tls_reports_and_the_token_server_of_a_route(
    helm: Helm, values: Values, ports: str
) -> None:
    (policy,) = helm.template("mailboat-relay", values={**values, "networkPolicy": {"egressEnabled": True}}).of(
        "NetworkPolicy"
    )
    relay = NetworkPeer("10.0.0.1", RELAYS, policy["spec"]["podSelector"]["matchLabels"])
    server = NetworkPeer("192.0.2.1", ports={str(port): port for port in (25, 465, 587, 443, 8443, 80)})
    assert reached([policy], relay, server) == set(ports.split())

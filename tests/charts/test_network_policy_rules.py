"""The evaluator of NetworkPolicies reads rules as the API server's documentation says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.network_policy import NetworkPeer, may_connect, reached

DB = NetworkPeer("10.0.0.1", "shop", {"app": "db"}, {"team": "a"}, {"sql": 5432, "http": 80})
WEB = NetworkPeer("10.0.0.2", "shop", {"app": "web"}, {"team": "a"})
OTHER = NetworkPeer("10.0.0.3", "blog", {"app": "web"}, {"team": "b"})
OUTSIDE = NetworkPeer("192.0.2.9")
EVERYBODY = (WEB, OTHER, OUTSIDE)


def policy(namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace}, "spec": {"podSelector": {"matchLabels": {"app": "db"}}, **spec}}


def who(*peers: Any, ports: Any = ()) -> list[NetworkPeer]:
    """Who reaches the database's `sql` by one rule."""
    rule = {"from": list(peers), "ports": list(ports)}
    return [each for each in EVERYBODY if may_connect([policy(ingress=[rule])], each, DB, 5432)]


def test_without_a_policy_everything_is_allowed() -> None:
    assert all(reached([], each, DB) == {"sql", "http"} for each in EVERYBODY)
    assert all(reached([policy("blog")], each, DB) == {"sql", "http"} for each in EVERYBODY)


def test_a_policy_without_rules_lets_nobody_in_but_the_pod_itself() -> None:
    assert not any(reached([policy()], each, DB) for each in EVERYBODY)
    assert reached([policy()], DB, DB) == {"sql", "http"}


def test_no_peers_or_no_ports_means_all_of_them() -> None:
    assert who() == list(EVERYBODY)
    assert reached([policy(ingress=[{}])], OUTSIDE, DB) == {"sql", "http"}


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ({"podSelector": {}}, [WEB]),
        ({"podSelector": {"matchLabels": {"app": "web"}}}, [WEB]),
        ({"podSelector": {"matchLabels": {"app": "no"}}}, []),
        ({"namespaceSelector": {}}, [WEB, OTHER]),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, [OTHER]),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "blog"}}}, [OTHER]),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "no"}}}, []),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]}}, [WEB]),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}}, [OTHER]),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}, [WEB, OTHER]),
        ({"namespaceSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}}, [WEB, OTHER]),
        ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, [OUTSIDE]),
        ({"ipBlock": {"cidr": "10.0.0.0/31"}}, []),
        ({"ipBlock": {"cidr": "::/0"}}, []),
    ],
)
def test_a_peer_is_chosen_by_pod_by_namespace_by_both_or_by_address(peer: Any, expected: list[NetworkPeer]) -> None:
    assert who(peer) == expected


def test_peers_of_a_rule_and_rules_of_all_policies_add_up() -> None:
    web, blog = {"podSelector": {"matchLabels": {"app": "web"}}}, {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    assert who(web, blog) == [WEB, OTHER]
    both = [policy(ingress=[{"from": [web]}]), policy(ingress=[{"from": [blog]}])]
    assert [each for each in EVERYBODY if may_connect(both, each, DB, 5432)] == [WEB, OTHER]


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"port": "sql"}, {"sql"}),
        ({"port": "absent"}, set()),
        ({"port": 80}, {"http"}),
        ({"port": 80, "endPort": 9999}, {"sql", "http"}),
        ({"port": "sql", "protocol": "UDP"}, set()),
        ({"protocol": "TCP"}, {"sql", "http"}),
    ],
)
def test_a_port_is_a_name_of_the_target_a_number_or_a_range(port: Any, expected: set[str]) -> None:
    assert reached([policy(ingress=[{"ports": [port]}])], WEB, DB) == expected


def test_a_protocol_is_tcp_where_none_is_given() -> None:
    dns = [policy(ingress=[{"ports": [{"port": 53, "protocol": "UDP"}]}])]
    assert may_connect(dns, WEB, DB, 53, "UDP")
    assert not may_connect(dns, WEB, DB, 53)


def test_both_ends_have_to_allow_a_connection() -> None:
    out: Any = {"metadata": {"namespace": "shop"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    assert reached([out], WEB, DB) == set()
    assert reached([out], OTHER, DB) == {"sql", "http"}
    out["spec"]["egress"] = [{"to": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": "sql"}]}]
    assert reached([out], WEB, DB) == {"sql"}
    assert reached([out, policy()], WEB, DB) == set()


def test_rules_for_egress_restrict_it_also_where_no_types_are_given() -> None:
    assert not may_connect([policy(egress=[{"ports": [{"port": 25}]}])], DB, OUTSIDE, 587)
    assert may_connect([policy(egress=[{"ports": [{"port": 25}]}])], DB, OUTSIDE, 25)
    assert may_connect([policy(egress=[])], DB, OUTSIDE, 587)


@pytest.mark.parametrize(
    "peer", [{}, {"ipBlock": {"cidr": "::/0"}, "podSelector": {}}, {"serviceSelector": {}}, {"ipBlock": {"cidr": "x"}}]
)
def test_what_it_does_not_understand_it_does_not_pass_over(peer: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        who(peer)

"""Who may connect to which port, by the NetworkPolicies that are in force: networking.k8s.io/v1 as a function.

Pure. No test cluster enforces policies, so tests of charts evaluate what was rendered. `ipBlock` is held against pods'
addresses too: whether it is, the API leaves to the network plugin, and a rule must not rely on its not being so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]
Rule = Mapping[str, Any]
Labels = Mapping[str, str]

_NAME_LABEL = "kubernetes.io/metadata.name"
"""What the API server labels each namespace with."""


@dataclass(frozen=True)
class NetworkPeer:
    """One end of a connection: a pod, or an address outside the cluster."""

    address: str
    namespace: str = ""
    """Empty: outside the cluster."""
    labels: Labels = field(default_factory=dict)
    namespace_labels: Labels = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """What it listens on, by the names that rules may use."""


def may_connect(
    policies: Iterable[Policy], source: NetworkPeer, target: NetworkPeer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether both ends' policies let `source` connect to `port` of `target`."""
    policies = list(policies)
    return source == target or (
        _lets(policies, "Egress", source, target, (target, port, protocol))
        and _lets(policies, "Ingress", target, source, (target, port, protocol))
    )


def reached(policies: Iterable[Policy], source: NetworkPeer, target: NetworkPeer) -> set[str]:
    """The names of the target's ports that `source` may connect to."""
    policies = list(policies)
    return {name for name, port in target.ports.items() if may_connect(policies, source, target, port)}


_Port = tuple[NetworkPeer, int, str]
"""The target, whose port it is; its number; its protocol."""


def _lets(policies: Sequence[Policy], direction: str, own: NetworkPeer, other: NetworkPeer, port: _Port) -> bool:
    """Whether the policies about `own` allow the connection: without any everything is allowed, else what one says."""
    applying = [policy for policy in policies if direction in _directions(policy) and _selects(policy, own)]
    return not applying or any(
        _matches(rule, direction, policy["metadata"]["namespace"], other, port)
        for policy in applying
        for rule in policy["spec"].get(direction.lower()) or ()
    )


def _directions(policy: Policy) -> Sequence[str]:
    spec = _only(policy["spec"], "podSelector", "policyTypes", "ingress", "egress")
    given: Sequence[str] = spec.get("policyTypes") or ()
    return given or ("Ingress", *(("Egress",) if spec.get("egress") else ()))


def _selects(policy: Policy, pod: NetworkPeer) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and _fits(policy["spec"]["podSelector"], pod.labels)


def _matches(rule: Rule, direction: str, namespace: str, other: NetworkPeer, port: _Port) -> bool:
    """Whether a rule, of a policy in `namespace`, allows it. An empty list of peers or ports means all of them."""
    peers = "from" if direction == "Ingress" else "to"
    rule = _only(rule, peers, "ports")
    return (not rule.get("ports") or any(_is_port(each, port) for each in rule["ports"])) and (
        not rule.get(peers) or any(_is_peer(each, namespace, other) for each in rule[peers])
    )


def _is_port(given: Mapping[str, Any], port: _Port) -> bool:
    target, number, protocol = port
    _only(given, "port", "endPort", "protocol")
    if given.get("protocol", "TCP") != protocol:
        return False
    first = given.get("port")
    if isinstance(first, str):
        return target.ports.get(first) == number
    return first is None or first <= number <= given.get("endPort", first)


def _is_peer(peer: Mapping[str, Any], namespace: str, other: NetworkPeer) -> bool:
    _only(peer, "ipBlock", "podSelector", "namespaceSelector")
    if "ipBlock" in peer:
        if len(peer) > 1:
            raise ValueError("the API server refuses an ipBlock beside a selector")
        return _is_in(peer["ipBlock"], other.address)
    if not peer:
        raise ValueError("the API server refuses an empty peer")
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        labels = {_NAME_LABEL: other.namespace, **other.namespace_labels}
        right_namespace = _fits(peer["namespaceSelector"], labels)
    else:
        right_namespace = other.namespace == namespace
    return right_namespace and _fits(peer.get("podSelector") or {}, other.labels)


def _is_in(block: Mapping[str, Any], address: str) -> bool:
    _only(block, "cidr", "except")
    given = ipaddress.ip_address(address)
    return given in ipaddress.ip_network(block["cidr"]) and not any(
        given in ipaddress.ip_network(each) for each in block.get("except") or ()
    )


def _fits(selector: Mapping[str, Any], labels: Labels) -> bool:
    """A label selector; an empty one fits all."""
    _only(selector, "matchLabels", "matchExpressions")
    return (selector.get("matchLabels") or {}).items() <= labels.items() and all(
        _holds(each, labels) for each in selector.get("matchExpressions") or ()
    )


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"{expression['operator']} is no operator of a label selector")


def _only(given: Mapping[str, Any], *known: str) -> Mapping[str, Any]:
    """What is not understood must not be passed over. ValueError."""
    if unknown := set(given) - set(known):
        raise ValueError(f"not a field here: {', '.join(sorted(unknown))}")
    return given

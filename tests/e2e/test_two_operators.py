"""Of two operators one writes, and the other takes over when it is gone."""

from __future__ import annotations

import time
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.releases import OPERATOR, Releases
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

FAIL_OVER = 15
"""Seconds within which the other has taken over."""
ADMIN = 9026
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def operators(kubectl: Kubectl) -> list[str]:
    """The names of the operator's pods that are not about to end."""
    pods = kubectl.items("pods", "-l", f"app.kubernetes.io/name={OPERATOR}")
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def holder(kubectl: Kubectl) -> str:
    """Who holds the lease."""
    return str(kubectl.get("lease", "mailboat-operator")["spec"].get("holderIdentity", ""))


def samples(cluster: Cluster, kubectl: Kubectl, pod: str) -> list[Any]:
    """The metrics of an operator."""
    with (
        cluster.reach(kubectl, f"pod/{pod}", ADMIN) as (host, port),
        urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer,
    ):
        return [
            sample for family in text_string_to_metric_families(answer.read().decode()) for sample in family.samples
        ]


def test_one_of_two_operators_writes_and_the_other_takes_over_in_time(
    cluster: Cluster, kubectl: Kubectl, releases: Releases
) -> None:
    relays = releases.both(operator={"replicaCount": 2})
    releases.configure()
    releases.loaded()
    leader = holder(kubectl)
    pods = operators(kubectl)
    assert leader in pods, (leader, pods)
    (other,) = set(pods) - {leader}
    assert _leads(cluster, kubectl, leader)
    assert not _leads(cluster, kubectl, other)
    assert _writes(cluster, kubectl, leader) > 0
    assert _writes(cluster, kubectl, other) == 0, "who waits for the lease writes nothing at all"

    before = relays.hashes()
    begin = time.monotonic()
    kubectl("delete", "pod", leader, "--force", "--grace-period=0")  # killed: it cannot give the lease back
    releases.configure({"outbound": {"concurrencyMax": 7}})
    now = until(lambda: holder(kubectl), lambda found: found not in ("", leader))
    took = time.monotonic() - begin
    print(f"the other operator held the lease {took:.1f} s after the first was killed")
    assert took < FAIL_OVER
    assert now != leader
    releases.loaded()
    assert relays.hashes() != before
    until(
        lambda: [pod for pod in operators(kubectl) if _leads(cluster, kubectl, pod)], lambda leading: leading == [now]
    )


def test_an_operator_that_ends_in_order_hands_over_at_once(
    cluster: Cluster, kubectl: Kubectl, releases: Releases
) -> None:
    releases.both(operator={"replicaCount": 2})
    leader = until(lambda: holder(kubectl), bool)
    begin = time.monotonic()
    kubectl("delete", "pod", leader, "--wait=false")
    until(lambda: holder(kubectl), lambda found: found not in ("", leader))
    took = time.monotonic() - begin
    print(f"handed over after {took:.1f} s")
    assert took < FAIL_OVER


def _leads(cluster: Cluster, kubectl: Kubectl, pod: str) -> bool:
    found = samples(cluster, kubectl, pod)
    return any(sample.name == "leader_election_master_status" and sample.value == 1 for sample in found)


def _writes(cluster: Cluster, kubectl: Kubectl, pod: str) -> float:
    found = samples(cluster, kubectl, pod)
    calls = [sample for sample in found if sample.name == "rest_client_requests_total"]
    return float(sum(sample.value for sample in calls if sample.labels["method"] in WRITES))

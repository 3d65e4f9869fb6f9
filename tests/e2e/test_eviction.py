"""Nodes are drained pod by pod: the PodDisruptionBudget holds the next eviction back until the first pod is back."""

from __future__ import annotations

import json

import pytest
from tests.e2e.load import load, more, settle
from tests.e2e.releases import RELAY, Releases
from tests.e2e.sink import Sink
from tools.cluster.kubectl import Failed, Kubectl, until
from tools.cluster.use import Cluster


def evict(kubectl: Kubectl, pod: str) -> str:
    """What `kubectl drain` does with each pod; the answer. Raises Failed where the API server refuses it."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": kubectl.namespace},
    }
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    return kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def test_only_one_relay_is_evicted_at_a_time_and_nothing_is_lost(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, sink: Sink
) -> None:
    relays = releases.both()
    releases.configure()
    releases.loaded()
    first, second = relays.lives()
    with load(cluster, kubectl, f"service/{RELAY}", 25) as books:
        more(books, 50)
        until(lambda: kubectl.get("pdb", RELAY)["status"]["disruptionsAllowed"], lambda allowed: allowed == 1)
        evict(kubectl, relays.pod(0))
        with pytest.raises(Failed, match=r"TooManyRequests|disruption budget"):
            evict(kubectl, relays.pod(1))
        assert relays.lives()[-1] == second, "it is still there"
        relays.replaced(0, first[0])
        until(lambda: evict(kubectl, relays.pod(1)), bool)
        relays.replaced(1, second[0])
        more(books, 50)
    settle(books, sink)
    assert books.refused_for_good == 0, books.last_refusal
    assert books.duplicates() == []

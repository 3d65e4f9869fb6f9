"""However a pod ends while mail comes in, nothing that was accepted is lost, and nobody is refused for good."""

from __future__ import annotations

import pytest
from tests.e2e.load import load, more, settle
from tests.e2e.relays import Relays
from tests.e2e.releases import RELAY, Releases
from tests.e2e.sink import Sink
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

SERVICE = f"service/{RELAY}"


@pytest.fixture
def relays(releases: Releases) -> Relays:
    """Two relays with an OutboundConfig."""
    relays = releases.both()
    releases.configure()
    releases.loaded()
    return relays


def test_a_deleted_pod_loses_nothing_and_makes_no_duplicates(
    cluster: Cluster, kubectl: Kubectl, relays: Relays, sink: Sink
) -> None:
    (uid, _), _ = relays.lives()
    with load(cluster, kubectl, SERVICE, 25) as books:
        more(books, 100)
        kubectl("delete", "pod", relays.pod(0))
        relays.replaced(0, uid)
        more(books, 100)
    settle(books, sink)
    assert books.duplicates() == []
    assert books.refused_for_good == 0, books.last_refusal


def test_sigkill_of_a_relay_loses_nothing(cluster: Cluster, kubectl: Kubectl, relays: Relays, sink: Sink) -> None:
    with load(cluster, kubectl, SERVICE, 25) as books:
        more(books, 100)
        cluster.sigkill(kubectl, relays.pod(0), "relay")
        until(lambda: relays.restarts(0), bool)
        relays.ready()
        more(books, 100)
    settle(books, sink)
    assert books.refused_for_good == 0, books.last_refusal


def test_rolling_upgrades_lose_nothing_and_refuse_nobody_for_good(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, relays: Relays, sink: Sink
) -> None:
    """`helm upgrade` with another pod template, then `kubectl rollout restart`."""
    with load(cluster, kubectl, SERVICE, 25) as books:
        more(books, 100)
        lives = relays.lives()
        releases.relays({"podAnnotations": {"example.test/change": "one"}})
        lives = _all_new(relays, lives)
        more(books, 100)
        kubectl("rollout", "restart", f"statefulset/{RELAY}")
        relays.ready()
        _all_new(relays, lives)
        more(books, 100)
    settle(books, sink)
    print(f"{len(books.promised)} accepted, {books.refused} refused for now")
    assert books.refused_for_good == 0, books.last_refusal
    assert books.duplicates() == []


def _all_new(relays: Relays, before: list[tuple[str, int]]) -> list[tuple[str, int]]:
    now = relays.lives()
    assert not set(now) & set(before), "every pod was replaced"
    return now

"""A renewed certificate is shown to clients by every pod while mail flows, without a restart."""

from __future__ import annotations

import time

from tests.e2e.load import load, more, settle
from tests.e2e.releases import RELAY, Releases
from tests.e2e.sink import Sink
from tests.e2e.tls import certificate, starttls
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster


def test_a_certificate_is_rotated_under_load_and_nothing_is_lost(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, sink: Sink
) -> None:
    first = certificate(kubectl, "relay-tls", "relay.example.test")
    relays = releases.both()
    releases.configure({"tls": {"certificateSecretRef": {"name": "relay-tls"}}})
    releases.loaded()
    pods = [f"pod/{relays.pod(number)}" for number in (0, 1)]

    def shown() -> set[bytes]:
        return {starttls(cluster, kubectl, pod)[0] for pod in pods}

    assert shown() == {first}
    lives, before = relays.lives(), relays.hashes()
    with load(cluster, kubectl, f"service/{RELAY}", 587) as books:
        more(books, 100)
        begin = time.monotonic()
        second = certificate(kubectl, "relay-tls", "relay.example.test")
        until(shown, lambda certificates: certificates == {second})
        print(f"from the changed Secret to the new certificate in all pods: {time.monotonic() - begin:.1f} s")
        more(books, 100)
    settle(books, sink)
    assert books.refused == 0, books.last_refusal
    assert books.duplicates() == []
    releases.loaded()
    assert relays.hashes() != before, "the hash tells of rotations too"
    assert relays.lives() == lives, "no pod was restarted"

"""Where mail goes and where it comes from, in a real network: MX records, and addresses of each pod's own."""

from __future__ import annotations

import asyncio

from tests.e2e import manifests
from tests.e2e.relays import Relays
from tests.e2e.sink import Sink
from tools.cluster import images
from tools.cluster.kubectl import Kubectl
from tools.cluster.use import Cluster


async def test_mx_records_lead_to_the_sink(cluster: Cluster, kubectl: Kubectl, sink: Sink) -> None:
    zone = cluster.own().zone
    zone.mx("example.test", "mx.example.test")
    zone.address("mx.example.test", sink.address)
    manifests.start(kubectl, images.RELAY, "", replicas=1)
    relays = Relays(cluster, kubectl, "relay")
    await relays.submit("service/relay", 25, "by mx", "bob@example.test")
    (mail,) = sink.until(1)
    assert mail.recipients == ("bob@example.test",)


async def test_each_pod_sends_from_its_own_address_under_its_own_name(
    cluster: Cluster, kubectl: Kubectl, sink: Sink
) -> None:
    binds = [f"relay-{number} = 10.91.0.0/24 mail{number}.sender.test" for number in range(3)]
    route = ["[route:sink]", "domains=*", f"hosts={sink.host}:25"]
    manifests.start(kubectl, images.RELAY, "\n".join(["[bind]", *binds, *route]), replicas=3)
    relays = Relays(cluster, kubectl, "relay")
    await asyncio.gather(*(relays.submit(f"pod/relay-{n}", manifests.SMTP, f"from {n}") for n in range(3)))
    mails = {mail.subject: mail for mail in sink.until(3)}
    for number in range(3):
        mail = mails[f"from {number}"]
        assert mail.hello == f"mail{number}.sender.test"
        assert mail.peer in cluster.own().addresses_of(relays.pods()[number], "relay")
        assert mail.peer.startswith("10.91.0.")
    assert len({mail.peer for mail in mails.values()}) == 3

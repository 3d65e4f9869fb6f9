"""The relay's image in pods, with nothing else of Mailboat's: mail goes through, and no end of a pod loses any."""

from __future__ import annotations

import aiosmtplib
import pytest
from tests.e2e import manifests
from tests.e2e.load import load, more, settle
from tests.e2e.relays import Relays
from tests.e2e.sink import Sink
from tools.cluster import images
from tools.cluster.kubectl import Failed, Kubectl, until
from tools.cluster.use import Cluster


@pytest.fixture
def relays(cluster: Cluster, kubectl: Kubectl, sink: Sink) -> Relays:
    """Two relays that hand everything to the sink."""
    manifests.start(kubectl, images.RELAY, f"[route:sink]\ndomains=*\nhosts={sink.host}:25\n")
    return Relays(cluster, kubectl, "relay")


async def test_mail_to_the_service_arrives_and_is_counted(relays: Relays, sink: Sink) -> None:
    await relays.submit("service/relay", 25, "hello", "bob@there.test", "carol@there.test")
    (mail,) = sink.until(1)
    assert (mail.sender, mail.subject) == ("alice@sender.test", "hello")
    assert sorted(mail.recipients) == ["bob@there.test", "carol@there.test"]
    delivered = "mailboat_deliveries_total{outcome=delivered}"
    until(lambda: relays.total(delivered), lambda recipients: recipients == 2)


def test_a_pod_that_is_deleted_under_load_loses_nothing(
    cluster: Cluster, kubectl: Kubectl, relays: Relays, sink: Sink
) -> None:
    uid = relays.pods()[0]["metadata"]["uid"]
    with load(cluster, kubectl, "service/relay", 25) as books:
        more(books, 200)
        kubectl("delete", "pod", relays.pod(0))
        relays.replaced(0, uid)
        more(books, 200)
    settle(books, sink)
    assert books.duplicates() == [], "a pod that is told to end makes no duplicates"


def test_sigkill_of_a_relay_in_its_pod_under_load_loses_nothing(
    cluster: Cluster, kubectl: Kubectl, relays: Relays, sink: Sink
) -> None:
    with load(cluster, kubectl, "service/relay", 25) as books:
        more(books, 200)
        cluster.sigkill(kubectl, relays.pod(0), "relay")
        until(lambda: relays.restarts(0), bool)
        relays.ready()
        more(books, 200)
    settle(books, sink)


async def test_mail_flows_while_the_api_server_is_away(
    cluster: Cluster, kubectl: Kubectl, relays: Relays, sink: Sink
) -> None:
    node = cluster.own()
    with cluster.reach(kubectl, "service/relay", 25) as (host, port):
        node.kill("kube-apiserver", held=True)
        try:
            with pytest.raises(Failed, match="refused"):
                kubectl("get", "pods")
            client = aiosmtplib.SMTP(hostname=host, port=port, start_tls=False, timeout=30)
            async with client:
                await client.sendmail("alice@sender.test", ["bob@there.test"], b"Subject: meanwhile\r\n\r\n.\r\n")
        finally:
            node.release("kube-apiserver")
    until(lambda: kubectl.items("pods"), bool)
    sink.until(1, "meanwhile")
    assert [relays.restarts(number) for number in range(2)] == [0, 0]

"""The API server goes away for a while: relays take and deliver mail meanwhile, and afterwards all recovers alone."""

from __future__ import annotations

import urllib.request

import aiosmtplib
from tests.e2e.relays import ADMIN, SMTP
from tests.e2e.releases import OPERATOR, RELAY, Releases
from tests.e2e.sink import Sink
from tools.cluster.kubectl import Failed, Kubectl, until
from tools.cluster.use import Cluster

API_SERVER = "kube-apiserver"
DELIVERED = 'mailboat_deliveries_total{outcome="delivered"} '
MAILS = 20


async def test_relays_deliver_without_the_api_server_and_all_recovers_alone(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, sink: Sink
) -> None:
    relays = releases.both()
    releases.configure()
    releases.loaded()
    lives, before = relays.lives(), relays.hashes()
    pod = f"pod/{relays.pod(0)}"
    with (
        cluster.reach(kubectl, pod, SMTP) as (host, smtp),
        cluster.reach(kubectl, pod, ADMIN) as (_, admin),
    ):
        machine = cluster.own()
        machine.kill(API_SERVER, held=True)
        try:
            async with aiosmtplib.SMTP(hostname=host, port=smtp, start_tls=False, timeout=30) as client:
                for number in range(MAILS):
                    body = f"Subject: meanwhile {number}\r\n\r\nGood day.\r\n".encode()
                    await client.sendmail("alice@sender.test", ["bob@there.test"], body)
            until(lambda: _delivered(host, admin), lambda count: count >= MAILS)
        finally:
            machine.release(API_SERVER)
    until(lambda: kubectl("get", "--raw", "/readyz"), bool)
    assert len([mail for mail in sink.mails() if mail.subject.startswith("meanwhile")]) == MAILS

    releases.configure({"outbound": {"concurrencyMax": 7}})
    print(f"a change after the API server's return: loaded by all pods after {releases.loaded():.1f} s")
    assert relays.hashes() != before
    assert relays.lives() == lives, "no relay was restarted"

    machine.kill(API_SERVER)  # once more, and it comes back at once
    until(lambda: kubectl("get", "--raw", "/readyz"), bool)
    releases.configure({"outbound": {"concurrencyMax": 8}})
    releases.loaded()
    kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=60s")
    await relays.submit(f"service/{RELAY}", 25, "afterwards")
    sink.until(1, "afterwards")
    assert relays.lives() == lives


def _delivered(host: str, port: int) -> float:
    """The relay's own count, for as long as kubectl has nobody to ask."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as error:
        raise Failed(str(error)) from None
    return sum(float(line.removeprefix(DELIVERED)) for line in lines if line.startswith(DELIVERED))

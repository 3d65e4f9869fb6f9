"""Deliveries leave each pod from exactly the addresses that the OutboundConfig lists, under the listed EHLO names.

Each pod of the cluster that the tests make has an address in a second network, 10.91.0.0/24, and an IPv6 address; the
test gives it one IPv6 address more. The kernel would choose none of the first and the last by itself.
"""

from __future__ import annotations

import re
from functools import partial

import pytest
from tests.e2e import sink as sinks
from tests.e2e.relays import Relays
from tests.e2e.releases import RELAY, Releases, Values
from tests.e2e.sink import EVERYWHERE, Sink
from tools.cluster import images
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

SECOND = "10.91.0.0/24"
PODS = (0, 1, 2)


@pytest.fixture
def sink(kubectl: Kubectl) -> Sink:
    """A sink for IPv4 and IPv6."""
    return sinks.start(kubectl, images.RELAY, listen=EVERYWHERE)


@pytest.fixture
def relays(releases: Releases) -> Relays:
    """Three relays, with retries at short intervals to come."""
    return releases.both({"replicaCount": len(PODS)})


def egress(kubectl: Kubectl, sink: Sink, egress: Values) -> Values:
    """A spec that sends mail for four.test to the sink's IPv4 address and mail for six.test to the one of IPv6."""
    ips = [each["ip"] for each in kubectl.get("pod", sink.name)["status"]["podIPs"]]
    hosts = {"four": next(ip for ip in ips if "." in ip), "six": next(ip for ip in ips if ":" in ip)}
    routes = [{"name": name, "domains": [f"{name}.test"], "hosts": [{"host": ip}]} for name, ip in hosts.items()]
    return {"egress": egress, "routes": routes, "outbound": {"tempFailIntervals": "5s*100"}}


def second_address(cluster: Cluster, relays: Relays, number: int) -> str:
    """A pod's address in the second network."""
    found = cluster.own().addresses_of(relays.pods()[number], relays.container)
    (address,) = [address for address in found if address.startswith("10.91.")]
    return address


async def arrivals(relays: Relays, sink: Sink, subject: str) -> dict[int, dict[str, tuple[str, str]]]:
    """Submit to each pod by itself; by its number and the recipient's domain, where it came from and its EHLO name."""
    for number in PODS:
        people = [f"u@{domain}.test" for domain in ("four", "six")]
        await relays.submit(f"pod/{relays.pod(number)}", 2525, f"{subject} {number}", *people)
    found: dict[int, dict[str, tuple[str, str]]] = {}
    for number in PODS:
        mails = sink.until(2, f"{subject} {number}")
        found[number] = {mail.recipients[0][2:-5]: (mail.peer, mail.hello) for mail in mails}
    return found


async def test_each_mode_sends_from_the_addresses_and_names_that_it_says(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, relays: Relays, sink: Sink
) -> None:
    """PerPod, Network and PodIP one after the other, in the same pods."""
    lives = relays.lives()
    four = [second_address(cluster, relays, number) for number in PODS]
    six = [f"fd90::a:{number}" for number in PODS]
    for pod, address in zip(relays.pods(), six, strict=True):
        cluster.own().add_address(pod, relays.container, f"{address}/64")
    assert len({*four, *six}) == 2 * len(PODS)

    listed = [
        {"ordinal": number, "bindIPs": [four[number], six[number]], "ehlo": f"mta-{number}.example.test"}
        for number in PODS
    ]
    releases.configure(egress(kubectl, sink, {"mode": "PerPod", "pods": listed}))
    print(f"PerPod: loaded by all pods after {releases.loaded():.1f} s")
    seen = await arrivals(relays, sink, "per pod")
    assert seen == {
        number: {
            "four": (four[number], f"mta-{number}.example.test"),
            "six": (six[number], f"mta-{number}.example.test"),
        }
        for number in PODS
    }

    networks = [SECOND, "fd90::a:0/112"]
    releases.configure(egress(kubectl, sink, {"mode": "Network", "networks": networks, "ehlo": "out.example.test"}))
    releases.loaded()
    seen = await arrivals(relays, sink, "network")
    name = "out.example.test"
    assert seen == {number: {"four": (four[number], name), "six": (six[number], name)} for number in PODS}

    own = [[each["ip"] for each in pod["status"]["podIPs"]] for pod in relays.pods()]
    releases.configure(egress(kubectl, sink, {"mode": "PodIP", "ehlo": "pod.example.test"}))
    releases.loaded()
    seen = await arrivals(relays, sink, "pod ip")
    assert {number: {place for place, _ in found.values()} for number, found in seen.items()} == {
        number: set(own[number]) for number in PODS
    }
    assert {name for found in seen.values() for _, name in found.values()} == {"pod.example.test"}
    assert relays.lives() == lives, "no pod was restarted"


async def test_mail_waits_where_an_address_is_missing_and_goes_when_it_comes(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, relays: Relays, sink: Sink
) -> None:
    """Pod 0 has its address, pod 1 lacks it, pod 2 is not listed: condition, metric and queue say so."""
    first = second_address(cluster, relays, 0)
    missing = "10.90.0.250"
    listed = [{"ordinal": 0, "bindIPs": [first]}, {"ordinal": 1, "bindIPs": [missing]}]
    releases.configure(egress(kubectl, sink, {"mode": "PerPod", "pods": listed}))
    until(
        lambda: kubectl.get("obc", RELAY).get("status", {}).get("relays"),
        lambda found: found and found["summary"] == "3/3",
    )
    for number in PODS:
        await relays.submit(f"pod/{relays.pod(number)}", 2525, f"pod {number}", "u@four.test")
    (mail,) = sink.until(1)
    assert (mail.subject, mail.peer) == ("pod 0", first)

    condition = until(lambda: releases.condition("ConfigLoaded"), lambda found: found["reason"] == "BindAddressMissing")
    assert condition["status"] == "False"
    assert re.search(rf"{relays.pod(1)}: .*{re.escape(missing)}", condition["message"]), condition
    assert relays.pod(2) in condition["message"], condition
    for number in (1, 2):
        (waiting,) = until(partial(relays.queue, number), lambda queue: queue[0]["attempts"])
        assert waiting["state"] == "deferred"
        assert relays.metrics(number)["mailboat_bind_failures_total"] >= 1
    assert relays.metrics(0)["mailboat_bind_failures_total"] == 0
    assert [mail.subject for mail in sink.mails()] == ["pod 0"], "nothing came from another address"

    cluster.own().add_address(relays.pods()[1], relays.container, f"{missing}/24")
    (late,) = sink.until(1, "pod 1")
    assert late.peer == missing
    third = second_address(cluster, relays, 2)
    releases.configure(egress(kubectl, sink, {"mode": "PerPod", "pods": [*listed, {"ordinal": 2, "bindIPs": [third]}]}))
    releases.loaded()
    (last,) = sink.until(1, "pod 2")
    assert last.peer == third

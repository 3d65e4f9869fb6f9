"""The validating resolver beside each relay, in a cluster whose own DNS does not validate."""

from __future__ import annotations

from typing import Any

import pytest
from tests.e2e.relays import Relays
from tests.e2e.releases import RELAY, Releases
from tests.e2e.sink import Sink
from tools.cluster import images, node
from tools.cluster.names import SignedZone
from tools.cluster.use import Cluster, until

_ASK = """\
import sys, dns.flags, dns.message, dns.query, dns.rcode
question = dns.message.make_query(*sys.argv[1:], flags=dns.flags.RD | dns.flags.AD)
answer = dns.query.udp(question, "127.0.0.1", port=5335, timeout=20)
print(dns.rcode.to_text(answer.rcode()), "AD" if answer.flags & dns.flags.AD else "-", len(answer.answer))
"""
"""What a relay asks of the resolver: the status, whether it is authenticated, the number of record sets."""

_PLANT = """\
import pathlib, sys
pathlib.Path("/var/lib/unbound/root.key").write_text(sys.argv[1])
"""


@pytest.fixture
def zone(cluster: Cluster, sink: Sink) -> SignedZone:
    """A signed zone, with a mail domain whose host is the sink, and a name whose record is forged."""
    zone = cluster.own().signed_zone
    zone.mx("example.signed", "mx.example.signed")
    zone.unsigned = ["forged.signed. 1 IN A 192.0.2.1"]
    zone.address("mx.example.signed", sink.address)
    return zone


async def test_the_resolver_validates_what_the_relay_asks_and_mail_goes_by_its_answers(
    cluster: Cluster, releases: Releases, zone: SignedZone, sink: Sink
) -> None:
    relays = releases.relays(with_resolver(cluster.own().signed_root))

    assert asked(relays, "example.signed", "MX") == "NOERROR AD 1"
    assert asked(relays, "_25._tcp.mx.example.signed", "TLSA") == "NXDOMAIN AD 0"
    assert asked(relays, "forged.signed", "A") == "SERVFAIL - 0", "no signature: bogus"
    assert asked(relays, sink.host, "A") == "NOERROR - 1", "of the cluster's own DNS, which is not validated"

    await relays.submit(f"service/{RELAY}", 25, "by a signed MX", "bob@example.signed")
    (mail,) = sink.until(1)
    assert mail.recipients == ("bob@example.signed",)


def test_an_outboundconfig_says_that_dane_is_available_once_the_resolver_is_there(
    cluster: Cluster, releases: Releases, zone: SignedZone
) -> None:
    values = {"outboundConfig": {"create": True}, "replicaCount": 1}
    releases.both(values)
    releases.loaded()
    until(lambda: releases.condition("DANEAvailable")["reason"], lambda found: found == "NoValidatingResolver")
    assert "resolver.enabled" in releases.condition("DANEAvailable")["message"]

    relays = releases.relays(values | with_resolver(cluster.own().signed_root))

    until(lambda: releases.condition("DANEAvailable")["status"], lambda found: found == "True")
    assert relays.metrics(0)["mailboat_dane_available"] == 1


def with_resolver(root: SignedZone) -> dict[str, Any]:
    """Values of relays whose resolver asks the cluster's signed root, and trusts its key instead of the Internet's."""
    image = {"registry": "localhost", "tag": "e2e", "pullPolicy": "Never"}
    planting = {
        "name": "trust-anchor",
        "image": images.RELAY,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", _PLANT, root.ds],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "resolver", "mountPath": "/var/lib/unbound"}],
    }
    resolver = {
        "enabled": True,
        "image": image,
        "forwarders": [f"{node.ADDRESS}@{node.ROOT_PORT}"],
        "extraConfig": f'forward-zone:\n  name: "{node.SIGNED}"\n  forward-addr: {node.ADDRESS}@{node.SIGNED_PORT}',
    }
    return {"replicaCount": 1, "extraInitContainers": [planting], "resolver": resolver}


def asked(relays: Relays, name: str, kind: str) -> str:
    """What the relay's container gets of the resolver."""
    python = ("/opt/mailboat/bin/python", "-c", _ASK, name, kind)
    return relays.kubectl("exec", relays.pod(0), "-c", "relay", "--", *python).strip()

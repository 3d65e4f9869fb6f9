"""A Secret that cannot be used is named in the resource's status, and the pods keep what they had."""

from __future__ import annotations

import pytest
from tests.e2e.relays import Relays
from tests.e2e.releases import RELAY, Releases
from tests.e2e.sink import Sink
from tests.e2e.tls import certificate, put, starttls
from tests.support.pem import self_signed
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

SECRET = "relay-tls"


@pytest.fixture
def relays(releases: Releases) -> Relays:
    """Two relays that run an OutboundConfig without any reference."""
    relays = releases.both()
    releases.configure()
    releases.loaded()
    return relays


async def test_a_bad_secret_is_named_and_the_last_good_configuration_stays(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, relays: Relays, sink: Sink
) -> None:
    """Missing, then malformed, then with a key of another certificate; then mended."""
    good = relays.hashes()

    def refused(reason: str, words: str) -> None:
        condition = until(lambda: releases.condition("ResolvedRefs"), lambda found: found["reason"] == reason)
        assert condition["status"] == "False"
        assert f"Secret {SECRET}" in condition["message"], condition
        assert words in condition["message"], condition
        assert releases.condition("Programmed")["reason"] == "LastGoodKept"
        assert releases.condition("Ready")["status"] == "False"
        assert relays.hashes() == good, "the pods keep what they had"

    releases.configure({"outbound": {"concurrencyMax": 7}, "tls": {"certificateSecretRef": {"name": SECRET}}})
    refused("SecretNotFound", "does not exist")
    put(kubectl, SECRET, b"no key", b"no certificate")
    refused("InvalidCertificate", "tls.crt")
    put(kubectl, SECRET, self_signed("one.test")[0], self_signed("another.test")[1])
    until(lambda: releases.condition("ResolvedRefs")["message"], lambda message: "tls.key" in message)
    refused("InvalidCertificate", "tls.key")
    events = kubectl("get", "events", "--field-selector=involvedObject.kind=OutboundConfig")
    assert "SecretNotFound" in events, events
    assert "PRIVATE KEY" not in kubectl("get", "obc", RELAY, "-o", "yaml") + events, "nothing secret is told"
    await relays.submit(f"service/{RELAY}", 25, "meanwhile")
    sink.until(1, "meanwhile")

    shown = certificate(kubectl, SECRET, "relay.example.test")
    releases.loaded()
    assert relays.hashes() != good
    for number in (0, 1):
        assert starttls(cluster, kubectl, f"pod/{relays.pod(number)}")[0] == shown

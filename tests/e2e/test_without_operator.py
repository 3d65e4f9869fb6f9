"""Relays depend on nobody: not on the operator, and not on the resource that their configuration was made from."""

from __future__ import annotations

import json
from functools import partial

import pytest
from tests.e2e.relays import Relays
from tests.e2e.releases import OPERATOR, RELAY, Releases
from tests.e2e.sink import Sink
from tools.cluster.kubectl import Kubectl, until

from mailboat.config.hash import config_hash

CHILDREN = f"configmap/{RELAY}-outbound", f"configmap/{RELAY}-tls"


@pytest.fixture
def relays(releases: Releases) -> Relays:
    """Two relays that run an OutboundConfig: all mail goes to the sink."""
    relays = releases.both()
    releases.configure({"outbound": {"concurrencyMax": 7}})
    releases.loaded()
    return relays


async def test_relays_deliver_and_restart_without_the_operator_which_catches_up(
    kubectl: Kubectl, releases: Releases, relays: Relays, sink: Sink
) -> None:
    (good,) = relays.hashes()
    kubectl("scale", f"deployment/{OPERATOR}", "--replicas=0")
    kubectl("wait", "--for=delete", "pod", "-l", f"app.kubernetes.io/name={OPERATOR}", "--timeout=60s")
    releases.configure({"outbound": {"concurrencyMax": 9}})
    await relays.submit(f"service/{RELAY}", 25, "without")
    sink.until(1, "without")

    (uid, _), _ = relays.lives()
    kubectl("delete", "pod", relays.pod(0))
    relays.replaced(0, uid)
    assert relays.hashes() == {good}, "what was rendered last holds for new pods, too"
    await relays.submit(f"pod/{relays.pod(0)}", 2525, "from a new pod")
    sink.until(1, "from a new pod")

    kubectl("scale", f"deployment/{OPERATOR}", "--replicas=1")
    print(f"from the operator's start to loaded by all pods: {releases.loaded():.1f} s")
    assert relays.hashes() != {good}


async def test_relays_keep_the_last_good_configuration_when_the_outboundconfig_is_deleted(
    kubectl: Kubectl, releases: Releases, relays: Relays, sink: Sink
) -> None:
    """Its children go with it. A pod that starts later has nothing but the chart's values, as the documents say."""
    (good,) = relays.hashes()
    lives = relays.lives()
    kubectl("delete", "obc", RELAY)
    until(lambda: [child for child in CHILDREN if kubectl.exists(child)], lambda left: not left)
    for number in (0, 1):
        said = json.loads(until(partial(relays.ask, number, "/configz"), lambda said: json.loads(said)["error"]))
        assert "outbound.ini" in said["error"]
        assert said["hash"] == good
        assert relays.metrics(number)["mailboat_config_last_reload_successful"] == 0
    await relays.submit(f"service/{RELAY}", 25, "after the end", "bob@nowhere.test")
    sink.until(1, "after the end")
    assert relays.lives() == lives

    (uid, _), _ = lives
    kubectl("delete", "pod", relays.pod(0))
    relays.replaced(0, uid)
    assert relays.config_hash(0) == config_hash(None, None), "a new pod has the defaults"

    releases.configure({"outbound": {"concurrencyMax": 7}})
    releases.loaded()
    assert relays.hashes() == {good}, "the same resource again makes the same of all pods"
    assert relays.lives()[1] == lives[1]

"""What the relay pods say becomes a condition; what they are asked to do, they are asked. With a real API server."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.support.fake_relay import IMAGE, FakeRelay, pod, set_ready, stateful_set
from tests.support.kube_api import KubeApi, until
from tests.support.operator_process import OperatorProcess
from tools.cluster.kubectl import Kubectl

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("running")]

TARGET = {"targetRef": {"name": "relay"}}


@pytest.fixture
def relays() -> Iterator[list[FakeRelay]]:
    """Two admin listeners."""
    made = [FakeRelay(), FakeRelay()]
    yield made
    for relay in made:
        relay.close()


@pytest.fixture
def pods(api: KubeApi, relays: list[FakeRelay]) -> list[str]:
    """A StatefulSet with a ready pod for each of them."""
    owner = stateful_set(api, len(relays))
    return [pod(api, owner, ordinal, relay) for ordinal, relay in enumerate(relays)]


def config_hash(api: KubeApi) -> str:
    """The hash of what is rendered now, once the present generation is."""
    api.until_condition("relay", "Programmed", "True")
    return str(api.get("outboundconfigs", "relay")["status"]["config"]["hash"])


def summary(api: KubeApi) -> Any:
    """`status.relays.summary`."""
    return api.get("outboundconfigs", "relay").get("status", {}).get("relays", {}).get("summary")


def loaded_by_all(api: KubeApi, relays: list[FakeRelay]) -> None:
    """Bring a resource to Ready."""
    api.config("relay", TARGET)
    hash_ = config_hash(api)
    for relay in relays:
        relay.runs(hash_)
    api.until_condition("relay", "Ready", "True")


def test_it_is_ready_when_all_pods_run_it(
    api: KubeApi, kubectl: Kubectl, relays: list[FakeRelay], pods: list[str], running: OperatorProcess
) -> None:
    api.config("relay", TARGET)
    hash_ = config_hash(api)
    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "Loading"))
    assert summary(api) == "0/2"

    relays[0].runs(hash_)
    until(lambda: summary(api), lambda found: found == "1/2")
    assert f"{pods[1]}: runs another configuration" in api.message("relay", "Ready")

    relays[1].runs(hash_)
    kubectl("wait", "--for=condition=Ready", "obc/relay", "--timeout=60s")
    assert summary(api) == "2/2"
    assert api.message("relay", "ConfigLoaded") == "2 of 2 pods run it"
    assert running.metric("mailboat_operator_apply_to_loaded_seconds_count") >= 1


def test_a_pod_that_refuses_the_configuration_is_named(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    api.config("relay", TARGET)
    relays[0].runs(config_hash(api))
    relays[1].configz["error"] = "tls.ini:3: [main] ciphers: OpenSSL refuses it"

    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "LoadFailed"))

    assert f"{pods[1]}: tls.ini:3: [main] ciphers: OpenSSL refuses it" in api.message("relay", "ConfigLoaded")


def test_a_source_address_that_is_missing_is_said(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    loaded_by_all(api, relays)
    relays[1].configz["warnings"] = ["this machine does not have the source address 192.0.2.7, which [bind] names"]

    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "BindAddressMissing"))
    assert f"{pods[1]}: this machine does not have the source address 192.0.2.7" in api.message("relay", "Ready")


def test_what_a_pod_tells_reaches_the_status_within_five_seconds(
    api: KubeApi, relays: list[FakeRelay], pods: list[str]
) -> None:
    loaded_by_all(api, relays)

    def told(rows: list[dict[str, Any]]) -> str:
        return str(rows[1].get("error"))

    def seconds_until_told(error: str) -> float:
        relays[1].configz["error"] = error
        began = time.monotonic()
        until(lambda: api.get("outboundconfigs", "relay")["status"]["relays"]["pods"], lambda rows: told(rows) == error)
        return time.monotonic() - began

    # The test itself may be slow on a busy machine: it has three tries.
    assert any(seconds_until_told(f"tls.ini:{line}: bad") < 5 for line in (1, 2, 3))
    assert api.condition("relay", "ConfigLoaded") == ("False", "LoadFailed")


def test_a_pod_that_is_not_ready_is_shown(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    loaded_by_all(api, relays)
    assert api.condition("relay", "PodsReady") == ("True", "PodsReady")

    set_ready(api, pods[1], ready=False)
    api.patch("statefulsets", "relay", {"status": {"replicas": 2, "readyReplicas": 1}}, "/status")

    until(lambda: api.condition("relay", "PodsReady"), lambda found: found == ("False", "PodsNotReady"))
    assert api.condition("relay", "Ready")[0] == "True"
    rows = api.get("outboundconfigs", "relay")["status"]["relays"]["pods"]
    assert [(row["name"], row["ready"], row["address"], row["imageID"]) for row in rows] == [
        (pods[0], True, "127.0.0.1", IMAGE),
        (pods[1], False, "127.0.0.1", IMAGE),
    ]


def test_pods_without_a_resolver_that_validates_are_named_in_a_condition_of_its_own(
    api: KubeApi, relays: list[FakeRelay], pods: list[str]
) -> None:
    for relay in relays:
        relay.configz["dane"] = "available"
    loaded_by_all(api, relays)
    until(lambda: api.condition("relay", "DANEAvailable"), lambda found: found == ("True", "DANEAvailable"))

    relays[1].configz["dane"] = "unavailable"

    until(lambda: api.condition("relay", "DANEAvailable"), lambda found: found == ("False", "NoValidatingResolver"))
    assert f"{pods[1]}: no trusted DNS server validates" in api.message("relay", "DANEAvailable")
    assert api.condition("relay", "Ready")[0] == "True"


def test_a_pod_that_talks_nonsense_or_nothing_is_said(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    relays[0].raw = b"<html>"
    relays[1].close()
    api.config("relay", TARGET)

    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "PodUnreachable"))

    assert "relay-0: does not answer" in api.message("relay", "ConfigLoaded")
    assert f"{pods[1]}: does not answer" in api.message("relay", "ConfigLoaded")


def test_pods_that_are_not_ready_are_not_waited_for(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    set_ready(api, pods[1], ready=False)
    api.config("relay", TARGET)
    relays[0].runs(config_hash(api))

    api.until_condition("relay", "Ready", "True")

    assert summary(api) == "1/2"
    assert api.message("relay", "ConfigLoaded") == "1 of 2 pods run it, 1 not ready"


def test_without_ready_pods_it_is_not_ready(api: KubeApi) -> None:
    api.config("relay", TARGET)
    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "TargetNotFound"))

    stateful_set(api, 2)
    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "NoReadyPods"))

    api.patch("statefulsets", "relay", {"spec": {"replicas": 0}})
    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("Unknown", "NoReplicas"))
    assert api.condition("relay", "Ready")[0] == "True"


def test_pods_of_others_are_not_asked(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    """The selector alone does not make a pod one of the workload."""
    stranger = FakeRelay()
    stranger.configz["error"] = "not one of yours"
    other = stateful_set(api, 1, name="other")
    pod(api, other, 0, stranger)

    loaded_by_all(api, relays)

    assert summary(api) == f"{len(pods)}/2"
    stranger.close()


def test_a_flush_is_asked_of_every_relay_with_the_token_and_once(
    api: KubeApi, relays: list[FakeRelay], pods: list[str]
) -> None:
    token = base64.b64encode(b"secret-token\n").decode()
    labels = {"mailboat.dev/allow": "outboundconfig"}
    api.create("secrets", {"metadata": {"name": "admin", "labels": labels}, "data": {"token": token}})
    api.config("relay", {"targetRef": {"name": "relay", "adminTokenSecretRef": {"name": "admin"}}})
    hash_ = config_hash(api)

    api.patch("outboundconfigs", "relay", {"metadata": {"annotations": {"mailboat.dev/flush-requested-at": "noon"}}})

    until(lambda: api.get("outboundconfigs", "relay")["status"].get("lastHandledFlushAt"), lambda at: at == "noon")
    for relay in relays:
        relay.runs(hash_)
    api.until_condition("relay", "Ready", "True")
    assert [relay.flushes for relay in relays] == [["Bearer secret-token"]] * len(pods)


def test_with_restart_the_hash_goes_into_the_pod_template(api: KubeApi, pods: list[str]) -> None:
    api.config("relay", {**TARGET, "reload": "Restart"})

    def stamp() -> Any:
        metadata = api.get("statefulsets", "relay")["spec"]["template"]["metadata"]
        return metadata.get("annotations", {}).get("mailboat.dev/config-hash")

    hash_ = config_hash(api)
    until(stamp, lambda found: found == hash_)
    assert api.get("statefulsets", "relay")["spec"]["template"]["spec"]["containers"][0]["name"] == "relay"

    api.patch("outboundconfigs", "relay", {"spec": {"outbound": {"mxPort": 26}}})
    until(stamp, lambda found: found != hash_)
    assert stamp() == config_hash(api)
    assert len(pods) == 2


def test_a_token_whose_owner_does_not_allow_it_is_sent_to_nobody(
    api: KubeApi, relays: list[FakeRelay], pods: list[str]
) -> None:
    loaded_by_all(api, relays)
    api.create("secrets", {"metadata": {"name": "admin"}, "stringData": {"token": "secret-token"}})
    flush = {"metadata": {"annotations": {"mailboat.dev/flush-requested-at": "noon"}}}

    api.patch("outboundconfigs", "relay", flush | {"spec": {"targetRef": {"adminTokenSecretRef": {"name": "admin"}}}})

    api.until_condition("relay", "ResolvedRefs", "False", "SecretNotAllowed")
    assert [relay.flushes for relay in relays] == [[""]] * len(pods)


def test_with_restart_a_workload_that_does_not_mount_it_is_not_touched(api: KubeApi, relays: list[FakeRelay]) -> None:
    version = stateful_set(api, 1, mounts="other-outbound")["metadata"]["resourceVersion"]

    api.config("relay", {**TARGET, "reload": "Restart"})

    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "NotMounted"))
    assert api.condition("relay", "Programmed")[0] == "True"
    assert api.get("statefulsets", "relay")["metadata"]["resourceVersion"] == version


def test_two_for_one_target_have_one_owner(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    """They took turns in restarting its pods before. The younger one takes over when the older one goes."""
    api.config("relay", {**TARGET, "reload": "Restart"})
    api.until_condition("relay", "Programmed", "True")

    api.config("second", {**TARGET, "outbound": {"mxPort": 26}, "reload": "Restart"})

    until(lambda: api.condition("second", "ConfigLoaded"), lambda found: found == ("False", "TargetConflict"))
    assert "is the older OutboundConfig relay's" in api.message("second", "Ready")
    until(lambda: api.condition("relay", "ConfigLoaded"), lambda found: found == ("False", "Loading"))
    again = {"metadata": {"annotations": {"mailboat.dev/reconcile-requested-at": "1"}}}
    for name in ("relay", "second"):
        api.patch("outboundconfigs", name, again)
        until(partial(api.get, "outboundconfigs", name), lambda found: found["status"].get("lastHandledReconcileAt"))
    assert api.get("statefulsets", "relay")["metadata"]["generation"] == 2, "made, and stamped once"

    api.delete("outboundconfigs", "relay")
    # Its template mounts what is rendered of the other one: it is still not restarted.
    until(lambda: api.condition("second", "ConfigLoaded"), lambda found: found == ("False", "NotMounted"))


def test_without_restart_the_workload_is_not_touched(api: KubeApi, relays: list[FakeRelay], pods: list[str]) -> None:
    before = api.get("statefulsets", "relay")["metadata"]["resourceVersion"]

    loaded_by_all(api, relays)

    assert api.get("statefulsets", "relay")["metadata"]["resourceVersion"] == before
    assert pods

"""Restarts and replicas: nothing is written that is there already, and never do two write."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.kube_api import KubeApi, until
from tests.support.operator_process import OperatorProcess, operator
from tests.support.pem import self_signed
from tools.cluster.apiserver import ApiServer

pytestmark = pytest.mark.apiserver

NUMBER = 20
DONE = 'controller_runtime_reconcile_total{controller="outboundconfig",result="success"}'


@pytest.fixture
def replicas(crd_server: ApiServer, tmp_path: Path) -> Iterator[Any]:
    """Starts further replicas; all are ended afterwards."""
    with ExitStack() as stack:

        def start(*words: str) -> OperatorProcess:
            replica = OperatorProcess(crd_server.kubeconfig, tmp_path, *words)
            stack.callback(replica.stop)
            return replica

        yield start


def versions(api: KubeApi) -> dict[tuple[str, str], str]:
    """The version of everything that the operator could write."""
    return {
        (plural, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
        for plural in ("outboundconfigs", "configmaps", "secrets")
        for item in api.items(plural)
    }


def settled(api: KubeApi) -> dict[tuple[str, str], str]:
    """Some resources, all ready, the first with a Secret, whose hash needs the key that is kept; and their versions."""
    key, certificate = (base64.b64encode(pem).decode() for pem in self_signed("relay.example.com"))
    api.create("secrets", {"metadata": {"name": "cert"}, "data": {"tls.key": key, "tls.crt": certificate}})
    for number in range(NUMBER):
        api.config(f"relay-{number}", {"tls": {"certificateSecretRef": {"name": "cert"}}} if number == 0 else {})
    for number in range(NUMBER):
        api.until_condition(f"relay-{number}", "Ready", "True")
    return versions(api)


def test_a_restart_and_a_resync_write_nothing(crd_server: ApiServer, api: KubeApi, tmp_path: Path) -> None:
    words = (f"--namespace={api.namespace}", "--resync=1")
    with operator(crd_server.kubeconfig, tmp_path, *words):
        before = settled(api)

    with operator(crd_server.kubeconfig, tmp_path, *words) as again:
        until(lambda: again.metric(DONE), lambda count: count >= 3 * NUMBER)
        assert again.metric("mailboat_operator_missed_events_total") == 0
        assert versions(api) == before


def test_what_happened_while_nobody_watched_is_found_at_the_start(
    crd_server: ApiServer, api: KubeApi, tmp_path: Path
) -> None:
    words = (f"--namespace={api.namespace}",)
    with operator(crd_server.kubeconfig, tmp_path, *words):
        settled(api)
    api.delete("configmaps", "relay-1-tls")
    api.patch("configmaps", "relay-2-outbound", {"data": {"outbound.ini": "[main]\nmx_port=1\n"}})
    api.patch("outboundconfigs", "relay-3", {"spec": {"outbound": {"mxPort": 26}}})
    api.config("new")

    with operator(crd_server.kubeconfig, tmp_path, *words):
        api.until_condition("new", "Ready", "True")
        api.until_condition("relay-3", "Ready", "True")
        until(lambda: api.get("configmaps", "relay-1-tls"), lambda found: found)
        until(
            lambda: api.get("configmaps", "relay-2-outbound")["data"]["outbound.ini"],
            lambda text: "mx_port=25\n" in text,
        )


def leader(api: KubeApi) -> str:
    """Who holds the lease."""
    lease = api.call("GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/mailboat-operator")
    return str(lease["spec"]["holderIdentity"])


def test_the_second_takes_over_from_one_that_ends(api: KubeApi, replicas: Any) -> None:
    first = replicas(f"--namespace={api.namespace}")
    first.until_ready()
    second = replicas(f"--namespace={api.namespace}")
    until(lambda: second.http("/readyz")[0], lambda status: status == 200)
    assert not second.leads

    assert first.stop() == 0

    began = time.monotonic()
    second.until_ready()
    assert time.monotonic() - began < 10, "the lease was given back, not waited for"
    api.config("relay")
    api.until_condition("relay", "Ready", "True")


def test_the_second_takes_over_from_one_that_dies_within_15_seconds(api: KubeApi, replicas: Any) -> None:
    first = replicas(f"--namespace={api.namespace}")
    first.until_ready()
    second = replicas(f"--namespace={api.namespace}")
    until(lambda: second.http("/readyz")[0], lambda status: status == 200)
    holder = leader(api)

    first.kill()

    began = time.monotonic()
    until(lambda: second.leads, lambda leads: leads, 60)
    assert time.monotonic() - began < 15
    assert leader(api) != holder
    api.config("relay")
    api.until_condition("relay", "Ready", "True")


def test_one_that_was_asleep_writes_nothing_when_it_wakes(api: KubeApi, replicas: Any) -> None:
    """It still believes to lead; what it had in mind must not be written beside the new leader's."""
    first = replicas(f"--namespace={api.namespace}")
    first.until_ready()
    second = replicas(f"--namespace={api.namespace}")
    os.kill(first.process.pid, signal.SIGSTOP)
    until(lambda: second.leads, lambda leads: leads, 60)
    second.until_ready()
    api.config("relay")
    api.until_condition("relay", "Ready", "True")
    before = versions(api)

    os.kill(first.process.pid, signal.SIGCONT)

    assert first.process.wait(timeout=60) == 1
    assert "has lost the lease" in first.log
    assert versions(api) == before
    assert second.leads

"""Helm installs, changes and removes both charts on a real API server, which checks every field and Pod Security.

Nobody runs pods here: what they do is for the tests in a whole cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.helm import CHARTS, EXAMPLES, Helm, RefusedError
from tools.cluster.apiserver import ApiServer, running
from tools.cluster.kubectl import Failed, Kubectl

pytestmark = pytest.mark.apiserver

NAMESPACE = "mail"
FOREIGN = ("PodMonitor", "PrometheusRule")
"""Types of the Prometheus operator, which is not here."""


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[ApiServer]:
    """A server of its own: a resource type belongs to one release."""
    with running() as server:
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")},
            },
        }
        server.kubectl().apply(namespace)
        yield server


class Installed:
    """Releases in the namespace, removed at the end."""

    def __init__(self, helm: Helm, server: ApiServer) -> None:
        self.helm = helm
        self.kubectl: Kubectl = server.kubectl(NAMESPACE)
        self._releases: list[str] = []
        self._cluster = (f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}")

    def __call__(self, verb: str, release: str, chart: str = "", values: Any = None, *more: str) -> str:
        if verb == "install":
            self._releases.append(release)
        places: list[str | Path] = [CHARTS / chart] if chart else []
        return self.helm.run(verb, release, *places, *self._cluster, *more, values=values)

    def remove_all(self) -> None:
        for release in self._releases:
            self("uninstall", release, "", None, "--ignore-not-found")


@pytest.fixture(name="helm_does")
def _helm_does(helm: Helm, server: ApiServer) -> Iterator[Installed]:
    installed = Installed(helm, server)
    yield installed
    installed.remove_all()


def example(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


def test_operator_relays_and_their_configuration_are_installed_changed_and_removed(helm_does: Installed) -> None:
    kubectl = helm_does.kubectl
    helm_does("install", "mailboat-operator", "mailboat-operator")
    helm_does("install", "mailboat-relay", "mailboat-relay", example("relay-smart-host"))
    assert kubectl.get("outboundconfig", "mailboat-relay")["spec"]["targetRef"] == {"name": "mailboat-relay"}

    changed = example("relay-smart-host")
    changed["config"]["relayAllow"].append("10.245.0.0/16")
    changed["outboundConfig"]["spec"]["outbound"] = {"concurrencyMax": 7}
    changed["replicaCount"] = 4
    helm_does("upgrade", "mailboat-relay", "mailboat-relay", changed)
    config = kubectl.get("configmap", "mailboat-relay-config")["data"]
    assert config["relay_acl_allow"].splitlines()[-1] == "10.245.0.0/16"
    assert kubectl.get("outboundconfig", "mailboat-relay")["spec"]["outbound"]["concurrencyMax"] == 7
    assert kubectl.get("statefulset", "mailboat-relay")["spec"]["replicas"] == 4

    helm_does("uninstall", "mailboat-relay")
    assert not kubectl.exists(
        "statefulset,service,configmap,outboundconfig",
        "-l",
        "app.kubernetes.io/part-of=mailboat,app.kubernetes.io/component=relay",
    )


def test_the_resource_types_outlive_the_operator_and_are_taken_up_again(helm_does: Installed) -> None:
    crds = ("crd/outboundconfigs.mailboat.dev", "crd/sendingdomains.mailboat.dev")
    helm_does("install", "mailboat-operator", "mailboat-operator")
    helm_does.kubectl.established(*crds)
    helm_does("uninstall", "mailboat-operator")
    assert all(map(helm_does.kubectl.exists, crds))
    helm_does("install", "mailboat-operator", "mailboat-operator")
    helm_does("upgrade", "mailboat-operator", "mailboat-operator", {"replicaCount": 2})


def test_an_upgrade_with_the_same_values_changes_nothing(helm_does: Installed) -> None:
    """Fields that the API server fills in differently would restart pods with each upgrade."""
    kubectl = helm_does.kubectl
    helm_does("install", "mailboat-operator", "mailboat-operator")
    helm_does("install", "mailboat-relay", "mailboat-relay", example("relay-minimal"))
    kinds = "statefulset,service,configmap,serviceaccount,poddisruptionbudget,deployment,role,rolebinding"

    def versions() -> dict[tuple[str, str], str]:
        objects = kubectl.items(kinds, "-l", "app.kubernetes.io/part-of=mailboat")
        return {(each["kind"], each["metadata"]["name"]): each["metadata"]["resourceVersion"] for each in objects}

    before = versions()
    assert len(before) >= 10
    helm_does("upgrade", "mailboat-operator", "mailboat-operator")
    helm_does("upgrade", "mailboat-relay", "mailboat-relay", example("relay-minimal"))
    assert versions() == before


def test_an_autoscaler_may_set_the_number_of_pods_between_upgrades(helm_does: Installed) -> None:
    values = {"autoscaling": {"enabled": True}}
    helm_does("install", "mailboat-relay", "mailboat-relay", values)
    helm_does.kubectl("scale", "statefulset/mailboat-relay", "--replicas=4")
    helm_does("upgrade", "mailboat-relay", "mailboat-relay", {**values, "config": {"me": "relay.example.com"}})
    assert helm_does.kubectl.get("statefulset", "mailboat-relay")["spec"]["replicas"] == 4


def pods_wanted(kubectl: Kubectl) -> int:
    return int(kubectl.get("statefulset", "mailboat-relay")["spec"]["replicas"])


def test_an_autoscaler_that_comes_later_finds_as_many_pods_as_there_were(helm_does: Installed) -> None:
    """Taken to one, the others would leave their queues behind."""
    helm_does("install", "mailboat-relay", "mailboat-relay", {"replicaCount": 3})
    for _ in range(2):
        helm_does("upgrade", "mailboat-relay", "mailboat-relay", {"autoscaling": {"enabled": True}})
        assert pods_wanted(helm_does.kubectl) == 3


def test_a_stateful_set_that_is_made_anew_under_its_pods_wants_as_many_as_its_autoscaler(helm_does: Installed) -> None:
    """As docs/kubernetes.md has it done for larger volumes."""
    kubectl = helm_does.kubectl
    values: Any = {"autoscaling": {"enabled": True, "maxReplicas": 9}}
    helm_does("install", "mailboat-relay", "mailboat-relay", values)
    status = {"status": {"desiredReplicas": 4, "currentReplicas": 4}}
    kubectl("patch", "hpa/mailboat-relay", "--subresource=status", "--type=merge", f"--patch={json.dumps(status)}")
    kubectl("delete", "statefulset/mailboat-relay", "--cascade=orphan")
    helm_does("upgrade", "mailboat-relay", "mailboat-relay", {**values, "persistence": {"size": "16Gi"}})
    assert pods_wanted(kubectl) == 4


def test_an_upgrade_to_fewer_pods_says_what_becomes_of_their_mail(helm_does: Installed) -> None:
    """As happens unmeant where an autoscaler is taken away and `replicaCount` is what it always was."""
    helm_does("install", "mailboat-relay", "mailboat-relay", {"autoscaling": {"enabled": True}})
    helm_does.kubectl("scale", "statefulset/mailboat-relay", "--replicas=4")
    notes = helm_does("upgrade", "mailboat-relay", "mailboat-relay", {"replicaCount": 2})
    assert "WARNING: there were 4 relays." in notes
    assert "--set replicaCount=4" in notes
    assert "there were" not in helm_does("upgrade", "mailboat-relay", "mailboat-relay", {"replicaCount": 3})


def test_a_larger_volume_is_refused_by_the_api_server_and_nothing_else_changes(helm_does: Installed) -> None:
    """What docs/kubernetes.md has a way for."""
    helm_does("install", "mailboat-relay", "mailboat-relay")
    with pytest.raises(RefusedError, match=r"volumeClaimTemplates.*field is immutable"):
        helm_does("upgrade", "mailboat-relay", "mailboat-relay", {"persistence": {"size": "16Gi"}})


def test_a_resource_that_no_operator_has_read_says_so_and_so_does_the_next_upgrade(helm_does: Installed) -> None:
    """Its mail waits. The API server says it, as there is nobody else who could."""
    helm_does("install", "mailboat-operator", "mailboat-operator")  # nobody runs its pod here
    values = {"outboundConfig": {"create": True}}
    notes = helm_does("install", "mailboat-relay", "mailboat-relay", values)
    assert "kubectl -n mail describe outboundconfig mailboat-relay" in notes
    (ready,) = helm_does.kubectl.get("outboundconfig", "mailboat-relay")["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "Unknown", "NoOperator")
    assert "watch.namespaces" in ready["message"]
    shown = helm_does.kubectl("get", "outboundconfig", "mailboat-relay")
    assert re.search(r"Unknown +NoOperator", shown), shown
    assert f"WARNING: MAIL WAITS. {ready['message']}" in helm_does(
        "upgrade", "mailboat-relay", "mailboat-relay", values
    )

    read = {"status": {"conditions": [{**ready, "status": "True", "reason": "Ready", "message": ""}]}}
    helm_does.kubectl(
        *("patch", "outboundconfig/mailboat-relay", "--subresource=status", "--type=merge"),
        f"--patch={json.dumps(read)}",
    )
    assert "MAIL WAITS" not in helm_does("upgrade", "mailboat-relay", "mailboat-relay", values)


def test_an_outboundconfig_without_its_type_says_what_is_missing(helm_does: Installed) -> None:
    kubectl = helm_does.kubectl
    kubectl("delete", "crd", "outboundconfigs.mailboat.dev", "--ignore-not-found")
    kubectl.until(
        lambda: kubectl("api-resources", "--api-group=mailboat.dev"), lambda text: "outboundconfigs" not in text
    )
    with pytest.raises(RefusedError, match='no matches for kind "OutboundConfig"'):
        helm_does("install", "mailboat-relay", "mailboat-relay", {"outboundConfig": {"create": True}})


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_api_server_takes_each_example_without_a_warning(helm: Helm, helm_does: Installed, path: Path) -> None:
    """Strictly: unknown fields are errors. The warnings are those of Pod Security `restricted`, and of old fields."""
    helm_does("install", "mailboat-operator", "mailboat-operator")
    chart = f"mailboat-{path.name.partition('-')[0]}"
    rendered = helm.template(chart, values=yaml.safe_load(path.read_text()), release=f"{chart}-x")
    objects = [each for each in rendered.objects if each["kind"] not in (*FOREIGN, "CustomResourceDefinition")]
    text = yaml.safe_dump_all(objects)
    strict = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    if path.stem == "relay-addresses-nodes":
        # The node's network is what `restricted` forbids; everything else is in order.
        with pytest.raises(Failed, match=r"host namespaces"):
            helm_does.kubectl(*strict, "--warnings-as-errors", stdin=text)
        helm_does.kubectl(*strict, stdin=text)
    else:
        helm_does.kubectl(*strict, "--warnings-as-errors", stdin=text)

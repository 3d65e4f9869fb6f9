"""The operator's chart: its rights, its resource types, its pod."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from scripts.charts import CRDS
from tests.support.helm import EXAMPLES, Helm, Object, Rendered

from mailboat_operator import lease

pytestmark = pytest.mark.helm

RIGHTS = {
    ("mailboat.dev", "outboundconfigs"): {"get", "list", "watch"},
    ("mailboat.dev", "outboundconfigs/status"): {"patch", "update"},
    ("mailboat.dev", "outboundconfigs/finalizers"): {"update"},
    ("mailboat.dev", "sendingdomains"): {"get", "list", "watch"},
    ("mailboat.dev", "sendingdomains/status"): {"patch", "update"},
    ("mailboat.dev", "sendingdomains/finalizers"): {"update"},
    ("", "configmaps"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "secrets"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "pods"): {"get", "list", "watch"},
    ("apps", "statefulsets"): {"get", "list", "watch", "patch"},
    ("", "events"): {"create", "patch"},
}
LEASE = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [lease.NAME],
        "verbs": ["get", "update", "patch"],
    },
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
]
"""Of other leases of the namespace it can neither read nor change one."""


def rights_of(role: Object) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def container_of(rendered: Rendered) -> Object:
    return dict(rendered.one("Deployment")["spec"]["template"]["spec"]["containers"][0])


def test_its_rights_are_what_it_needs_in_its_own_namespace(helm: Helm) -> None:
    rendered = helm.template("mailboat-operator")
    assert rendered.of("ClusterRole") == rendered.of("ClusterRoleBinding") == []
    roles = {role["metadata"]["name"]: role for role in rendered.of("Role")}
    assert rights_of(roles["mailboat-operator"]) == RIGHTS
    assert roles["mailboat-operator-lease"]["rules"] == LEASE
    assert {role["metadata"]["namespace"] for role in roles.values()} == {"mail"}
    assert "--namespace=mail" in container_of(rendered)["args"]


def test_for_all_namespaces_it_has_the_same_rights_everywhere(helm: Helm) -> None:
    rendered = helm.template("mailboat-operator", values={"watch": {"allNamespaces": True}})
    role = rendered.one("ClusterRole")
    assert rights_of(role) == RIGHTS
    assert rendered.one("ClusterRoleBinding")["roleRef"]["name"] == role["metadata"]["name"] == "mail:mailboat-operator"
    # The Lease stays where the operator is.
    assert rendered.one("Role")["rules"] == LEASE
    assert "--all-namespaces" in container_of(rendered)["args"]


def test_the_right_to_write_dnsendpoints_is_given_by_choice_only(helm: Helm) -> None:
    rendered = helm.template("mailboat-operator", values={"rbac": {"dnsEndpoints": True}})
    role = next(role for role in rendered.of("Role") if role["metadata"]["name"] == "mailboat-operator")
    endpoints = {("externaldns.k8s.io", "dnsendpoints"): {"get", "list", "watch", "create", "patch", "delete"}}
    assert rights_of(role) == RIGHTS | endpoints


def test_for_some_namespaces_it_has_a_role_in_each(helm: Helm) -> None:
    rendered = helm.template("mailboat-operator", values={"watch": {"namespaces": ["shop", "news"]}})
    places = [role["metadata"]["namespace"] for role in rendered.of("Role") if rights_of(role) == RIGHTS]
    assert sorted(places) == ["news", "shop"]
    arguments = container_of(rendered)["args"]
    assert {"--namespace=shop", "--namespace=news"} <= set(arguments)
    assert "--namespace=mail" not in arguments


@pytest.mark.parametrize("values", [{}, {"watch": {"allNamespaces": True}}, {"watch": {"namespaces": ["shop"]}}])
def test_each_right_is_bound_to_the_account_of_the_pod(helm: Helm, values: Any) -> None:
    rendered = helm.template("mailboat-operator", values=values)
    account = rendered.one("ServiceAccount")["metadata"]
    bindings = [*rendered.of("RoleBinding"), *rendered.of("ClusterRoleBinding")]
    roles = {(each["kind"], each["metadata"]["name"]) for each in rendered.objects if each["kind"].endswith("Role")}
    assert {(each["roleRef"]["kind"], each["roleRef"]["name"]) for each in bindings} == roles
    for each in bindings:
        assert each["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]
    assert rendered.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]


def test_the_resource_types_are_those_of_crds_and_are_kept(helm: Helm) -> None:
    sources = [yaml.safe_load(crd.read_text()) for crd in sorted(CRDS.glob("*.yaml"))]
    assert helm.template("mailboat-operator").of("CustomResourceDefinition") == sources
    loose = helm.template("mailboat-operator", values={"crds": {"keep": False}}).of("CustomResourceDefinition")
    assert not any("annotations" in crd["metadata"] for crd in loose)
    assert [crd["spec"] for crd in loose] == [crd["spec"] for crd in sources]
    none = helm.template("mailboat-operator", values={"crds": {"enabled": False}})
    assert none.of("CustomResourceDefinition") == []


def test_the_pod_obeys_pod_security_restricted(helm: Helm) -> None:
    pod = helm.template("mailboat-operator").one("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_probes_and_metrics_are_where_it_listens(helm: Helm) -> None:
    rendered = helm.template("mailboat-operator", values={"listen": "[::]:9999"})
    container = container_of(rendered)
    assert "--listen=[::]:9999" in container["args"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9999}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}


def test_two_replicas_share_a_budget_and_one_has_none(helm: Helm) -> None:
    assert helm.template("mailboat-operator").of("PodDisruptionBudget") == []
    rendered = helm.template(
        "mailboat-operator", values=yaml.safe_load((EXAMPLES / "operator-two-replicas.yaml").read_text())
    )
    assert rendered.one("PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert rendered.one("Deployment")["spec"]["replicas"] == 2
    assert rendered.one("PodMonitor")["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_more_objects_arguments_and_containers_are_added(helm: Helm) -> None:
    values: dict[str, Any] = {
        "extraArgs": ["--x"],
        "extraEnv": [{"name": "X", "value": "1"}],
        "extraContainers": [{"name": "mine"}],
        "extraVolumes": [{"name": "mine", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "mine", "mountPath": "/mine"}],
        "extraObjects": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-x"}}],
    }
    rendered = helm.template("mailboat-operator", values=values)
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    operator, mine = pod["containers"]
    assert (operator["args"][-1], operator["env"][-1], mine["name"]) == ("--x", values["extraEnv"][0], "mine")
    assert pod["volumes"][-1]["name"] == operator["volumeMounts"][-1]["name"] == "mine"
    assert rendered.one("Secret")["metadata"]["name"] == "mailboat-operator-x"


def test_the_notes_say_the_next_command(helm: Helm) -> None:
    notes = helm.notes("mailboat-operator")
    assert "kubectl -n mail rollout status deployment/mailboat-operator" in notes
    assert "helm -n mail install mailboat-relay" in notes
    assert "WARNING" not in notes
    assert "deletes the resource types" in helm.notes("mailboat-operator", {"crds": {"keep": False}})

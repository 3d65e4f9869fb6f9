"""The relay's chart: every optional object and every value that is passed on appears where it belongs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.helm import CHARTS, Helm, Object, Rendered

pytestmark = pytest.mark.helm

ITEM = {"name": "mine"}
POD_VALUES: dict[str, Any] = {
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "mail", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "mail",
    "runtimeClassName": "gvisor",
    "schedulerName": "mine",
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["192.0.2.53"]},
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["mx"]}],
    "hostUsers": False,
    "imagePullSecrets": [ITEM],
}
CONTAINER_VALUES: dict[str, tuple[str, Any]] = {
    "extraArgs": ("args", ["--x"]),
    "extraEnv": ("env", [{"name": "X", "value": "1"}]),
    "extraEnvFrom": ("envFrom", [{"secretRef": ITEM}]),
    "extraVolumeMounts": ("volumeMounts", [{"name": "mine", "mountPath": "/mine"}]),
    "extraPorts": ("ports", [{"name": "x", "containerPort": 1}]),
}


def spec_of(rendered: Rendered) -> Object:
    return dict(rendered.one("StatefulSet")["spec"]["template"]["spec"])


@pytest.mark.parametrize("name", POD_VALUES)
def test_a_value_of_the_pod_is_passed_on(helm: Helm, name: str) -> None:
    assert spec_of(helm.template("mailboat-relay", values={name: POD_VALUES[name]}))[name] == POD_VALUES[name]


@pytest.mark.parametrize("name", CONTAINER_VALUES)
def test_a_value_of_the_container_is_added(helm: Helm, name: str) -> None:
    field, items = CONTAINER_VALUES[name]
    relay = spec_of(helm.template("mailboat-relay", values={name: items}))["containers"][0]
    assert relay[field][-1] == items[-1]
    assert field == "envFrom" or len(relay[field]) > 1


def test_more_containers_and_volumes_stand_beside_ours(helm: Helm) -> None:
    values = {
        "extraContainers": [ITEM],
        "extraInitContainers": [ITEM],
        "extraVolumes": [{"name": "mine", "emptyDir": {}}],
    }
    spec = spec_of(helm.template("mailboat-relay", values=values))
    assert [each["name"] for each in spec["containers"]] == ["relay", "mine"]
    assert [each["name"] for each in spec["initContainers"]] == ["mine"]
    assert spec["volumes"][-1] == {"name": "mine", "emptyDir": {}}


def test_labels_and_annotations_go_to_every_object(helm: Helm) -> None:
    values = {"commonLabels": {"team": "mail"}, "commonAnnotations": {"owner": "mail"}}
    rendered = helm.template("mailboat-relay", values=values)
    for each in rendered.objects:
        assert each["metadata"]["labels"]["team"] == "mail", each["kind"]
        assert each["metadata"]["annotations"]["owner"] == "mail", each["kind"]
    pod = rendered.one("StatefulSet")["spec"]["template"]["metadata"]
    assert pod["labels"]["team"] == "mail"


def test_a_new_version_of_the_chart_alone_replaces_no_pod(helm: Helm) -> None:
    labels = helm.template("mailboat-relay").one("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "mailboat-relay:0.1.0"),
        (
            {"image": {"registry": "registry.example.com:5000", "tag": "x"}},
            "registry.example.com:5000/mailboat-relay:x",
        ),
        ({"global": {"imageRegistry": "mirror.example.com"}}, "mirror.example.com/mailboat-relay:0.1.0"),
        ({"image": {"digest": f"sha256:{'0' * 64}"}}, f"mailboat-relay@sha256:{'0' * 64}"),
    ],
)
def test_the_image_is_named_by_its_parts(helm: Helm, values: Any, image: str) -> None:
    assert spec_of(helm.template("mailboat-relay", values=values))["containers"][0]["image"] == image


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("mailboat-relay", {}, "mailboat-relay"),
        ("shop", {}, "shop-mailboat-relay"),
        ("shop", {"nameOverride": "mail"}, "shop-mail"),
        ("shop", {"fullnameOverride": "relay"}, "relay"),
        (
            "a-release-with-a-name-as-long-as-helm-lets-it-be-53",
            {},
            "a-release-with-a-name-as-long-as-helm-lets-it-be-53",
        ),
    ],
)
def test_names_follow_the_release_and_leave_room_for_hashes(helm: Helm, release: str, values: Any, name: str) -> None:
    found = helm.template("mailboat-relay", values=values, release=release).one("StatefulSet")["metadata"]["name"]
    assert found == name
    assert len(found) <= 52


def test_an_outboundconfig_is_made_of_values(helm: Helm) -> None:
    values = {
        "outboundConfig": {"create": True, "name": "mine", "spec": {"outbound": {"concurrencyMax": 500}}},
        "admin": {"tokenSecret": "relay-admin"},
    }
    made = helm.template("mailboat-relay", values=values).one("OutboundConfig")
    assert made["metadata"]["name"] == "mine"
    assert "helm.sh/hook" not in made["metadata"].get("annotations", {})
    assert made["spec"] == {
        "targetRef": {"name": "mailboat-relay", "adminTokenSecretRef": {"name": "relay-admin", "key": "token"}},
        "outbound": {"concurrencyMax": 500},
    }
    assert helm.template("mailboat-relay").of("OutboundConfig") == []


def test_the_notes_name_the_label_for_each_secret_that_the_operator_needs_leave_for(helm: Helm) -> None:
    said = "label secret {} mailboat.dev/allow=outboundconfig"
    assert "mailboat.dev/allow" not in helm.notes("mailboat-relay")
    assert said.format("relay-admin") in helm.notes("mailboat-relay", {"admin": {"tokenSecret": "relay-admin"}})
    hosts = [{"host": "smtp.example.net"}]
    oauth = {"tokenURL": "https://login.example.net/token", "clientID": "me", "clientSecretRef": {"name": "app"}}
    oauth["refreshTokenRef"] = {"name": "refresh", "key": "token"}
    routes = [
        {"name": "a", "domains": ["a.test"], "hosts": hosts, "authSecretRef": {"name": "provider"}},
        {"name": "b", "domains": ["b.test"], "hosts": hosts, "authSecretRef": {"name": "provider"}, "oauth": oauth},
        {"name": "c", "domains": ["c.test"], "hosts": hosts},
    ]
    notes = helm.notes("mailboat-relay", {"outboundConfig": {"create": True, "spec": {"routes": routes}}})
    assert said.format("app provider refresh") in notes


def test_prometheus_finds_each_pod_by_the_labels_it_looks_for(helm: Helm) -> None:
    values = {"metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}}
    rendered = helm.template("mailboat-relay", values=values)
    monitor = rendered.one("PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    pod = rendered.one("StatefulSet")["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    # The alerts and the dashboard take a job for a release.
    assert (
        pod["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        == monitor["metadata"]["labels"]["app.kubernetes.io/instance"]
    )
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in [each["name"] for each in pod["spec"]["containers"][0]["ports"]]


def test_alerts_are_those_of_the_file_and_lead_to_their_runbooks(helm: Helm) -> None:
    """Their braces are Prometheus's, and no template's."""
    source = yaml.safe_load((CHARTS / "mailboat-relay" / "files" / "alerts.yaml").read_text())
    values: Any = {"metrics": {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}}
    made = helm.template("mailboat-relay", values=values).one("PrometheusRule")
    assert made["spec"] == source
    assert made["metadata"]["labels"]["release"] == "prometheus"
    values["metrics"]["prometheusRule"]["runbookURL"] = "https://git.example.com/mailboat/"
    linked = helm.template("mailboat-relay", values=values).one("PrometheusRule")
    links = [rule["annotations"]["runbook_url"] for group in linked["spec"]["groups"] for rule in group["rules"]]
    assert all(link.startswith("https://git.example.com/mailboat/docs/runbooks.md#") for link in links)


def test_the_dashboard_is_that_of_the_file(helm: Helm) -> None:
    source = json.loads((CHARTS / "mailboat-relay" / "files" / "dashboard.json").read_text())
    rendered = helm.template("mailboat-relay", values={"metrics": {"dashboard": {"enabled": True}}})
    made = rendered.one("ConfigMap", "mailboat-relay-dashboard")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["mailboat-relay.json"]) == source


def test_a_load_balancer_keeps_clients_addresses(helm: Helm) -> None:
    service = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"], "nodePorts": {"smtp": 30025}}
    spec = helm.template("mailboat-relay", values={"service": service}).one("Service", "mailboat-relay")["spec"]
    assert spec["externalTrafficPolicy"] == "Local"
    assert spec["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert spec["ports"][0]["nodePort"] == 30025


def test_more_objects_are_rendered_as_templates(helm: Helm) -> None:
    objects = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-map"}},
        "apiVersion: v1\nkind: Secret\nmetadata: {name: '{{ .Release.Name }}-text'}\n",
    ]
    rendered = helm.template("mailboat-relay", values={"extraObjects": objects})
    assert [each["metadata"]["name"] for each in rendered.of("Secret")] == ["mailboat-relay-map", "mailboat-relay-text"]


def test_the_notes_say_the_next_commands(helm: Helm) -> None:
    notes = helm.notes("mailboat-relay")
    assert "kubectl -n mail rollout status statefulset/mailboat-relay" in notes
    assert "kubectl -n mail exec mailboat-relay-0 -- mailboat send --test" in notes
    assert "helm -n mail test mailboat-relay --logs" in notes
    assert "ONLY THE PODS THEMSELVES MAY RELAY YET" in notes
    assert "ONLY THE PODS" not in helm.notes("mailboat-relay", {"config": {"relayAllow": ["10.0.0.0/8"]}})


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        (
            {"service": {"type": "LoadBalancer"}, "config": {"relayAllow": ["10.0.0.0/8"]}},
            "not that of a load balancer",
        ),
        ({"persistence": {"retention": {"whenScaled": "Delete"}}}, "is lost"),
        ({"hostNetwork": True}, "Pod Security"),
    ],
)
def test_the_notes_warn_of_what_is_dangerous(helm: Helm, values: Any, warning: str) -> None:
    assert warning in helm.notes("mailboat-relay", values)
    assert warning not in helm.notes("mailboat-relay")


@pytest.mark.parametrize("chart", ["mailboat-relay", "mailboat-operator"])
def test_a_packed_chart_renders_the_same(helm: Helm, chart: str, tmp_path: Path) -> None:
    helm.run("package", CHARTS / chart, "--destination", tmp_path)
    (packed,) = tmp_path.glob("*.tgz")
    text = helm.run("template", chart, packed, "--namespace", "mail")
    assert [each for each in yaml.safe_load_all(text) if each] == helm.template(chart).objects


def test_both_charts_pass_helms_own_check(helm: Helm) -> None:
    for chart in ("mailboat-relay", "mailboat-operator"):
        assert "0 chart(s) failed" in helm.lint(chart)

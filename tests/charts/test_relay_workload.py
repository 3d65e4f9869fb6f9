"""The relay's chart: pods, claims, Services, and what stands around them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import chart_config
from tests.support.helm import Helm, Object, Rendered

pytestmark = pytest.mark.helm


def pod_of(rendered: Rendered) -> Object:
    return dict(rendered.one("StatefulSet")["spec"]["template"]["spec"])


def relay_of(rendered: Rendered) -> Object:
    (container,) = (each for each in pod_of(rendered)["containers"] if each["name"] == "relay")
    return dict(container)


def test_the_pod_is_what_operator_and_relay_count_on(helm: Helm) -> None:
    rendered = helm.template("mailboat-relay")
    relay = relay_of(rendered)
    assert relay["args"][:2] == ["relay", "--config=/etc/mailboat"]
    env = {each["name"]: each.get("value") or each["valueFrom"]["fieldRef"]["fieldPath"] for each in relay["env"]}
    assert env["POD_NAME"] == "metadata.name"
    assert env["POD_IP"] == "status.podIP"
    assert env["POD_IPS"] == "status.podIPs"
    assert env["POD_INDEX"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert env["MAILBOAT_QUEUE_DIR"] == "/var/spool/mailboat"
    assert {each["name"]: each["containerPort"] for each in relay["ports"]} == {
        "smtp": 2525,
        "submission": 2587,
        "admin": 9025,
    }
    assert {each["name"]: each["mountPath"] for each in relay["volumeMounts"]} == {
        "config": "/etc/mailboat",
        "dkim": "/etc/mailboat/dkim",
        "queue": "/var/spool/mailboat",
        "tmp": "/tmp",
    }
    assert not any("subPath" in each for each in relay["volumeMounts"])


def test_the_operators_files_are_optional_and_come_last(helm: Helm) -> None:
    rendered = helm.template("mailboat-relay", values={"outboundConfig": {"name": "mine"}})
    sources = chart_config.volume(rendered)["projected"]["sources"]
    assert sources == [
        {"configMap": {"name": "mailboat-relay-config"}},
        {"configMap": {"name": "mine-outbound", "optional": True}},
        {"configMap": {"name": "mine-tls", "optional": True}},
        {"secret": {"name": "mine-credentials", "optional": True}},
    ]
    assert chart_config.volume(rendered)["projected"]["defaultMode"] == 0o440


def test_the_operators_dkim_keys_come_into_a_folder_of_their_own_without_a_change_of_the_pod(helm: Helm) -> None:
    rendered = helm.template("mailboat-relay", values={"outboundConfig": {"name": "mine"}})
    keys = chart_config.volume(rendered, "dkim")["projected"]
    assert keys["sources"] == [{"secret": {"name": f"mine-dkim-{n}", "optional": True}} for n in range(8)]
    assert keys["defaultMode"] == 0o440


def test_dkim_keys_of_the_values_stand_beside_those_of_the_operator(helm: Helm) -> None:
    """In the volume of the folder: what another volume has there would be hidden by it."""
    name = "s1._domainkey.example.com.pem"
    items = [{"key": "users", "path": "auth_flat_file.ini"}, {"key": "dkim", "path": f"dkim/{name}"}]
    own = {"existingSecrets": [{"name": "own", "items": items}, {"name": "more", "items": items[1:]}]}
    rendered = helm.template("mailboat-relay", values={"config": own})

    config, keys = (chart_config.volume(rendered, each)["projected"]["sources"] for each in ("config", "dkim"))
    assert {"secret": {"name": "own", "items": items[:1]}} in config
    assert not any(source.get("secret", {}).get("name") == "more" for source in config)
    placed = [{"key": "dkim", "path": name}]
    assert keys[:2] == [{"secret": {"name": each, "items": placed}} for each in ("own", "more")]
    assert len(keys) == 10


@pytest.mark.parametrize(
    ("values", "waits"), [({"create": True}, True), ({"required": True}, True), ({"name": "mine"}, False)]
)
def test_mail_waits_for_an_outboundconfig_that_is_to_come(helm: Helm, values: Any, waits: bool) -> None:
    rendered = helm.template("mailboat-relay", values={"outboundConfig": values})
    config = rendered.one("ConfigMap", "mailboat-relay-config")
    assert ("await_outbound=true" in config["data"]["smtp.ini"].splitlines()) is waits


def test_pods_obey_pod_security_restricted(helm: Helm) -> None:
    """What that standard asks of each field that a chart sets; the API server of the cluster tests asks it again."""
    values = {"config": {"relayAllow": ["10.0.0.0/8"]}, "resolver": {"enabled": True}}
    rendered = helm.template("mailboat-relay", values=values)
    for pod in (pod_of(rendered), rendered.one("Pod")["spec"]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"projected", "emptyDir", "configMap"}


def test_the_statefulset_keeps_mail_whatever_becomes_of_its_pods(helm: Helm) -> None:
    spec = helm.template("mailboat-relay").one("StatefulSet")["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}
    assert spec["serviceName"] == "mailboat-relay-headless"
    assert set(spec["selector"]["matchLabels"]) <= set(spec["template"]["metadata"]["labels"])


def test_a_pod_starts_with_the_last_good_configuration_of_its_volume(helm: Helm) -> None:
    relay = relay_of(helm.template("mailboat-relay"))
    assert "--last-good" in relay["args"]
    assert {"name": "MAILBOAT_QUEUE_DIR", "value": "/var/spool/mailboat"} in relay["env"]
    assert "--last-good" not in relay_of(helm.template("mailboat-relay", values={"lastGood": False}))["args"]


def test_a_pod_has_time_to_drain_before_it_is_killed(helm: Helm) -> None:
    rendered = helm.template("mailboat-relay", values={"drainTimeoutSeconds": 300, "preStopSleepSeconds": 10})
    assert "--drain-timeout=300" in relay_of(rendered)["args"]
    assert relay_of(rendered)["lifecycle"] == {"preStop": {"sleep": {"seconds": 10}}}
    assert pod_of(rendered)["terminationGracePeriodSeconds"] == 325
    longer = helm.template("mailboat-relay", values={"terminationGracePeriodSeconds": 600})
    assert pod_of(longer)["terminationGracePeriodSeconds"] == 600


def test_the_probes_ask_the_admin_listener(helm: Helm) -> None:
    relay = relay_of(helm.template("mailboat-relay"))
    asked = {name: relay[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startupProbe": "/startupz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    assert {probe["port"] for probe in asked.values()} == {"admin"}
    # The relay takes up to 8 s to say which worker hangs.
    assert all(relay[name]["timeoutSeconds"] > 8 for name in asked)


def test_clients_find_the_low_ports_and_people_single_pods(helm: Helm) -> None:
    rendered = helm.template("mailboat-relay", values={"tls": {"secretName": "t"}, "smtps": {"enabled": True}})
    service = rendered.one("Service", "mailboat-relay")["spec"]
    assert {each["port"]: each["targetPort"] for each in service["ports"]} == {
        25: "smtp",
        587: "submission",
        465: "submissions",
    }
    headless = rendered.one("Service", "mailboat-relay-headless")["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    named = {each["name"] for each in relay_of(rendered)["ports"]}
    assert {each["targetPort"] for each in (*service["ports"], *headless["ports"])} <= named


def test_a_service_never_leads_to_the_pod_of_the_test(helm: Helm) -> None:
    rendered = helm.template("mailboat-relay")
    for service in rendered.of("Service"):
        selector = service["spec"]["selector"].items()
        assert not selector <= rendered.one("Pod")["metadata"]["labels"].items()


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"relayAllow": ["10.0.0.0/8"]}},
        {"config": {"me": "relay.example.com"}},
        {"config": {"smtp": {"databytes": "50M"}}},
        {"config": {"files": {"outbound.ini": "disabled=true\n"}}},
        {"config": {"plugins": ["process_title"], "files": {"process_title.ini": ""}}},
        {"outboundConfig": {"create": True}},
        {"replicaCount": 5},
        {"metrics": {"podMonitor": {"enabled": True}}},
    ],
)
def test_what_a_running_relay_takes_up_replaces_no_pod(helm: Helm, change: Any) -> None:
    before, after = (helm.template("mailboat-relay", values=each) for each in (None, change))
    assert before.one("StatefulSet")["spec"]["template"] == after.one("StatefulSet")["spec"]["template"]


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"smtp": {"nodes": "cpus"}}},
        {"listen": {"addresses": ["0.0.0.0"]}},
        {"tls": {"secretName": "t"}, "smtps": {"enabled": True}},
        {"hostNetwork": True},
        {"admin": {"readWithoutToken": True}},
        {"config": {"files": {"plugins.d/mine.py": ""}}},
        {"image": {"tag": "x"}},
    ],
)
def test_what_takes_a_restart_replaces_the_pods(helm: Helm, change: Any) -> None:
    before, after = (helm.template("mailboat-relay", values=each) for each in (None, change))
    assert before.one("StatefulSet")["spec"]["template"] != after.one("StatefulSet")["spec"]["template"]


def test_one_pod_may_go_at_a_time(helm: Helm) -> None:
    budget = helm.template("mailboat-relay").one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    other = helm.template(
        "mailboat-relay", values={"podDisruptionBudget": {"maxUnavailable": "", "minAvailable": "50%"}}
    )
    assert "maxUnavailable" not in other.one("PodDisruptionBudget")["spec"]
    assert (
        helm.template("mailboat-relay", values={"podDisruptionBudget": {"enabled": False}}).of("PodDisruptionBudget")
        == []
    )


def test_an_autoscaler_owns_the_number_of_pods(helm: Helm) -> None:
    """With server-side apply two owners of one field are a conflict."""
    rendered = helm.template("mailboat-relay", values={"autoscaling": {"enabled": True}})
    assert "replicas" not in rendered.one("StatefulSet")["spec"]
    behavior = rendered.one("HorizontalPodAutoscaler")["spec"]["behavior"]["scaleDown"]
    assert behavior["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 600}]
    assert "WARNING: autoscaling is on" in helm.notes("mailboat-relay", {"autoscaling": {"enabled": True}})


def test_networks_are_attached_and_the_nodes_network_used_on_request(helm: Helm) -> None:
    networks = [{"name": "egress", "namespace": "mail", "interface": "net1"}]
    attached = helm.template("mailboat-relay", values={"networkAttachments": networks})
    annotations = attached.one("StatefulSet")["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(annotations["k8s.v1.cni.cncf.io/networks"]) == networks
    pod = pod_of(helm.template("mailboat-relay", values={"hostNetwork": True}))
    assert pod["hostNetwork"] is True
    assert pod["dnsPolicy"] == "ClusterFirstWithHostNet"


def test_on_the_nodes_network_no_admin_listener_lacks_a_token(helm: Helm) -> None:
    """Loopback is then the node's, where others live."""
    rendered = helm.template("mailboat-relay", values={"hostNetwork": True})
    assert "127.0.0.1" not in rendered.one("ConfigMap", "mailboat-relay-config")["data"]["http.ini"]


def test_mail_without_a_volume_is_said_to_be_at_risk(helm: Helm) -> None:
    values = {"persistence": {"enabled": False}}
    rendered = helm.template("mailboat-relay", values=values)
    assert "volumeClaimTemplates" not in rendered.one("StatefulSet")["spec"]
    assert chart_config.volume(rendered, "queue")["emptyDir"] == {"sizeLimit": "8Gi"}
    assert "WARNING: persistence is off" in helm.notes("mailboat-relay", values)

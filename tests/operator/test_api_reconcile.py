"""From a resource to its children, and back to them whatever is done to them: with a real API server."""

from __future__ import annotations

import base64
import re
import time
from typing import Any

import pytest
from tests.support.kube_api import KubeApi, Refused, until
from tests.support.operator_process import OperatorProcess
from tests.support.pem import self_signed
from tools.cluster.kubectl import Kubectl

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("running")]

SMART_HOST = {
    "routes": [
        {
            "name": "a",
            "domains": ["*"],
            "hosts": [{"host": "smtp.example.net"}],
            "tls": "Required",
            "authSecretRef": {"name": "provider"},
        }
    ]
}
MANAGED = {"app.kubernetes.io/managed-by": "mailboat-operator", "mailboat.dev/outboundconfig": "relay"}


def tls_secret(name: str, host: str = "relay.example.com") -> dict[str, Any]:
    """A Secret as cert-manager makes it."""
    key, certificate = self_signed(host)
    return secret(name, "kubernetes.io/tls", **{"tls.key": key, "tls.crt": certificate})


def secret(name: str, kind: str = "Opaque", **data: bytes) -> dict[str, Any]:
    """A Secret."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": encoded}


def allowed(body: dict[str, Any]) -> dict[str, Any]:
    """The same with its owner's consent."""
    return body | {"metadata": {**body["metadata"], "labels": {"mailboat.dev/allow": "outboundconfig"}}}


def credentials(api: KubeApi) -> dict[str, bytes]:
    """The files in `relay-credentials`."""
    data = api.get("secrets", "relay-credentials")["data"]
    return {name: base64.b64decode(text) for name, text in data.items() if name != "hash.key"}


def programmed(api: KubeApi, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    """A resource whose children have been written."""
    api.config("relay", spec)
    api.until_condition("relay", "Programmed", "True")
    found: dict[str, Any] = api.get("outboundconfigs", "relay")
    return found


def outbound_ini(api: KubeApi) -> str:
    """What the pods would read."""
    return str((api.get("configmaps", "relay-outbound") or {"data": {}})["data"].get("outbound.ini", ""))


def test_a_resource_gets_its_children(api: KubeApi) -> None:
    resource = programmed(api, {"outbound": {"concurrencyMax": 7}})

    assert "concurrency_max=7\n" in outbound_ini(api)
    for name in ("relay-outbound", "relay-tls"):
        metadata = api.get("configmaps", name)["metadata"]
        assert metadata["labels"] == MANAGED
        (owner,) = metadata["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (resource["metadata"]["uid"], True)
    assert api.get("secrets", "relay-credentials") is None
    assert api.condition("relay", "Ready") == ("True", "Ready")
    assert resource["status"]["config"]["configMaps"] == ["relay-outbound", "relay-tls"]
    assert "finalizers" not in resource["metadata"]
    assert "annotations" not in resource["metadata"]


def test_kubectl_waits_for_it_and_shows_it(api: KubeApi, kubectl: Kubectl) -> None:
    api.config("relay", {"outbound": {"disabled": True}})

    kubectl("wait", "--for=condition=Ready", "obc/relay", "--timeout=60s")

    header, row = kubectl("get", "obc", "-o", "wide").splitlines()
    shown = dict(zip(header.split(), row.replace("Ready  ", "Ready - ", 1).split(), strict=False))
    assert (shown["NAME"], shown["READY"], shown["REASON"]) == ("relay", "True", "Ready")
    assert "sha256:" in row
    assert "true" in row


def test_a_change_is_written_and_nothing_else_is(api: KubeApi) -> None:
    programmed(api)
    tls = api.get("configmaps", "relay-tls")["metadata"]["resourceVersion"]

    api.patch("outboundconfigs", "relay", {"spec": {"outbound": {"disabled": True, "tempFailIntervals": "60s, 5m"}}})

    until(lambda: outbound_ini(api), lambda text: "disabled=true\n" in text and "temp_fail_intervals=1m, 5m\n" in text)
    api.until_condition("relay", "Programmed", "True")
    assert api.get("configmaps", "relay-tls")["metadata"]["resourceVersion"] == tls


DRIFTS: list[tuple[str, dict[str, Any]]] = [
    ("a changed value", {"data": {"outbound.ini": "[main]\nconcurrency_max=1\n"}}),
    ("a key beside", {"data": {"relay_acl_allow": "0.0.0.0/0"}}),
    ("a binary key beside", {"binaryData": {"evil": "AAAA"}}),
    ("a missing key", {"data": {"outbound.ini": None}}),
    ("no owner", {"metadata": {"ownerReferences": None}}),
    ("no label", {"metadata": {"labels": {"mailboat.dev/outboundconfig": None}}}),
]


@pytest.mark.parametrize(("what", "patch"), DRIFTS, ids=[what for what, _ in DRIFTS])
def test_drift_is_repaired_within_a_second(api: KubeApi, what: str, patch: dict[str, Any]) -> None:
    programmed(api)
    good = api.get("configmaps", "relay-outbound")

    def seconds_until_repaired() -> float:
        api.patch("configmaps", "relay-outbound", patch)
        began = time.monotonic()
        repaired = until(lambda: api.get("configmaps", "relay-outbound"), lambda found: same(found, good))
        assert repaired["metadata"]["uid"] == good["metadata"]["uid"]
        return time.monotonic() - began

    # The test itself may be slow on a busy machine: it has three tries to see what the operator does in milliseconds.
    assert any(seconds_until_repaired() < 1 for _ in range(3))


def same(found: dict[str, Any], good: dict[str, Any]) -> bool:
    """Whether a child is as it was."""
    kept = ("labels", "ownerReferences")
    return (found.get("data"), found.get("binaryData")) == (good["data"], None) and all(
        found["metadata"].get(name) == good["metadata"][name] for name in kept
    )


def test_a_deleted_child_comes_back(api: KubeApi, running: OperatorProcess) -> None:
    programmed(api)
    series = 'mailboat_operator_drift_corrections_total{kind="ConfigMap"}'
    before = running.metric(series)

    api.delete("configmaps", "relay-tls")

    until(lambda: api.get("configmaps", "relay-tls"), lambda found: found)
    until(lambda: running.metric(series), lambda count: count == before + 1)


def test_children_go_with_their_resource(api: KubeApi) -> None:
    programmed(api)

    api.delete("outboundconfigs", "relay")

    until(lambda: api.items("configmaps"), lambda found: not found)


def test_a_resource_that_is_made_anew_at_once_has_its_own_children(api: KubeApi) -> None:
    programmed(api)
    api.delete("outboundconfigs", "relay")

    uid = api.config("relay", {"outbound": {"mxPort": 26}})["metadata"]["uid"]

    def owners() -> set[str]:
        return {item["metadata"]["ownerReferences"][0]["uid"] for item in api.items("configmaps")}

    until(owners, lambda found: found == {uid})
    until(lambda: outbound_ini(api), lambda text: "mx_port=26\n" in text)
    until(lambda: api.condition("relay", "Programmed")[0], lambda status: status == "True")


def test_what_belongs_to_somebody_else_is_told_and_left_alone(api: KubeApi) -> None:
    api.create("configmaps", {"metadata": {"name": "relay-tls"}, "data": {"mine": "yes"}})
    api.config("relay")

    api.until_condition("relay", "Programmed", "False", "ChildNotOwned")

    assert "ConfigMap relay-tls belongs to another owner" in api.message("relay", "Ready")
    assert api.get("configmaps", "relay-tls")["data"] == {"mine": "yes"}

    api.delete("configmaps", "relay-tls")
    api.until_condition("relay", "Ready", "True")


def test_a_foreign_object_that_appears_at_the_same_time_is_not_overwritten(api: KubeApi) -> None:
    """Many times over: whoever comes first, the other one's object is never written to."""
    for number in range(12):
        name = f"race-{number}"
        api.config(name)
        foreign = {"metadata": {"name": f"{name}-outbound"}, "data": {"mine": "yes"}}
        if created(api, foreign):
            api.until_condition(name, "Programmed", "False", "ChildNotOwned")
            assert api.get("configmaps", f"{name}-outbound")["data"] == foreign["data"]
        else:
            api.until_condition(name, "Programmed", "True")


def created(api: KubeApi, body: dict[str, Any]) -> bool:
    """Whether a ConfigMap could be created; not if there is one already."""
    try:
        api.create("configmaps", body)
    except Refused as refused:
        if refused.status == 409:
            return False
        raise
    return True


def test_a_missing_secret_is_named_and_healed(api: KubeApi) -> None:
    api.config("relay", {"tls": {"certificateSecretRef": {"name": "relay-cert"}}})
    api.until_condition("relay", "ResolvedRefs", "False", "SecretNotFound")
    assert api.condition("relay", "Ready") == ("False", "SecretNotFound")
    assert "Secret relay-cert does not exist (spec.tls.certificateSecretRef)" in api.message("relay", "ResolvedRefs")
    assert api.items("configmaps") == []

    api.create("secrets", tls_secret("relay-cert"))

    api.until_condition("relay", "Ready", "True")
    assert credentials(api).keys() == {"tls.key", "tls.crt"}
    assert "key=tls.key\ncert=tls.crt\n" in api.get("configmaps", "relay-tls")["data"]["tls.ini"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"tls.key": b"no key", "tls.crt": b"no certificate"}, "InvalidCertificate"),
        ({"tls.key": self_signed("a.b")[0], "tls.crt": self_signed("a.b")[1]}, "InvalidCertificate"),
        ({"tls.key": b"", "tls.crt": self_signed("a.b")[1]}, "InvalidCertificate"),
    ],
    ids=["no PEM", "mismatch", "empty"],
)
def test_a_bad_secret_leaves_the_last_good_configuration(api: KubeApi, data: dict[str, bytes], reason: str) -> None:
    api.create("secrets", tls_secret("relay-cert"))
    programmed(api, {"tls": {"certificateSecretRef": {"name": "relay-cert"}}})
    good = {kind: api.get(*kind) for kind in (("secrets", "relay-credentials"), ("configmaps", "relay-tls"))}

    api.patch("secrets", "relay-cert", {"data": secret("x", "", **data)["data"]})

    until(lambda: api.condition("relay", "ResolvedRefs"), lambda found: found == ("False", reason))
    assert "Secret relay-cert: tls." in api.message("relay", "ResolvedRefs")
    assert api.condition("relay", "Programmed") == ("False", "LastGoodKept")
    assert {kind: api.get(*kind) for kind in good} == good


def test_a_rotation_reaches_the_credentials_and_the_hash(api: KubeApi) -> None:
    api.create("secrets", tls_secret("relay-cert"))
    before = programmed(api, {"tls": {"certificateSecretRef": {"name": "relay-cert"}}})["status"]["config"]["hash"]
    renewed = tls_secret("relay-cert", "renewed.example.com")["data"]

    api.patch("secrets", "relay-cert", {"data": renewed})

    until(lambda: api.get("secrets", "relay-credentials")["data"], lambda data: renewed.items() <= data.items())
    until(lambda: api.get("outboundconfigs", "relay")["status"]["config"]["hash"], lambda hash_: hash_ != before)


def test_passwords_come_from_their_secret_and_stay_in_one(api: KubeApi) -> None:
    api.create("secrets", allowed(secret("provider", username=b"sesame", password=b"hunter2\n")))

    programmed(api, SMART_HOST)

    assert "auth_user_file=route-a.user\nauth_pass_file=route-a.password\n" in outbound_ini(api)
    readable = str(api.items("configmaps")) + str(api.items("events")) + str(api.items("outboundconfigs"))
    assert "hunter2" not in readable
    assert "sesame" not in readable
    assert credentials(api) == {"route-a.user": b"sesame", "route-a.password": b"hunter2\n"}

    api.patch("outboundconfigs", "relay", {"spec": {"routes": None}})
    until(lambda: api.get("secrets", "relay-credentials"), lambda found: found is None)


def test_a_secret_without_its_owners_consent_is_used_once_it_is_labelled(api: KubeApi, kubectl: Kubectl) -> None:
    api.create("secrets", secret("provider", "kubernetes.io/basic-auth", username=b"relay", password=b"hunter2"))
    api.config("relay", SMART_HOST)
    api.until_condition("relay", "ResolvedRefs", "False", "SecretNotAllowed")
    assert api.items("configmaps") == []

    said = api.message("relay", "ResolvedRefs")
    (command,) = re.findall(r"kubectl (label secret \S+ \S+)", said)
    kubectl(*command.split())

    api.until_condition("relay", "Ready", "True")
    assert credentials(api).keys() == {"route-a.user", "route-a.password"}


def test_a_consent_that_is_taken_back_leaves_the_last_good_configuration(api: KubeApi) -> None:
    """As does an upgrade from an operator that asked nobody: the relays go on with what they have."""
    api.create("secrets", allowed(secret("provider", username=b"relay", password=b"hunter2")))
    programmed(api, SMART_HOST)
    good = {
        kind: api.get(*kind)["data"] for kind in (("secrets", "relay-credentials"), ("configmaps", "relay-outbound"))
    }

    api.patch("secrets", "provider", {"metadata": {"labels": None}, "data": {"password": "eA=="}})

    until(lambda: api.condition("relay", "ResolvedRefs"), lambda found: found == ("False", "SecretNotAllowed"))
    assert api.condition("relay", "Programmed") == ("False", "LastGoodKept")
    until(lambda: [event["reason"] for event in api.items("events")], lambda found: "SecretNotAllowed" in found)
    assert {kind: api.get(*kind)["data"] for kind in good} == good


def test_an_annotation_on_a_secret_reloads_nothing(api: KubeApi, running: OperatorProcess) -> None:
    api.create("secrets", tls_secret("relay-cert"))
    before = programmed(api, {"tls": {"certificateSecretRef": {"name": "relay-cert"}}})["status"]
    runs = 'controller_runtime_reconcile_total{controller="outboundconfig",result="success"}'
    done = running.metric(runs)

    api.patch("secrets", "relay-cert", {"metadata": {"annotations": {"rotated-by": "x"}, "labels": {"a": "b"}}})

    until(lambda: running.metric(runs), lambda count: count > done)
    assert api.get("outboundconfigs", "relay")["status"] == before


def test_credentials_that_were_deleted_come_back_with_the_same_hash(api: KubeApi) -> None:
    """Their key of hashes too: nothing is reloaded for it."""
    api.create("secrets", tls_secret("relay-cert"))
    before = programmed(api, {"tls": {"certificateSecretRef": {"name": "relay-cert"}}})["status"]["config"]["hash"]
    data = api.get("secrets", "relay-credentials")["data"]

    api.delete("secrets", "relay-credentials")

    until(lambda: api.get("secrets", "relay-credentials"), lambda found: found and found["data"] == data)
    assert api.get("outboundconfigs", "relay")["status"]["config"]["hash"] == before


def test_a_bundle_and_a_bounce_message_come_from_configmaps(api: KubeApi) -> None:
    bundle = self_signed("ca.example.com")[1].decode()
    api.create("configmaps", {"metadata": {"name": "trust"}, "data": {"bundle.pem": bundle}})
    api.create("configmaps", {"metadata": {"name": "words"}, "data": {"outbound.bounce_message": "Sorry: {reason}\n"}})
    programmed(
        api,
        {
            "tls": {"outbound": {"caBundleRef": {"kind": "ConfigMap", "name": "trust", "key": "bundle.pem"}}},
            "bounceMessage": {"configMapRef": {"name": "words"}},
        },
    )

    assert "[outbound]\nca=outbound-ca.crt\n" in api.get("configmaps", "relay-tls")["data"]["tls.ini"]
    assert api.get("configmaps", "relay-outbound")["data"]["outbound.bounce_message"] == "Sorry: {reason}\n"

    api.patch("configmaps", "words", {"data": {"outbound.bounce_message": "Alas: {reason}\n"}})

    def text() -> str:
        return str(api.get("configmaps", "relay-outbound")["data"]["outbound.bounce_message"])

    until(text, lambda found: found == "Alas: {reason}\n")


def test_a_spec_that_no_schema_can_judge_is_a_condition(api: KubeApi) -> None:
    programmed(api)
    good = outbound_ini(api)

    api.patch("outboundconfigs", "relay", {"spec": {"outbound": {"receivedHeader": "half (a", "mxPort": 26}}})

    api.until_condition("relay", "Accepted", "False", "InvalidSpec")
    assert "spec.outbound.receivedHeader" in api.message("relay", "Ready")
    assert outbound_ini(api) == good


@pytest.mark.parametrize("by", ["spec", "annotation"])
def test_a_paused_resource_is_left_alone(api: KubeApi, by: str) -> None:
    programmed(api)
    pause = {"metadata": {"annotations": {"mailboat.dev/paused": "true"}}}
    api.patch("outboundconfigs", "relay", {"spec": {"paused": True}} if by == "spec" else pause)
    until(lambda: api.condition("relay", "Paused"), lambda found: found == ("True", "Paused"))

    api.patch("outboundconfigs", "relay", {"spec": {"outbound": {"mxPort": 26}}})
    api.delete("configmaps", "relay-tls")
    until(lambda: api.condition("relay", "Paused"), lambda found: found == ("True", "Paused"))
    assert api.get("configmaps", "relay-tls") is None
    assert "mx_port=25\n" in outbound_ini(api)

    resume = {"spec": {"paused": False}, "metadata": {"annotations": {"mailboat.dev/paused": None}}}
    api.patch("outboundconfigs", "relay", resume)
    until(lambda: outbound_ini(api), lambda text: "mx_port=26\n" in text)
    until(lambda: api.get("configmaps", "relay-tls"), lambda found: found)
    until(lambda: api.condition("relay", "Paused"), lambda found: found == ("False", "NotPaused"))


def test_a_request_to_reconcile_is_repeated_in_the_status(api: KubeApi) -> None:
    programmed(api)

    api.patch("outboundconfigs", "relay", {"metadata": {"annotations": {"mailboat.dev/reconcile-requested-at": "now"}}})

    until(lambda: api.get("outboundconfigs", "relay")["status"].get("lastHandledReconcileAt"), lambda at: at == "now")


def test_a_status_that_somebody_changed_is_put_right(api: KubeApi) -> None:
    good = programmed(api)["status"]

    api.patch("outboundconfigs", "relay", {"status": {"config": None, "conditions": []}}, "/status")

    def status() -> Any:
        found = api.get("outboundconfigs", "relay")["status"]
        return [{**c, "lastTransitionTime": ""} for c in found["conditions"]], found.get("config")

    wanted = [{**condition, "lastTransitionTime": ""} for condition in good["conditions"]], good["config"]
    until(status, lambda found: found == wanted)


def test_events_tell_of_changes_of_state_only(api: KubeApi) -> None:
    programmed(api)
    api.patch("outboundconfigs", "relay", {"spec": {"outbound": {"mxPort": 26}}})
    until(lambda: outbound_ini(api), lambda text: "mx_port=26\n" in text)
    api.patch("outboundconfigs", "relay", {"spec": {"tls": {"certificateSecretRef": {"name": "none"}}}})

    def reasons() -> list[tuple[str, str]]:
        return sorted((event["type"], event["reason"]) for event in api.items("events"))

    until(reasons, lambda found: len(found) >= 3)
    assert reasons() == [("Normal", "LastGoodKept"), ("Normal", "Programmed"), ("Warning", "SecretNotFound")]


def test_what_openssl_refuses_leaves_the_last_good_configuration(api: KubeApi) -> None:
    """It was written before, and a pod that restarted ended with 78."""
    good = programmed(api, {"tls": {"ciphers": "HIGH"}})["status"]["config"]["hash"]

    api.patch("outboundconfigs", "relay", {"spec": {"tls": {"ciphers": "NO-SUCH-CIPHER"}}})

    api.until_condition("relay", "Accepted", "False", "InvalidSpec")
    assert "spec.tls.ciphers: OpenSSL refuses it" in api.message("relay", "Ready")
    assert api.get("outboundconfigs", "relay")["status"]["config"]["hash"] == good
    assert "ciphers=HIGH\n" in api.get("configmaps", "relay-tls")["data"]["tls.ini"]


def test_shaping_that_its_samples_refute_leaves_the_last_good_configuration(api: KubeApi) -> None:
    """The condition names the rule; pods keep the table that they have."""
    rule = {"name": "full", "replies": ["452 *"], "samples": ["452 4.3.1 full"], "actions": [{"type": "Alert"}]}
    scope = {"scope": "Default", "limits": {"connections": {"value": 3}}}
    good = programmed(api, {"shaping": {"scopes": [scope], "rules": [rule]}})["status"]["config"]["hash"]
    before = api.get("configmaps", "relay-outbound")["data"]["shaping.ini"]
    assert "[default]\nconnections=3\n" in before

    api.patch("outboundconfigs", "relay", {"spec": {"shaping": {"rules": [{**rule, "samples": ["451 full"]}]}}})

    api.until_condition("relay", "Ready", "False", "ShapingInvalid")
    assert "(rule full)" in api.message("relay", "Ready")
    assert api.get("outboundconfigs", "relay")["status"]["config"]["hash"] == good
    assert api.get("configmaps", "relay-outbound")["data"]["shaping.ini"] == before


def test_an_unknown_placeholder_is_a_warning_in_the_status(api: KubeApi) -> None:
    status = programmed(api, {"bounceMessage": {"text": "Sorry: {resaon}"}})["status"]

    assert status["config"]["warnings"] == ["outbound.bounce_message: {resaon} is not a placeholder: `?` is inserted"]

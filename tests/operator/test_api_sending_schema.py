"""SendingDomains at the API server: what it refuses, one case a rule, what it fills in, and what kubectl shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.crds import CRDS, rules_in, schema_of
from tests.support.kube_api import KubeApi, Refused
from tests.support.sending_domain import CRD_FILE, SPEC, sending_resource
from tools.cluster.kubectl import Kubectl

from mailboat_operator.sending.spec import parse_sending_domain

pytestmark = pytest.mark.apiserver

NAME = "example-com"
SECRET = {"secretKeyRef": {"name": "old-key", "key": "dkim.pem"}}


def existing(*keys: dict[str, Any]) -> dict[str, Any]:
    return {"dkim": {"existingKeys": list(keys)}}


def created(api: KubeApi, spec: dict[str, Any], name: str = NAME) -> dict[str, Any]:
    body = {"apiVersion": "mailboat.dev/v1alpha1", "kind": "SendingDomain", "metadata": {"name": name}, "spec": spec}
    return dict(api.create("sendingdomains", body))


RULES: list[tuple[str, dict[str, Any], str]] = [
    ("no-domain", {"domain": ""}, "should be at least 1 chars long"),
    ("upper-case", {"domain": "Example.com"}, "should match"),
    ("u-labels", {"domain": "bücher.example"}, "should match"),
    ("one-label", {"domain": "com"}, "should match"),
    ("address", {"domain": "192.0.2.1"}, "should match"),
    ("final-dot", {"domain": "example.com."}, "should match"),
    ("long-label", {"domain": f"{'a' * 64}.example"}, "should match"),
    ("long-domain", {"domain": f"{'a.' * 86}example"}, "may not be more than 178"),
    ("no-relays", {"outboundConfigRefs": []}, "should have at least 1 items"),
    ("relay-twice", {"outboundConfigRefs": [{"name": "a"}, {"name": "a"}]}, "Duplicate value"),
    ("relay-name", {"outboundConfigRefs": [{"name": "a/b"}]}, "should match"),
    ("no-algorithm", {"dkim": {"algorithms": []}}, "should have at least 1 items"),
    ("algorithm", {"dkim": {"algorithms": ["RSA1024"]}}, "Unsupported value"),
    ("algorithm-twice", {"dkim": {"algorithms": ["Ed25519", "Ed25519"]}}, "Duplicate value"),
    ("prefix", {"dkim": {"selectors": {"prefix": "a.b"}}}, "should match"),
    ("long-prefix", {"dkim": {"selectors": {"prefix": "a" * 21}}}, "may not be more than 20"),
    ("style", {"dkim": {"selectors": {"style": "Random"}}}, "Unsupported value"),
    ("days", {"dkim": {"rotation": {"everyDays": 0}}}, "should be greater than or equal to 1"),
    ("selector", existing({"selector": "a_b", **SECRET}), "should match"),
    ("selector-twice", existing({"selector": "a", **SECRET}, {"selector": "a", **SECRET}), "Duplicate value"),
    ("no-key", existing({"selector": "a", "secretKeyRef": {"name": "b"}}), "Required value"),
    ("when-no-key", {"dkim": {"whenNoKey": "Drop"}}, "Unsupported value"),
    ("mode", {"publish": {"mode": "Fax"}}, "Unsupported value"),
    ("ttl", {"publish": {"ttl": 604801}}, "should be less than or equal to 604800"),
    ("quoting", {"publish": {"quoting": "Single"}}, "Unsupported value"),
    ("label", {"publish": {"labels": {"a": "b c"}}}, "should match"),
    ("deletion", {"deletionPolicy": "Orphan"}, "Unsupported value"),
]


@pytest.mark.parametrize(("name", "change", "message"), RULES, ids=[name for name, _, _ in RULES])
def test_the_api_server_refuses_a_sending_domain(api: KubeApi, name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        created(api, SPEC | change)

    assert refused.value.status == 422
    assert message in str(refused.value)


def test_a_name_that_is_no_label_is_refused(api: KubeApi) -> None:
    with pytest.raises(Refused, match="may not be more than 63"):
        created(api, SPEC, "a" * 64)


def test_the_domain_cannot_be_changed(api: KubeApi) -> None:
    created(api, SPEC)

    with pytest.raises(Refused, match="domain is immutable"):
        api.patch("sendingdomains", NAME, {"spec": {"domain": "example.org"}})


def test_every_rule_of_a_sending_domain_has_a_case_here() -> None:
    assert rules_in(schema_of(CRD_FILE)) == ["domain is immutable"]


def test_the_defaults_that_tests_without_a_server_use_are_its_own(api: KubeApi) -> None:
    assert created(api, SPEC)["spec"] == sending_resource()["spec"]


def test_without_an_operator_kubectl_says_so(api: KubeApi, kubectl: Kubectl) -> None:
    created(api, SPEC)

    head, row = kubectl("get", "sd", NAME).splitlines()
    assert head.split() == ["NAME", "DOMAIN", "READY", "SELECTOR", "NEXT-ROTATION", "AGE", "MESSAGE"]
    assert "Unknown" in row
    assert "No operator has read this resource" in row


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "RecordMissing",
            "message": "publish the TXT record mb20261128e._domainkey.example.com",
            "lastTransitionTime": "2026-11-28T10:00:00Z",
        }
    ],
    "keys": [
        {
            "name": f"mb20261128{letter}._domainkey.example.com",
            "selector": f"mb20261128{letter}",
            "algorithm": algorithm,
            "state": state,
            "since": "2026-11-28T10:00:00Z",
            "createdAt": "2026-11-28T09:00:00Z",
            "publishedAt": "2026-11-28T10:00:00Z",
            "signedAt": "2026-11-28T11:00:00Z",
            "unusedSince": "2026-11-28T12:00:00Z",
            "publicKeyHash": f"sha256:{'0' * 64}",
            "existing": False,
        }
        for letter, algorithm, state in (("e", "Ed25519", "Generated"), ("r", "RSA2048", "Active"))
    ],
    "records": [
        {
            "name": f"mb20261128{letter}._domainkey.example.com",
            "type": "TXT",
            "value": f"v=DKIM1; k={kind}; h=sha256; p=AAAA",
            "zoneLine": f'mb20261128{letter}._domainkey.example.com. 3600 IN TXT "v=DKIM1; k={kind}; h=sha256; p=AAAA"',
            "seen": "False",
            "seenAt": "2026-11-28T10:00:00Z",
        }
        for letter, kind in (("e", "ed25519"), ("r", "rsa"))
    ],
    "nextRotationAt": "2027-05-27T10:00:00Z",
    "lastHandledRotateAt": "2026-11-28",
    "lastHandledReconcileAt": "2026-11-29",
}


def test_kubectl_shows_what_to_do_next_and_lines_for_a_zone(api: KubeApi, kubectl: Kubectl) -> None:
    created(api, SPEC)
    written = api.patch("sendingdomains", NAME, {"status": STATUS}, "/status")
    assert written["status"] == STATUS, "no field of the status is unknown to the server"

    row = kubectl("get", "sd", "--no-headers").split(maxsplit=6)
    assert row[:5] == [NAME, "example.com", "False", "mb20261128r", "2027-05-27T10:00:00Z"]
    assert row[6].strip() == "publish the TXT record mb20261128e._domainkey.example.com"
    shown = kubectl("get", "sd", NAME, "-o", 'jsonpath={range .status.records[*]}{.zoneLine}{"\\n"}{end}')
    assert shown.splitlines() == [record["zoneLine"] for record in STATUS["records"]]


EXAMPLES = sorted((CRDS.parent / "examples" / "sendingdomains").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_of_a_sending_domain_is_taken(example: Path, api: KubeApi, kubectl: Kubectl) -> None:
    """By the API server, and by the operator as the API server gives it back."""
    kubectl("apply", "-f", str(example))

    (found,) = api.items("sendingdomains")
    assert parse_sending_domain(found)[1] == ()

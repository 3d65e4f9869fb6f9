"""What a SendingDomain may say, and that everything wrong with it is told at once, with its path."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.sending_domain import SPEC, sending_faults, sending_spec

from mailboat.dkim.keys import Algorithm
from mailboat_operator.references import Reference, SourceKind
from mailboat_operator.sending.keys import KeyPolicy, SelectorStyle
from mailboat_operator.sending.spec import (
    DeletionPolicy,
    ExistingKey,
    PublishMode,
    PublishSpec,
    Quoting,
    SendingSpec,
    WhenNoKey,
    parse_sending_domain,
)

SECRET = {"secretKeyRef": {"name": "old-key", "key": "dkim.pem"}}


def test_defaults_are_those_of_the_api_server() -> None:
    bare, faults = parse_sending_domain({"spec": SPEC})

    assert faults == ()
    assert bare == sending_spec() == SendingSpec("example.com", ("relay",))


def test_a_spec_with_everything() -> None:
    spec = sending_spec(
        outboundConfigRefs=[{"name": "relay"}, {"name": "bulk"}],
        dkim={
            "algorithms": ["Ed25519"],
            "selectors": {"prefix": "s", "style": "Alternating"},
            "rotation": {"everyDays": 30, "suspended": True},
            "existingKeys": [{"selector": "old", **SECRET}],
            "whenNoKey": "Unsigned",
        },
        publish={
            "mode": "DNSEndpoint",
            "ttl": 300,
            "quoting": "Bare",
            "labels": {"zone": "public"},
            "annotations": {"owner": "mail"},
        },
        deletionPolicy="Delete",
    )

    secret = Reference(SourceKind.SECRET, "old-key", "dkim.pem", "", consent=True)
    assert spec == SendingSpec(
        "example.com",
        ("relay", "bulk"),
        KeyPolicy((Algorithm.ED25519,), "s", SelectorStyle.ALTERNATING, timedelta(days=30), suspended=True),
        (ExistingKey("old", secret),),
        WhenNoKey.UNSIGNED,
        PublishSpec(PublishMode.DNS_ENDPOINT, 300, Quoting.BARE, {"zone": "public"}, {"owner": "mail"}),
        DeletionPolicy.DELETE,
    )


def test_the_secret_of_an_existing_key_needs_the_consent_of_its_owner() -> None:
    spec = sending_spec(dkim={"existingKeys": [{"selector": "old", **SECRET}]})

    assert [(key.secret.consent, key.secret.path) for key in spec.existing] == [
        (True, "spec.dkim.existingKeys[0].secretKeyRef")
    ]


def test_rsa_comes_first_however_the_algorithms_are_listed() -> None:
    spec = sending_spec(dkim={"algorithms": ["Ed25519", "RSA2048"]})

    assert spec.policy.algorithms == (Algorithm.RSA, Algorithm.ED25519)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"domain": "Example.com"}, "spec.domain: 'Example.com' is not a domain in lower case, as A-labels"),
        ({"domain": "bücher.example"}, "spec.domain: 'bücher.example' is not a domain in lower case, as A-labels"),
        ({"domain": "com"}, "spec.domain: 'com' is not a domain in lower case, as A-labels"),
        ({"domain": "192.0.2.1"}, "spec.domain: '192.0.2.1' is not a host name"),
        ({"domain": 3}, "spec.domain: is not a string"),
        ({"outboundConfigRefs": []}, "spec.outboundConfigRefs: needs the names of OutboundConfigs, each once"),
        (
            {"outboundConfigRefs": [{"name": "a"}, {"name": "a"}]},
            "spec.outboundConfigRefs: needs the names of OutboundConfigs, each once",
        ),
        ({"dkim": {"algorithms": ["RSA1024"]}}, "spec.dkim.algorithms: is not one or more of RSA2048, Ed25519"),
        ({"dkim": {"algorithms": []}}, "spec.dkim.algorithms: is not one or more of RSA2048, Ed25519"),
        (
            {"dkim": {"selectors": {"prefix": "a.b"}}},
            "spec.dkim.selectors.prefix: 'a.b' is not the beginning of a selector",
        ),
        ({"dkim": {"selectors": {"style": "Random"}}}, "spec.dkim.selectors.style: 'Random' is not one of Dated"),
        ({"dkim": {"rotation": {"everyDays": 0}}}, "spec.dkim.rotation.everyDays: is not from 1 to 3650"),
        (
            {"dkim": {"existingKeys": [{"selector": "a b", **SECRET}]}},
            "spec.dkim.existingKeys[0].selector: 'a b' is not a selector (RFC 6376 3.1)",
        ),
        (
            {"dkim": {"existingKeys": [{"selector": "a", "secretKeyRef": {"name": "b"}}]}},
            "spec.dkim.existingKeys[0].secretKeyRef: needs the name of a Secret and a key in it",
        ),
        (
            {"dkim": {"existingKeys": [{"selector": "a", **SECRET}, {"selector": "a", **SECRET}]}},
            "spec.dkim.existingKeys: two have the same selector",
        ),
        ({"publish": {"ttl": -1}}, "spec.publish.ttl: is not from 0 to 604800"),
        ({"publish": {"labels": {"a": 1}}}, "spec.publish.labels.a: is not a string"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(change: dict[str, Any], fault: str) -> None:
    assert any(told.startswith(fault) for told in sending_faults(**change))


def test_all_faults_are_told_at_once() -> None:
    assert len(sending_faults(domain="", dkim={"algorithms": []}, publish={"mode": "Fax"})) == 3


def test_a_resource_without_a_spec_is_a_fault() -> None:
    assert parse_sending_domain({}) == (None, ("spec: is not an object",))

"""The DNSEndpoint from which ExternalDNS publishes: each record whole, whatever its provider makes of quotes."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from tests.support.sending_domain import sending_spec

from mailboat.dkim.keys import Algorithm, SigningKey, make_key
from mailboat_operator.desired.endpoint import endpoint
from mailboat_operator.sending.keys import DomainKey, KeyState

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEY = SigningKey("example.com", "mb1", make_key(Algorithm.RSA))


def row(state: KeyState = KeyState.GENERATED, *, existing: bool = False) -> DomainKey:
    return DomainKey("mb1", KEY.algorithm, KEY.record, KEY.public_hash, NOW, NOW, state, existing=existing)


def test_a_record_is_one_target_in_quoted_strings_of_255_octets_at_most() -> None:
    (found,) = endpoint(sending_spec(), [row()])["spec"]["endpoints"]

    assert (found["dnsName"], found["recordType"], found["recordTTL"]) == ("mb1._domainkey.example.com", "TXT", 3600)
    (target,) = found["targets"]
    strings = shlex.split(target)
    assert "".join(strings) == KEY.record
    assert [len(string) for string in strings] == [255, len(KEY.record) - 255]


def test_bare_gives_the_text_as_it_is_and_ttl_0_none() -> None:
    spec = sending_spec(publish={"mode": "DNSEndpoint", "quoting": "Bare", "ttl": 0})

    (found,) = endpoint(spec, [row()])["spec"]["endpoints"]

    assert found == {"dnsName": KEY.dns_name, "recordType": "TXT", "targets": [KEY.record]}


def test_labels_and_annotations_are_those_that_external_dns_selects_by() -> None:
    publish = {"mode": "DNSEndpoint", "labels": {"zone": "public"}, "annotations": {"owner": "mail"}}

    found = endpoint(sending_spec(publish=publish), [row()])

    assert (found["labels"], found["annotations"]) == ({"zone": "public"}, {"owner": "mail"})


def test_a_revoked_key_is_published_with_an_empty_p_and_one_that_was_brought_not_at_all() -> None:
    (found,) = endpoint(sending_spec(), [row(KeyState.REVOKED), row(existing=True)])["spec"]["endpoints"]

    assert found["targets"] == ['"v=DKIM1; k=rsa; p="']

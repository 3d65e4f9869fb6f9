"""SendingDomains with a real API server, name servers and relay pods: from no key to keys that follow each other."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.dns_server import Behaviour
from tests.support.fake_relay import FakeRelay
from tests.support.kube_api import KubeApi, until
from tests.support.name_servers import NameServers
from tests.support.operator_process import OperatorProcess, operator
from tests.support.sending_api import (
    NAME,
    annotate,
    ask_again,
    condition,
    events,
    files,
    in_all,
    message,
    publish_all,
    rendered_hash,
    sending_domain,
    signing,
    states,
    status,
    until_ready,
    until_states,
)
from tools.cluster.apiserver import ApiServer

from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem
from mailboat.dkim.signer import CannotSignError

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("running", "relays")]


@pytest.fixture(scope="module")
def running(
    crd_server: ApiServer, dns: NameServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """An operator that asks our name servers."""
    words = ("--all-namespaces", f"--dns-server=127.0.0.1:{dns.port}", f"--dns-port={dns.port}")
    with operator(crd_server.kubeconfig, tmp_path_factory.mktemp("operator"), *words) as it:
        yield it


def test_a_domain_signs_once_every_name_server_shows_its_records(api: KubeApi, dns: NameServers, domain: str) -> None:
    sending_domain(api, domain)
    until_states(api, "Generated", "Generated")
    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "RecordMissing"))
    assert set(api.get("secrets", f"{NAME}-dkim")["data"]) == {f"{s}._domainkey.{domain}.pem" for s in states(api)}
    assert signing(api, domain) == []
    assert "kubectl get sd" in message(api)

    publish_all(api, dns, servers=(0,))
    ask_again(api, "half")
    until(lambda: [record.get("message", "") for record in status(api)["records"]], in_all(f"ns2.{domain}: publish"))
    assert set(states(api).values()) == {"Generated"}
    assert signing(api, domain) == []

    publish_all(api, dns)
    ask_again(api, "whole")
    until(lambda: condition(api, "Ready"), lambda found: found == ("True", "Ready"))
    assert set(states(api).values()) == {"Active"}
    until(lambda: set(signing(api, domain)), lambda found: found == set(states(api)))
    assert {record["seen"] for record in status(api)["records"]} == {"True"}


RSA: dict[str, Any] = {"dkim": {"algorithms": ["RSA2048"]}}


def test_a_domain_is_ready_once_every_ready_pod_signs(
    api: KubeApi, dns: NameServers, domain: str, relays: list[FakeRelay]
) -> None:
    """And not already when the operator has decided it: the kubelet takes up to a minute to bring dkim.ini."""
    sending_domain(api, domain, **RSA)
    before = rendered_hash(api)

    def behind() -> str:
        nonlocal before
        latest = rendered_hash(api)
        if "Active" not in states(api).values():
            before = latest
        return before

    relays[1].hash = behind
    until(lambda: status(api).get("records"), bool)
    publish_all(api, dns)
    ask_again(api, "published")
    until_states(api, "Active")
    until(lambda: condition(api, "Ready"), lambda found: found == ("False", "WaitingForPods"))
    assert "dkim.ini" in message(api)

    relays[1].hash = lambda: rendered_hash(api)
    until(lambda: condition(api, "Ready"), lambda found: found == ("True", "Ready"))


def only(states_: dict[str, str], state: str) -> str:
    """The selector of the one key in a state."""
    (found,) = (selector for selector, its in states_.items() if its == state)
    return found


def test_a_rotation_that_is_asked_for_adds_a_key_before_the_old_one_retires(
    api: KubeApi, dns: NameServers, domain: str
) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)
    old = only(states(api), "Active")

    annotate(api, "rotate-requested-at", "1")
    new = only(until_states(api, "Active", "Generated"), "Generated")
    assert status(api)["lastHandledRotateAt"] == "1"
    assert condition(api, "KeysReady") == ("True", "KeysReady")
    assert signing(api, domain) == [old]

    publish_all(api, dns)
    ask_again(api, "new")
    until_states(api, "Active", "Retiring")
    until(lambda: signing(api, domain), lambda found: found == [new])
    # Mail that the old key has signed is under way: its record and its private key stay.
    assert {record["name"].partition(".")[0] for record in status(api)["records"]} == {old, new}
    assert len(api.get("secrets", f"{NAME}-dkim")["data"]) == 2
    until(lambda: events(api), lambda found: {"KeyActive", "KeyRetiring"} <= set(found))


def test_a_pod_that_is_behind_keeps_the_new_key_from_signing_and_the_old_one_in_use(
    api: KubeApi, dns: NameServers, domain: str, relays: list[FakeRelay]
) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)
    old = only(states(api), "Active")
    relays[1].hash = None  # it stays with what it runs

    annotate(api, "rotate-requested-at", "1")
    until_states(api, "Active", "Generated")
    publish_all(api, dns)
    ask_again(api, "new")
    until_states(api, "Active", "Published")
    annotate(api, "reconcile-requested-at", "again")
    until(lambda: condition(api, "RecordsPublished"), lambda found: found[0] == "True")
    assert signing(api, domain) == [old]

    relays[1].hash = relays[0].hash
    until_states(api, "Active", "Retiring")
    until(lambda: [key.get("unusedSince") for key in status(api)["keys"]], any)


def test_a_retired_key_is_revoked_when_its_time_has_passed_and_no_queue_holds_mail_of_it(
    api: KubeApi, dns: NameServers, domain: str, relays: list[FakeRelay]
) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)
    annotate(api, "rotate-requested-at", "1")
    until_states(api, "Active", "Generated")
    publish_all(api, dns)
    ask_again(api, "new")
    old = only(until_states(api, "Active", "Retiring"), "Retiring")
    until(lambda: [key.get("unusedSince") for key in status(api)["keys"]], any)

    relays[0].oldest = 3000 * 86_400.0
    rows = [
        key | {"unusedSince": "2020-01-01T00:00:00Z"} if key["selector"] == old else key for key in status(api)["keys"]
    ]
    api.patch("sendingdomains", NAME, {"status": {"keys": rows}}, "/status")
    ask_again(api, "held")
    until(lambda: relays[0].asked_for_metrics, bool)
    assert states(api)[old] == "Retiring"

    relays[0].oldest = 0.0
    ask_again(api, "empty")
    until(lambda: states(api)[old], lambda found: found == "Revoked")
    (record,) = [r for r in status(api)["records"] if r["name"].startswith(f"{old}.")]
    assert record["value"] == "v=DKIM1; k=rsa; p="
    until(
        lambda: list(api.get("secrets", f"{NAME}-dkim")["data"]),
        lambda found: not any(n.startswith(f"{old}.") for n in found),
    )


def test_a_compromised_key_signs_no_more_at_once_and_mail_is_held_until_another_one_can(
    api: KubeApi, dns: NameServers, domain: str
) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)
    bad = only(states(api), "Active")

    annotate(api, "compromised", bad)
    until_states(api, "Revoked", "Generated")
    until(lambda: files(api)["dkim.ini"], lambda found: b"signing=hold" in found)
    until(lambda: [name for name in files(api) if name.startswith("dkim/")], lambda found: not found)
    with pytest.raises(CannotSignError):
        signing(api, domain)

    publish_all(api, dns)
    ask_again(api, "new")
    until(lambda: condition(api, "Ready"), lambda found: found == ("True", "Ready"))
    until(lambda: b"signing=hold" not in files(api)["dkim.ini"], bool)
    assert signing(api, domain) == [only(states(api), "Active")]


def test_a_key_that_was_deleted_by_hand_is_followed_by_one_of_another_name(
    api: KubeApi, dns: NameServers, domain: str
) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)
    old = only(states(api), "Active")

    api.delete("secrets", f"{NAME}-dkim")

    new = only(until_states(api, "Retiring", "Generated"), "Generated")
    assert new != old
    until(lambda: events(api), lambda found: "KeyDeleted" in found)


def test_a_key_that_exists_is_never_made_again(
    api: KubeApi, dns: NameServers, domain: str, crd_server: ApiServer, running: OperatorProcess
) -> None:
    """Not when the SendingDomain goes and comes back: its keys outlive it."""
    sending_domain(api, domain)
    until_ready(api, dns)
    before = api.get("secrets", f"{NAME}-dkim")["data"]

    api.delete("sendingdomains", NAME)
    until(lambda: "dkim.ini" in files(api), lambda found: not found)
    assert api.get("secrets", f"{NAME}-dkim")["data"] == before
    sending_domain(api, domain)
    until(lambda: set(states(api)), lambda found: len(found) == 2)
    until(lambda: condition(api, "Ready"), lambda found: found == ("True", "Ready"))

    assert api.get("secrets", f"{NAME}-dkim")["data"] == before


def test_with_deletion_policy_delete_the_keys_go_with_their_domain(api: KubeApi, domain: str) -> None:
    sending_domain(api, domain, deletionPolicy="Delete")
    until_states(api, "Generated", "Generated")

    (owner,) = api.get("secrets", f"{NAME}-dkim")["metadata"]["ownerReferences"]

    assert (owner["kind"], owner["uid"]) == ("SendingDomain", api.get("sendingdomains", NAME)["metadata"]["uid"])


def test_a_record_that_a_provider_has_cut_is_named_with_the_position(
    api: KubeApi, dns: NameServers, domain: str
) -> None:
    sending_domain(api, domain, **RSA)
    until_states(api, "Generated")
    (record,) = status(api)["records"]
    dns.publish(record["name"], record["value"][:255])

    ask_again(api, "cut")

    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "KeyMismatch"))
    assert f"ends after 255 of {len(record['value'])} octets" in message(api)


def test_a_record_that_vanishes_is_said_and_the_key_signs_on(
    api: KubeApi, dns: NameServers, domain: str, running: OperatorProcess
) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)
    missing = 'mailboat_operator_dkim_records_missing{state="Active"}'
    before = running.metric(missing)
    key = only(states(api), "Active")
    dns.remove(f"{key}._domainkey.{domain}")

    ask_again(api, "gone")

    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "RecordMissing"))
    assert states(api) == {key: "Active"}
    assert signing(api, domain) == [key]
    until(lambda: running.metric(missing), lambda count: count == before + 1)


def test_while_a_name_server_is_silent_nothing_changes(api: KubeApi, dns: NameServers, domain: str) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)
    (key,) = states(api)
    dns.zones[1].behave(f"{key}._domainkey.{domain}", Behaviour.REFUSED)

    ask_again(api, "silent")

    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("Unknown", "DNSUnavailable"))
    assert f"ns2.{domain}" in message(api, "RecordsPublished")
    assert states(api) == {key: "Active"}


def test_of_two_for_one_domain_the_older_one_signs(api: KubeApi, dns: NameServers, domain: str) -> None:
    sending_domain(api, domain, **RSA)
    until_ready(api, dns, keys=1)

    sending_domain(api, domain, "other", **RSA)

    until(lambda: condition(api, "KeysReady", "other"), lambda found: found == ("False", "Conflict"))
    assert NAME in message(api, "KeysReady", "other")
    used = set(states(api))
    assert api.get("secrets", "other-dkim") is None
    api.delete("sendingdomains", NAME)
    # Caches have the record of the older one's key, which its Secret still has: the name is not used again.
    assert set(until_states(api, "Generated", name="other")).isdisjoint(used)


def test_a_key_that_was_brought_signs_once_its_owner_allows_it(api: KubeApi, dns: NameServers, domain: str) -> None:
    key = SigningKey(domain, "mine", make_key(Algorithm.ED25519))
    data = {"dkim.pem": base64.b64encode(to_pem(key.private)).decode()}
    api.create("secrets", {"metadata": {"name": "brought"}, "data": data})
    existing = [{"selector": "mine", "secretKeyRef": {"name": "brought", "key": "dkim.pem"}}]
    sending_domain(api, domain, dkim={"algorithms": ["Ed25519"], "existingKeys": existing})
    until(lambda: condition(api, "KeysReady"), lambda found: found == ("False", "SecretNotAllowed"))
    assert "kubectl label secret brought mailboat.dev/allow=outboundconfig" in message(api, "KeysReady")

    api.patch("secrets", "brought", {"metadata": {"labels": {"mailboat.dev/allow": "outboundconfig"}}})
    until(lambda: states(api).get("mine"), lambda found: found == "Generated")
    publish_all(api, dns)
    ask_again(api, "mine")

    until(lambda: condition(api, "Ready"), lambda found: found == ("True", "Ready"))
    until(lambda: signing(api, domain), lambda found: found == ["mine"])


def test_a_secret_of_somebody_else_is_not_touched(api: KubeApi, domain: str) -> None:
    theirs = api.create("secrets", {"metadata": {"name": f"{NAME}-dkim"}, "data": {"mine": "eA=="}})

    sending_domain(api, domain)

    until(lambda: condition(api, "KeysReady"), lambda found: found == ("False", "ChildNotOwned"))
    assert api.get("secrets", f"{NAME}-dkim")["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]


def test_without_external_dns_the_records_are_to_be_published_by_hand(api: KubeApi, domain: str) -> None:
    sending_domain(api, domain, publish={"mode": "DNSEndpoint"})

    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "NoExternalDNS"))
    assert "kubectl get sd" in message(api)
    until_states(api, "Generated", "Generated")


def test_spf_is_judged_for_the_addresses_that_the_pods_bind(
    api: KubeApi, dns: NameServers, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for one that is only guessed."""
    for zone in dns.zones:  # so that nothing is taken from a cache
        monkeypatch.setattr(zone, "ttl", 0)
        monkeypatch.setattr(zone, "negative_ttl", 0)
    sending_domain(api, domain, **RSA)
    until(lambda: condition(api, "SPFPasses"), lambda found: found == ("False", "SPFMissing"))
    dns.publish(domain, "v=spf1 -all")
    ask_again(api, "published")
    until(lambda: condition(api, "SPFPasses"), lambda found: found == ("Unknown", "SourceUnknown"))

    pods = [{"ordinal": ordinal, "bindIPs": [f"192.0.2.{ordinal}"]} for ordinal in (0, 1)]
    api.patch("outboundconfigs", "relay", {"spec": {"egress": {"mode": "PerPod", "pods": pods}}})
    until(lambda: condition(api, "SPFPasses"), lambda found: found == ("False", "SPFFail"))
    advice = message(api, "SPFPasses").partition(f"publish at {domain}: ")[2]
    assert advice == "v=spf1 ip4:192.0.2.0 ip4:192.0.2.1 -all"

    dns.publish(domain, advice)
    ask_again(api, "corrected")
    until(lambda: condition(api, "SPFPasses"), lambda found: found == ("True", "SPFPasses"))
    assert condition(api, "Ready")[0] == "False", "SPF is no part of it"

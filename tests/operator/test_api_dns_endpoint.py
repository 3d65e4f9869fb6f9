"""`publish.mode: DNSEndpoint` at a real API server that knows ExternalDNS's resource type, or does not yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fault_proxy import FaultProxy
from tests.support.kube_api import KubeApi, until
from tests.support.name_servers import NameServers
from tests.support.operator_process import operator
from tests.support.sending_api import (
    NAME,
    annotate,
    ask_again,
    condition,
    events,
    message,
    sending_domain,
    states,
    status,
    until_states,
)
from tools.cluster.apiserver import ApiServer

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("running", "relays")]

CRD = Path(__file__).resolve().parents[1] / "data" / "dnsendpoints.yaml"
CHILD = f"{NAME}-dkim"
SPEC: dict[str, Any] = {
    "publish": {"mode": "DNSEndpoint", "labels": {"zone": "public"}},
    "dkim": {"algorithms": ["RSA2048"]},
}


@pytest.fixture
def external_dns(crd_server: ApiServer) -> Iterator[None]:
    """The resource type is there."""
    kubectl = crd_server.kubectl()
    kubectl.apply(CRD.read_text())
    kubectl.established("crd/dnsendpoints.externaldns.k8s.io")
    yield
    kubectl("delete", "--wait", "crd/dnsendpoints.externaldns.k8s.io")


@pytest.fixture(scope="module")
def proxy(crd_server: ApiServer) -> Iterator[FaultProxy]:
    """Between the operator and the API server."""
    proxy = FaultProxy(crd_server.url, crd_server.ca)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def running(
    crd_server: ApiServer, proxy: FaultProxy, dns: NameServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """An operator that asks our name servers."""
    directory = tmp_path_factory.mktemp("operator")
    kubeconfig = proxy.kubeconfig(directory / "kubeconfig", KubeApi(crd_server.kubeconfig, "default").token)
    words = ("--all-namespaces", f"--dns-server=127.0.0.1:{dns.port}", f"--dns-port={dns.port}")
    with operator(kubeconfig, directory, *words):
        yield


def endpoints(api: KubeApi) -> dict[str, list[str]]:
    """The targets of each name in the DNSEndpoint."""
    found = api.get("dnsendpoints", CHILD) or {"spec": {"endpoints": []}}
    return {endpoint["dnsName"]: endpoint["targets"] for endpoint in found["spec"]["endpoints"]}


def publish_endpoints(api: KubeApi, dns: NameServers) -> None:
    """What ExternalDNS does with a provider that takes the targets as the text of a zone file, as RFC 2136 has it."""
    for name, targets in endpoints(api).items():
        for zone in dns.zones:
            zone.records[name] = {"TXT": targets}


@pytest.mark.usefixtures("external_dns")
def test_the_records_are_published_as_they_are_and_the_domain_signs(
    api: KubeApi, dns: NameServers, domain: str
) -> None:
    sending_domain(api, domain, **SPEC)
    until(lambda: endpoints(api), bool)
    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "RecordMissing"))
    assert f"DNSEndpoint {CHILD}" in message(api)
    made = api.get("dnsendpoints", CHILD)
    assert made["metadata"]["labels"]["zone"] == "public"
    assert [endpoint["recordTTL"] for endpoint in made["spec"]["endpoints"]] == [3600]

    publish_endpoints(api, dns)
    ask_again(api, "published")

    until(lambda: condition(api, "Ready"), lambda found: found == ("True", "Ready"))
    assert "NoExternalDNS" not in events(api)


@pytest.mark.usefixtures("external_dns")
def test_bare_texts_that_a_provider_cuts_at_the_first_semicolon_are_seen(
    api: KubeApi, dns: NameServers, domain: str
) -> None:
    sending_domain(api, domain, **SPEC | {"publish": {"mode": "DNSEndpoint", "quoting": "Bare"}})
    until(lambda: endpoints(api), bool)

    publish_endpoints(api, dns)
    ask_again(api, "published")

    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "KeyMismatch"))
    assert "the record ends after 7 of" in message(api, "RecordsPublished")
    assert set(states(api).values()) == {"Generated"}


@pytest.mark.usefixtures("external_dns")
def test_the_endpoint_follows_the_keys_and_the_spec(api: KubeApi, dns: NameServers, domain: str) -> None:
    sending_domain(api, domain, **SPEC)
    until(lambda: endpoints(api), bool)
    publish_endpoints(api, dns)
    ask_again(api, "published")
    until_states(api, "Active")
    old = set(endpoints(api))

    annotate(api, "rotate-requested-at", "1")
    until(lambda: endpoints(api), lambda found: len(found) == 2)
    assert old < set(endpoints(api))

    api.patch("sendingdomains", NAME, {"spec": {"publish": {"ttl": 60}}})
    until(
        lambda: [endpoint["recordTTL"] for endpoint in api.get("dnsendpoints", CHILD)["spec"]["endpoints"]],
        lambda found: found == [60, 60],
    )


@pytest.mark.usefixtures("external_dns")
def test_what_somebody_else_changes_or_deletes_is_written_again(api: KubeApi, domain: str) -> None:
    sending_domain(api, domain, **SPEC)
    before = until(lambda: endpoints(api), bool)

    api.patch("dnsendpoints", CHILD, {"spec": {"endpoints": []}})
    ask_again(api, "changed")
    until(lambda: endpoints(api), lambda found: found == before)

    api.delete("dnsendpoints", CHILD)
    ask_again(api, "deleted")
    until(lambda: endpoints(api), lambda found: found == before)


@pytest.mark.usefixtures("external_dns")
def test_an_endpoint_of_somebody_else_is_not_touched(api: KubeApi, domain: str) -> None:
    body = {"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint", "metadata": {"name": CHILD}}
    theirs = api.create("dnsendpoints", body | {"spec": {"endpoints": []}})

    sending_domain(api, domain, **SPEC)

    until(lambda: condition(api, "KeysReady"), lambda found: found == ("False", "ChildNotOwned"))
    assert f"DNSEndpoint {CHILD}" in message(api, "KeysReady")
    assert api.get("dnsendpoints", CHILD)["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]


@pytest.mark.usefixtures("external_dns")
def test_without_the_right_the_condition_says_which_value_of_the_chart_gives_it(
    proxy: FaultProxy, api: KubeApi, domain: str
) -> None:
    proxy.rule = lambda _, path: 403 if f"{api.namespace}/dnsendpoints" in path else None
    sending_domain(api, domain, **SPEC)
    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "NoExternalDNS"))
    assert "rbac.dnsEndpoints" in message(api)
    assert "kubectl get sd" in message(api)
    until(lambda: events(api), lambda found: "NoExternalDNS" in found)

    refused = proxy.count("GET", 403)
    ask_again(api, "again")
    until(lambda: proxy.count("GET", 403), lambda count: count > refused + 1)
    assert events(api).count("NoExternalDNS") == 1

    proxy.rule = lambda *_: None
    ask_again(api, "allowed")
    until(lambda: endpoints(api), bool)


def test_a_type_that_comes_later_is_used_without_a_restart(
    api: KubeApi, domain: str, request: pytest.FixtureRequest
) -> None:
    sending_domain(api, domain, **SPEC)
    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "NoExternalDNS"))
    assert "knows no DNSEndpoints" in message(api)
    assert len(status(api)["records"]) == 1

    request.getfixturevalue("external_dns")
    ask_again(api, "installed")

    until(lambda: endpoints(api), bool)
    until(lambda: condition(api, "RecordsPublished"), lambda found: found == ("False", "RecordMissing"))
    until(lambda: events(api), lambda found: "RecordMissing" in found)
    assert events(api).count("NoExternalDNS") == 1


@pytest.mark.parametrize("status", [410, 429, 500])
def test_what_happens_while_watches_end_in_trouble_is_found(
    proxy: FaultProxy, api: KubeApi, dns: NameServers, domain: str, status: int
) -> None:
    """A SendingDomain that is created, and a Secret with a key that is deleted."""
    sending_domain(api, domain, **SPEC)
    old = set(until_states(api, "Generated"))
    left = iter([status] * 8)
    proxy.rule = lambda _method, path: next(left, None) if "watch=true" in path else None
    proxy.cut()
    api.delete("secrets", CHILD)
    other = f"other.{domain}"
    dns.delegate(other)
    sending_domain(api, other, "other", **SPEC)

    assert set(until_states(api, "Generated", name="other"))
    assert set(until_states(api, "Revoked", "Generated")) > old

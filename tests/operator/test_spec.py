"""What a resource may say, and that everything wrong with it is told at once, with its path."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.outbound_config import faults_of, parsed, resource

from mailboat_operator import names
from mailboat_operator.references import Reference, SourceKind
from mailboat_operator.spec import Reload, is_paused, parse

ROUTE = {"name": "a", "domains": ["example.com"], "hosts": [{"host": "smtp.example.net"}]}
BY = {"senders": ["ann@shop.example"]}
AUTH = {"authSecretRef": {"name": "smart-host"}}


def route(**changes: Any) -> dict[str, Any]:
    """A spec with one route."""
    return {"routes": [{**ROUTE, **changes}]}


def egress(mode: str, **more: Any) -> dict[str, Any]:
    """A spec with this egress, and a workload that names the pods."""
    return {"targetRef": {"name": "relay"}, "egress": {"mode": mode, **more}}


def test_an_empty_spec_has_the_relays_defaults() -> None:
    spec = parsed({})

    assert spec.outbound["concurrency_max"] == "100"
    assert spec.outbound["disabled"] == "false"
    assert "temp_fail_intervals" not in spec.outbound
    assert spec.tls.keys["minVersion"] == "TLSv1.2"
    assert (spec.binds, spec.routes, spec.target, spec.reload) == ((), (), "", Reload.HOT)
    assert spec.references() == ()


def test_values_come_out_as_the_relay_writes_them() -> None:
    spec = parsed(
        {
            "outbound": {"tempFailIntervals": "60s, 300s*2", "dnsServers": ["192.0.2.53", "[2001:db8::53]:5353"]},
            "tls": {"forceTLSHosts": ["Example.COM", "192.0.2.1/24"], "minVersion": "TLSv1.3"},
        }
    )

    assert spec.outbound["temp_fail_intervals"] == "1m, 5m*2"
    assert spec.outbound["dns_servers"] == "192.0.2.53:53, [2001:db8::53]:5353"
    assert spec.tls.keys["force_tls_hosts"] == ("example.com", "192.0.2.0/24")


def test_a_route_with_everything() -> None:
    hosts = [
        {"host": "smtp1.example.net", "port": 587},
        {"host": "2001:db8::1", "priority": 10},
        {"host": "2001:db8::2", "port": 26, "priority": 20},
    ]
    bundle = {"caBundleRef": {"kind": "ConfigMap", "name": "trust"}}
    spec = parsed(route(hosts=hosts, tls="Required", requireAuth=True, authType="LOGIN", **AUTH, **bundle))
    (found,) = spec.routes

    assert found.keys["hosts"] == "smtp1.example.net:587, 2001:db8::1/10, [2001:db8::2]:26/20"
    assert (found.keys["tls"], found.keys["require_auth"], found.keys["auth_type"]) == ("required", "true", "LOGIN")
    assert found.keys["auth_without_tls"] == "false"
    assert found.files == {
        "ca": Reference(SourceKind.CONFIG_MAP, "trust", "ca.crt", ""),
        "auth_user_file": Reference(SourceKind.SECRET, "smart-host", "username", ""),
        "auth_pass_file": Reference(SourceKind.SECRET, "smart-host", "password", ""),
    }


def test_references_are_all_there_and_once_each() -> None:
    certificate = {"certificateSecretRef": {"name": "tls"}}
    spec = parsed(
        {
            "targetRef": {"name": "relay", "adminTokenSecretRef": {"name": "token"}},
            "tls": {
                **certificate,
                "caBundleRef": {"kind": "ConfigMap", "name": "trust", "key": "bundle.pem"},
                "dhparamSecretRef": {"name": "dh"},
                "outbound": certificate,
            },
            **route(**AUTH),
            "bounceMessage": {"configMapRef": {"name": "bounces"}},
        }
    )

    assert [(ref.kind.value, ref.name, ref.key) for ref in spec.references()] == [
        ("Secret", "tls", "tls.crt"),
        ("ConfigMap", "trust", "bundle.pem"),
        ("Secret", "dh", "dhparam.pem"),
        ("Secret", "smart-host", "username"),
        ("Secret", "smart-host", "password"),
        ("ConfigMap", "bounces", "outbound.bounce_message"),
        ("ConfigMap", "bounces", "outbound.bounce_message_html"),
        ("Secret", "token", "token"),
    ]
    assert {ref.name for ref in spec.references() if ref.consent} == {"smart-host", "token"}


@pytest.mark.parametrize(
    ("spec", "binds"),
    [
        ({}, []),
        ({"egress": {"mode": "Auto", "ehlo": "Mail.Example.com"}}, [("default", "mail.example.com")]),
        (egress("Auto", pods=[{"ordinal": 1, "ehlo": "b.example"}, {"ordinal": 2}]), [("relay-1", "b.example")]),
        (egress("PodIP"), [("default", "pod-ip")]),
        (egress("PodIP", ehlo="a.example"), [("default", "pod-ip a.example")]),
        (
            egress("PerPod", pods=[{"ordinal": 0, "bindIPs": ["192.0.2.1", "2001:DB8::1"], "ehlo": "a.example"}]),
            [("default", "none"), ("relay-0", "192.0.2.1, 2001:db8::1 a.example")],
        ),
        (
            egress("Network", networks=["198.51.100.0/24", "2001:db8::/64"], pods=[{"ordinal": 7, "ehlo": "h.test"}]),
            [
                ("default", "198.51.100.0/24, 2001:db8::/64"),
                ("relay-7", "198.51.100.0/24, 2001:db8::/64 h.test"),
            ],
        ),
        (
            egress("PerPod", ehlo="all.example", pods=[{"ordinal": 3, "bindIPs": ["2001:db8::3"]}]),
            [("default", "none all.example"), ("relay-3", "2001:db8::3 all.example")],
        ),
    ],
)
def test_egress_becomes_bind_entries(spec: dict[str, Any], binds: list[tuple[str, str]]) -> None:
    assert list(parsed(spec).binds) == binds


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"outbound": {"concurrencyMax": 0}}, "spec.outbound.concurrencyMax: is not between 1 and 100000"),
    ({"outbound": {"concurrencyMax": True}}, "spec.outbound.concurrencyMax: is not a whole number"),
    ({"outbound": {"concurrencyMax": {}}}, "spec.outbound.concurrencyMax: is of the wrong type"),
    ({"outbound": {"disabled": "perhaps"}}, "spec.outbound.disabled: is neither true"),
    ({"outbound": []}, "spec.outbound: is not an object"),
    ({"outbound": {"receivedHeader": "a (b"}}, "spec.outbound.receivedHeader: has a backslash or a lone"),
    ({"outbound": {"receivedHeader": "a\r\n[bind]"}}, "spec.outbound.receivedHeader: has characters"),
    (
        {"outbound": {"tempFailIntervals": "4s"}},
        "spec.outbound.tempFailIntervals: an interval is shorter than 5 seconds",
    ),
    ({"outbound": {"tempFailIntervals": "1m", "maxTempFailures": 3}}, "spec.outbound.maxTempFailures: has no effect"),
    ({"outbound": {"dnsServers": ["dns.example"]}}, "spec.outbound.dnsServers[0]: is not an IP address"),
    (
        {"outbound": {"dnsServers": ["192.0.2.1,192.0.2.2"]}},
        "spec.outbound.dnsServers[0]: '192.0.2.1,192.0.2.2' is not",
    ),
    ({"outbound": {"dnsServers": [53]}}, "spec.outbound.dnsServers[0]: is not a string"),
    ({"outbound": {"dnsServers": "192.0.2.1\nmx_port=1"}}, "spec.outbound.dnsServers: "),
    ({"tls": {"minVersion": "SSLv3"}}, "spec.tls.minVersion: is not one of"),
    ({"tls": {"ciphers": "A\nkey=x"}}, "spec.tls.ciphers: is not an OpenSSL cipher list"),
    ({"tls": {"forceTLSHosts": ["*.example"]}}, "spec.tls.forceTLSHosts[0]: is a pattern"),
    ({"tls": {"forceTLSHosts": "example.com"}}, "spec.tls.forceTLSHosts: is of the wrong type"),
    ({"tls": {"forceTLSHosts": ["a.b"], "noTLSHosts": ["A.b"]}}, "spec.tls.noTLSHosts: a.b is in forceTLSHosts too"),
    (
        {"tls": {"forceTLSHosts": ["a.b"], "outbound": {"noTLSHosts": ["a.b"]}}},
        "spec.tls.outbound.noTLSHosts: a.b is in forceTLSHosts too",
    ),
    ({"tls": {"outbound": {"forceTLSHosts": ["a\nb"]}}}, "spec.tls.outbound.forceTLSHosts[0]: is not a domain"),
    ({"tls": {"caBundleRef": {"kind": "Pod", "name": "a"}}}, "spec.tls.caBundleRef.kind: 'Pod' is not one of"),
    (route(name="a]\n[bind"), "spec.routes[0].name: 'a]\\n[bind' is not a route's name"),
    (route(name=""), "spec.routes[0].name: '' is not a route's name"),
    (route(domains=[]), "spec.routes[0].domains: is missing"),
    (route(domains=["a.example, b.example"]), "spec.routes[0].domains[0]: 'a.example, b.example' is not one item"),
    (route(hosts=[]), "spec.routes[0].hosts: is missing"),
    (route(hosts=[{"host": "a, b"}]), "spec.routes[0].hosts[0].host: 'a, b' is not one item"),
    (route(hosts=[{"host": "a:26"}]), "spec.routes[0].hosts[0].host: 'a:26' is more than a host"),
    (route(hosts=[{"host": "a/5"}]), "spec.routes[0].hosts[0].host: 'a/5' is more than a host"),
    (
        route(hosts=[{"host": "/run/lmtp", "port": 24}]),
        "spec.routes[0].hosts[0].host: '/run/lmtp' is more than a host",
    ),
    (route(hosts=["a"]), "spec.routes[0].hosts[0]: is not an object"),
    (route(protocol="ESMTP"), "spec.routes[0].protocol: is not one of"),
    (route(requireAuth=True), "spec.routes[0].requireAuth: needs authSecretRef"),
    (route(tls="Disabled", **AUTH), "spec.routes[0].tls: is Disabled"),
    (route(tls="Implicit", hosts=[{"host": "/run/lmtp"}]), "spec.routes[0].tls: verified TLS cannot be had"),
    ({"routes": [ROUTE, {**ROUTE, "name": "b"}]}, "spec.routes[1].domains: example.com already belongs to the route a"),
    (route(senders=["a b@example.com"]), "spec.routes[0].senders[0]: is not an address"),
    (
        {"routes": [{**ROUTE, **BY}, {**ROUTE, **BY, "name": "b"}]},
        "from ann@shop.example already belongs to the route a",
    ),
    ({"routes": [ROUTE, {**ROUTE, "domains": ["b.example"]}]}, "spec.routes: two have the same name"),
    ({"egress": {"mode": "Somewhere"}}, "spec.egress.mode: 'Somewhere' is not one of"),
    ({"egress": {"mode": "Auto", "ehlo": "192.0.2.1 a.example"}}, "spec.egress.ehlo: is not"),
    (
        {"egress": {"mode": "Auto", "pods": [{"ordinal": 0, "ehlo": "a.b"}]}},
        "spec.egress.pods[0]: needs spec.targetRef",
    ),
    (egress("PerPod"), "spec.egress.pods: is required when mode is PerPod"),
    (egress("PerPod", pods=[{"ordinal": 0}]), "spec.egress.pods[0].bindIPs: is required when mode is PerPod"),
    (egress("Auto", pods=[{"ordinal": 0, "bindIPs": ["192.0.2.1"]}]), "spec.egress.pods[0].bindIPs: is required when"),
    (egress("PerPod", pods=[{"ordinal": 0, "bindIPs": ["pod-ip"]}]), "spec.egress.pods[0].bindIPs[0]: 'pod-ip' is not"),
    (egress("PerPod", pods=[{"ordinal": 0, "bindIPs": ["10.0.0.0/8"]}]), "'10.0.0.0/8' is not an address"),
    (egress("PerPod", pods=[{"ordinal": 0, "bindIPs": ["0.0.0.0"]}]), "bindIPs[0]: cannot be a source address"),
    (egress("PerPod", pods=[{"ordinal": 0, "bindIPs": ["192.0.2.1", "192.0.2.2"]}]), "second IPv4 address"),
    (
        egress(
            "PerPod",
            pods=[
                {"ordinal": 4, "bindIPs": ["2001:db8::1"]},
                {"ordinal": 7, "bindIPs": ["10.0.0.1", "2001:DB8::0:1"]},
            ],
        ),
        "spec.egress.pods[1].bindIPs: 2001:db8::1 already belongs to the pod with the ordinal 4",
    ),
    (egress("PerPod", pods=[{"bindIPs": ["192.0.2.1"]}]), "spec.egress.pods[0].ordinal: is missing"),
    (egress("PerPod", pods=[{"ordinal": 0, "bindIPs": ["192.0.2.1"]}] * 2), "spec.egress.pods[1].ordinal: is missing,"),
    (egress("Network"), "spec.egress.networks: is required when mode is Network"),
    (egress("PodIP", networks=["10.0.0.0/8"]), "spec.egress.networks: is required when mode is Network, and for that"),
    (egress("Network", networks=["10.0.0.1"]), "spec.egress.networks[0]: '10.0.0.1' is not a network"),
    (egress("Network", networks=["10.0.0.1/8"]), "spec.egress.networks[0]: has host bits set"),
    (egress("Network", networks=["10.0.0.0/8", "10.0.0.0/9"]), "second IPv4 address"),
    ({"bounceMessage": {"text": "a\0b"}}, "spec.bounceMessage.text: has a NUL"),
    ({"bounceMessage": {"text": "a", "configMapRef": {"name": "b"}}}, "spec.bounceMessage.configMapRef: is set beside"),
    ({"targetRef": "relay"}, "spec.targetRef: is not an object"),
    ({"reload": "Cold"}, "spec.reload: 'Cold' is not one of Hot, Restart"),
]


@pytest.mark.parametrize(("spec", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_what_is_wrong_is_told(spec: dict[str, Any], fault: str) -> None:
    assert any(fault in told for told in faults_of(spec)), faults_of(spec)


def test_a_route_with_senders_alone_is_for_all_domains_and_two_routes_may_share_domains_by_sender() -> None:
    by_sender = {**ROUTE, "name": "b", **BY, "inetPrefer": "v4-only"}
    first, second = parsed({"routes": [ROUTE, by_sender]}).routes
    assert "senders" not in first.keys
    assert (second.keys["domains"], second.keys["senders"]) == ("example.com", "ann@shop.example")
    assert second.keys["inet_prefer"] == "v4-only"
    del by_sender["domains"]
    (alone,) = parsed({"routes": [by_sender]}).routes
    assert alone.keys["domains"] == "*"


def test_all_faults_come_at_once() -> None:
    spec = {"outbound": {"mxPort": 0}, "tls": {"minVersion": "1"}, **route(domains=["-"]), **egress("Network")}

    assert len(faults_of(spec)) == 5


@pytest.mark.parametrize("spec", ["text", 5, [1]])
def test_a_spec_that_is_no_object_is_told(spec: Any) -> None:
    assert parse({"spec": spec}) == (None, ("spec: is not an object",))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (resource({"paused": True}), True),
        (resource({}, paused="true"), True),
        (resource({}, paused="false"), False),
        (resource({}), False),
        (resource({"paused": True, "outbound": 5}), True),
    ],
)
def test_paused_is_known_whatever_else_is_wrong(found: dict[str, Any], expected: bool) -> None:
    assert is_paused(found, names.PAUSED) is expected

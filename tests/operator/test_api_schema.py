"""What the API server itself refuses, one case a rule, so that nobody learns of a slip only from a condition."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.crds import rules_in, schema_of
from tests.support.kube_api import KubeApi, Refused
from tests.support.outbound_config import CRD_FILE

pytestmark = pytest.mark.apiserver

ROUTE = {"name": "a", "domains": ["*"], "hosts": [{"host": "smtp.example.net"}]}
AUTH = {"authSecretRef": {"name": "smart-host"}}
OAUTH: dict[str, Any] = {
    "tokenURL": "https://login.example/token",
    "clientID": "relay",
    "clientSecretRef": {"name": "smart-host"},
}


def _oauth(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**OAUTH, **changes}.items() if value is not None}


TARGET = {"targetRef": {"name": "relay"}}


def route(**changes: Any) -> dict[str, Any]:
    return {"routes": [{**ROUTE, **changes}]}


def egress(**content: Any) -> dict[str, Any]:
    return {**TARGET, "egress": content}


def pod(*addresses: str, **more: Any) -> dict[str, Any]:
    return egress(mode="PerPod", pods=[{"ordinal": 0, "bindIPs": list(addresses), **more}])


SHAPING_RULE: dict[str, Any] = {
    "name": "a",
    "replies": ["4*"],
    "samples": ["4"],
    "actions": [{"type": "Alert"}],
}


def shaping_limit(name: str, **limit: Any) -> dict[str, Any]:
    return {"shaping": {"scopes": [{"scope": "Default", "limits": {name: limit}}]}}


def shaping_action(**action: Any) -> dict[str, Any]:
    return {"shaping": {"rules": [{**SHAPING_RULE, "actions": [action]}]}}


RULES: list[tuple[str, dict[str, Any], str]] = [
    ("two-for-all", {"routes": [ROUTE, {**ROUTE, "name": "b"}]}, "at most one route may have the domain '*'"),
    ("pods-without-target", {"egress": {"pods": [{"ordinal": 0, "ehlo": "a.b"}]}}, "egress.pods needs targetRef"),
    ("two-schedules", {"outbound": {"tempFailIntervals": "1m", "maxTempFailures": 3}}, "not both"),
    ("short-interval", {"outbound": {"tempFailIntervals": "1m, 4s"}}, "at least 5 seconds"),
    ("interval-grammar", {"outbound": {"tempFailIntervals": "soon"}}, "should match"),
    ("no-pods", egress(mode="PerPod"), "egress.pods is required when mode is PerPod"),
    ("pod-without-address", egress(mode="PerPod", pods=[{"ordinal": 0}]), "each of egress.pods needs bindIPs"),
    ("address-in-auto", egress(pods=[{"ordinal": 0, "bindIPs": ["192.0.2.1"]}]), "bindIPs are for mode PerPod only"),
    ("no-networks", egress(mode="Network"), "egress.networks is required when mode is Network"),
    ("networks-in-auto", egress(networks=["10.0.0.0/8"]), "egress.networks is required when mode is Network"),
    ("no-network", egress(mode="Network", networks=["10.0.0.1"]), "must be a network without host bits"),
    ("host-bits", egress(mode="Network", networks=["10.0.0.1/8"]), "must be a network without host bits"),
    ("two-networks", egress(mode="Network", networks=["10.0.0.0/8", "192.168.0.0/16"]), "at most one network of each"),
    ("no-address", pod("relay"), "must be an IP address"),
    ("two-addresses", pod("192.0.2.1", "192.0.2.2"), "at most one address of each family"),
    ("ehlo", pod("192.0.2.1", ehlo="a b"), "should match"),
    ("ordinal-twice", egress(pods=[{"ordinal": 0}, {"ordinal": 0}]), "Duplicate value"),
    ("plaintext-auth", route(tls="Disabled", **AUTH), "AUTH without TLS needs allowPlaintextAuth"),
    ("auth-required", route(requireAuth=True), "requireAuth needs authSecretRef"),
    ("auth-type", route(authType="PLAIN"), "authType needs authSecretRef"),
    ("oauth-user", route(authType="XOAUTH2", oauth=OAUTH), "oauth needs authSecretRef"),
    ("oauth-type", route(authType="LOGIN", oauth=OAUTH, **AUTH), "authType is XOAUTH2 or OAUTHBEARER with oauth"),
    ("oauth-none", route(authType="XOAUTH2", **AUTH), "authType is XOAUTH2 or OAUTHBEARER with oauth"),
    ("oauth-no-secret", route(authType="XOAUTH2", oauth=_oauth(clientSecretRef=None), **AUTH), "a clientSecretRef or"),
    ("oauth-http", route(authType="XOAUTH2", oauth=_oauth(tokenURL="http://a.test/"), **AUTH), "tokenURL"),
    ("socket-tls", route(tls="Required", hosts=[{"host": "/run/lmtp"}]), "cannot be had over a unix socket"),
    ("socket-port", route(hosts=[{"host": "/run/lmtp", "port": 24}]), "neither a port nor a priority"),
    ("no-hosts", route(hosts=[]), "should have at least 1 items"),
    ("for-whom", {"routes": [{"name": "a", "hosts": [{"host": "a.b"}]}]}, "a route needs domains or senders"),
    ("host", route(hosts=[{"host": "a\nb"}]), "should match"),
    ("domain", route(domains=["a b"]), "should match"),
    ("route-name", route(name="a]"), "should match"),
    ("bounce-both", {"bounceMessage": {"text": "a", "configMapRef": {"name": "b"}}}, "and not both"),
    ("bounce-none", {"bounceMessage": {}}, "set text and html, or configMapRef"),
    ("header-injection", {"outbound": {"receivedHeader": "a\r\nBcc: b"}}, "should match"),
    ("too-many", {"outbound": {"concurrencyMax": 100001}}, "should be less than or equal to 100000"),
    ("too-few", {"outbound": {"concurrencyMax": 0}}, "should be greater than or equal to 1"),
    ("scope-name", {"shaping": {"scopes": [{"scope": "Domain"}]}}, "each scope but Default has a name"),
    ("default-name", {"shaping": {"scopes": [{"scope": "Default", "name": "a"}]}}, "each scope but Default has a name"),
    ("no-connections", shaping_limit("connections"), "connections has value or none"),
    ("half-a-rate", shaping_limit("rate", count=1), "a rate has count and period, or none"),
    ("none-and-more", shaping_limit("rate", none=True, count=1), "a rate has count and period, or none"),
    ("shaping-word", {"shaping": {"scopes": [{"scope": "Default", "inet": "V4"}]}}, "Unsupported value"),
    ("long-pattern", {"shaping": {"rules": [{**SHAPING_RULE, "replies": ["4" * 257]}]}}, "may not be more than 256"),
    ("many-rules", {"shaping": {"rules": [{**SHAPING_RULE, "name": f"r{n}"} for n in range(129)]}}, "at most 128"),
    ("many-scopes", {"shaping": {"scopes": [{"scope": "Default"}] * 257}}, "at most 256"),
    ("action-amount", shaping_action(type="Rate"), "have value, or factor and floor"),
    ("action-more", shaping_action(type="Suspend", value={"count": 1}), "have value, or factor and floor"),
    ("action-after", shaping_action(type="Retry"), "Retry has after"),
    ("trigger", {"shaping": {"rules": [{**SHAPING_RULE, "trigger": {"count": 2}}]}}, "several matches need a period"),
    ("word", {"tls": {"minVersion": "SSLv3"}}, "Unsupported value"),
    ("ciphers", {"tls": {"ciphers": "A\nB"}}, "should match"),
    ("dns", {"outbound": {"dnsServers": ["dns.example"]}}, "should match"),
    ("secret-name", {"tls": {"certificateSecretRef": {"name": "../a"}}}, "should match"),
    ("long-text", {"bounceMessage": {"text": "a" * 65537}}, "may not be more than 65536"),
    ("reports-without-contact", {"tlsReports": {"organization": "Example"}}, "spec.tlsReports.contact: Required value"),
    ("reports-without-organization", {"tlsReports": {"contact": "a@b.test"}}, "spec.tlsReports.organization: Required"),
    ("reports-of-two-lines", {"tlsReports": {"organization": "a\nsocket=/x", "contact": "b"}}, "should match"),
    ("reports-from", {"tlsReports": {"organization": "a", "contact": "b", "from": "postmaster"}}, "should match"),
    ("type", {"outbound": {"disabled": "yes"}}, "must be of type boolean"),
]


@pytest.mark.parametrize(("name", "spec", "message"), RULES, ids=[name for name, _, _ in RULES])
def test_the_api_server_refuses(api: KubeApi, name: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        api.config(name, spec)

    assert refused.value.status == 422
    assert message in str(refused.value)


def test_a_name_that_leaves_no_room_for_the_childrens_is_refused(api: KubeApi) -> None:
    with pytest.raises(Refused, match="may not be more than 52"):
        api.config("a" * 53)


def test_the_target_cannot_be_changed(api: KubeApi) -> None:
    api.config("relay", TARGET)

    with pytest.raises(Refused, match="is immutable"):
        api.patch("outboundconfigs", "relay", {"spec": {"targetRef": {"name": "other"}}})


def test_every_rule_has_a_case_here() -> None:
    told = [message for _, _, message in RULES] + ["targetRef.name is immutable"]
    assert [message for message in rules_in(schema_of(CRD_FILE)) if not any(part in message for part in told)] == []


def test_defaults_are_filled_in(api: KubeApi) -> None:
    spec = api.config("relay")["spec"]

    assert spec["outbound"]["concurrencyMax"] == 100
    assert spec["egress"] == {"mode": "Auto"}
    assert spec["tls"]["minVersion"] == "TLSv1.2"

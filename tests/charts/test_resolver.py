"""The relay's chart: the validating resolver, which is off unless asked for, and its image's first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from resolver import start
from tests.support.helm import Helm, Object, RefusedError, Rendered

KUBELET = "search mail.svc.cluster.local svc.cluster.local cluster.local example.com\nnameserver 10.96.0.10\n"


def with_resolver(helm: Helm, **values: Any) -> Rendered:
    return helm.template("mailboat-relay", values={"resolver": {"enabled": True, **values}})


def template_of(rendered: Rendered) -> Object:
    return dict(rendered.one("StatefulSet")["spec"]["template"])


def unbound_conf(rendered: Rendered) -> str:
    return str(rendered.one("ConfigMap", "mailboat-relay-resolver")["data"]["unbound.conf"])


@pytest.mark.helm
def test_without_the_resolver_nothing_of_it_is_there(helm: Helm) -> None:
    """So that an upgrade of the chart does not restart pods for it."""
    rendered = helm.template("mailboat-relay")
    assert "resolver" not in str(rendered.objects)
    assert "MAILBOAT_DNS_SERVERS" not in str(rendered.objects)


@pytest.mark.helm
def test_the_relay_asks_the_resolver_beside_it_which_nobody_else_reaches(helm: Helm) -> None:
    rendered = with_resolver(helm)
    (relay,) = template_of(rendered)["spec"]["containers"]
    assert {"name": "MAILBOAT_DNS_SERVERS", "value": "127.0.0.1:5335"} in relay["env"]
    lines = unbound_conf(rendered).split("\n")
    assert lines[:2] == ["server:", "  interface: 127.0.0.1@5335"]
    assert '  module-config: "validator iterator"' in lines


@pytest.mark.helm
def test_the_resolver_starts_before_the_relay_and_ends_after_it(helm: Helm) -> None:
    """As a sidecar of Kubernetes: an init container that is restarted, and whose start-up probe is waited for."""
    values = {"extraInitContainers": [{"name": "mine"}], "resolver": {"enabled": True}}
    spec = template_of(helm.template("mailboat-relay", values=values))["spec"]
    mine, resolver = spec["initContainers"]
    assert (mine["name"], resolver["name"]) == ("mine", "resolver")
    assert resolver["restartPolicy"] == "Always"
    for probe in ("startupProbe", "livenessProbe"):
        assert resolver[probe]["exec"] == {"command": ["unbound-control", "status"]}
    assert "readinessProbe" not in resolver, "mail is accepted without DNS"
    assert resolver["resources"]["limits"] == {"memory": "128Mi"}


@pytest.mark.helm
def test_the_resolver_writes_only_to_a_volume_of_its_own(helm: Helm) -> None:
    spec = template_of(with_resolver(helm))["spec"]
    (resolver,) = spec["initContainers"]
    assert resolver["volumeMounts"] == [
        {"name": "resolver-config", "mountPath": "/etc/unbound", "readOnly": True},
        {"name": "resolver", "mountPath": str(start.STATE)},
    ]
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["resolver-config"]["configMap"] == {"name": "mailboat-relay-resolver"}
    assert "emptyDir" in volumes["resolver"]
    (relay,) = spec["containers"]
    assert not any(each["name"].startswith("resolver") for each in relay["volumeMounts"])


@pytest.mark.helm
def test_forwarders_are_asked_instead_of_the_servers_of_each_domain(helm: Helm) -> None:
    assert "forward-zone" not in unbound_conf(with_resolver(helm))
    conf = unbound_conf(with_resolver(helm, forwarders=["192.0.2.53", "2001:db8::53@5353"]))
    assert conf.endswith('forward-zone:\n  name: "."\n  forward-addr: 192.0.2.53\n  forward-addr: 2001:db8::53@5353\n')


@pytest.mark.helm
@pytest.mark.parametrize("forwarder", ["dns.example.com", "192.0.2.53:53", "192.0.2.53@0", "192.0.2.53@65536", ""])
def test_a_forwarder_is_an_address_with_or_without_a_port(helm: Helm, forwarder: str) -> None:
    with pytest.raises(RefusedError, match="forwarders"):
        with_resolver(helm, forwarders=[forwarder])


@pytest.mark.helm
def test_what_unbound_reads_only_at_its_start_replaces_the_pods(helm: Helm) -> None:
    clause = 'forward-zone:\n  name: "corp.example"\n  forward-addr: 192.0.2.1'
    plain, more = with_resolver(helm), with_resolver(helm, extraConfig=clause)
    assert unbound_conf(more).rstrip().endswith(clause)
    checksum = "checksum/resolver"
    before, after = (template_of(each)["metadata"]["annotations"] for each in (plain, more))
    assert before[checksum] != after[checksum]


@pytest.mark.helm
def test_the_resolvers_image_is_named_like_the_others(helm: Helm) -> None:
    values = {"global": {"imageRegistry": "mirror.example.com"}, "resolver": {"enabled": True}}
    (resolver,) = template_of(helm.template("mailboat-relay", values=values))["spec"]["initContainers"]
    assert resolver["image"] == "mirror.example.com/mailboat-resolver:0.1.0"
    (pinned,) = template_of(with_resolver(helm, image={"digest": f"sha256:{'0' * 64}"}))["spec"]["initContainers"]
    assert pinned["image"] == f"mailboat-resolver@sha256:{'0' * 64}"


@pytest.mark.helm
def test_a_network_policy_opens_the_ports_of_forwarders(helm: Helm) -> None:
    def dns_ports(**resolver: Any) -> list[tuple[int, str]]:
        values = {"networkPolicy": {"egressEnabled": True}, "resolver": resolver}
        policy = helm.template("mailboat-relay", values=values).one("NetworkPolicy")["spec"]
        return [(each["port"], each["protocol"]) for each in policy["egress"][0]["ports"]]

    usual = [(53, "UDP"), (53, "TCP")]
    forwarders = ["192.0.2.53@5353", "192.0.2.54"]
    assert dns_ports() == dns_ports(enabled=True) == dns_ports(enabled=False, forwarders=forwarders) == usual
    assert dns_ports(enabled=True, forwarders=forwarders) == [*usual, (5353, "UDP"), (5353, "TCP")]


def test_names_of_the_cluster_are_asked_of_the_clusters_dns_and_not_validated() -> None:
    assert start.cluster_zone(f"{KUBELET}nameserver 10.96.0.11\noptions ndots:5\n") == (
        'server:\n  domain-insecure: "cluster.local"\n  local-zone: "cluster.local." transparent\n'
        'forward-zone:\n  name: "cluster.local"\n  forward-addr: 10.96.0.10\n  forward-addr: 10.96.0.11\n'
    )


@pytest.mark.parametrize("text", ["", "nameserver 192.0.2.1\nsearch example.com\n", "search svc.cluster.local\n"])
def test_a_pod_without_a_clusters_dns_has_no_names_of_a_cluster(text: str) -> None:
    assert start.cluster_zone(text) == ""


def test_a_trust_anchor_that_is_there_is_kept_by_a_restart(tmp_path: Path) -> None:
    conf, anchor, state = (tmp_path / name for name in ("resolv.conf", "root.key", "state"))
    state.mkdir()
    conf.write_text(KUBELET)
    anchor.write_text("of the image")
    start.prepare(conf, anchor, state)
    assert (state / "root.key").read_text() == "of the image"
    (state / "root.key").write_text("renewed")
    start.prepare(conf, anchor, state)
    assert (state / "root.key").read_text() == "renewed"
    assert (state / "cluster.conf").read_text() == start.cluster_zone(KUBELET)

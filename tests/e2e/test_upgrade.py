"""From the release before defaults were changed to this one, with values that used each of them.

What ran goes on: mail is taken and delivered, and the relays have the files that they had. What is asked for from now
on is said by the OutboundConfig, with the command.
"""

from __future__ import annotations

import re

import pytest
from tests.e2e.load import load, more, settle
from tests.e2e.relays import SMTP, Relays
from tests.e2e.releases import CHARTS, OPERATOR, RELAY, Releases, Values, merged
from tests.e2e.sink import Sink
from tools.cluster import earlier
from tools.cluster.kubectl import Failed, Kubectl, until
from tools.cluster.use import Cluster

USERS, TOKEN, PROVIDER = "relay-users", "relay-admin", "provider"
"""Secrets, none of them labelled."""
DATA = {
    USERS: {"auth_flat_file.ini": "[users]\napp@sender.test=a password\n"},
    TOKEN: {"token": "a-token"},
    PROVIDER: {"username": "relay", "password": "a password"},
}
WIDE = [f"{first}.0.0.0/8" for first in range(128, 192)]
"""Together 128.0.0.0/2."""
VALUES: Values = {
    "config": {
        "relayAllow": ["10.0.0.0/8", "fd90::/64", "2000::/16", *WIDE],
        "plugins": ["auth_flat_file"],
        "existingSecrets": [{"name": USERS, "items": [{"key": "auth_flat_file.ini", "path": "auth_flat_file.ini"}]}],
    },
    "admin": {"tokenSecret": TOKEN},
}
"""Nothing is said of a NetworkPolicy, nor of reading without the token."""
BEFORE: Values = {"image": {"tag": earlier.TAG}}
QUEUE = "/v1/queue"


@pytest.fixture(name="relays")
async def _relays(cluster: Cluster, kubectl: Kubectl, releases: Releases, sink: Sink) -> Relays:
    """Two relays of the release before, ready; a mail to the provider, which offers no TLS, waits in the first."""
    cluster.own().load(earlier.archives())
    releases.charts = earlier.tree() / "charts"
    for name, data in DATA.items():
        kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
    relays = releases.both(merged(VALUES, BEFORE), BEFORE)
    hosts = [{"host": sink.host, "port": 25}]
    secret = {"tls": "Required", "authSecretRef": {"name": PROVIDER}}
    provider = {"name": "provider", "domains": ["provider.test"], "hosts": hosts, **secret}
    target = {"name": RELAY, "adminTokenSecretRef": {"name": TOKEN, "key": "token"}}
    releases.configure({"targetRef": target, "routes": [provider, *releases.spec()["routes"]]})
    releases.loaded()
    await relays.submit(f"pod/{relays.pod(0)}", SMTP, "waits", "bob@provider.test")
    assert "bob@provider.test" in relays.ask(0, QUEUE), "everybody reads"
    return relays


async def test_an_upgrade_with_values_that_used_the_old_defaults_loses_nothing_and_says_what_to_do(
    cluster: Cluster, kubectl: Kubectl, releases: Releases, relays: Relays, sink: Sink
) -> None:
    """The operator first, then the relays, while clients in the cluster submit on port 587 without AUTH."""
    good, lives = relays.hashes(), relays.lives()
    releases.charts = CHARTS
    with load(cluster, kubectl, f"service/{RELAY}", 587, clients=2) as books:
        releases.operator()
        said = _not_allowed(releases)
        assert (relays.hashes(), relays.lives()) == (good, lives), "the relays of before go on with what they have"
        more(books, 50)
        releases.relays(VALUES)
        assert not set(relays.lives()) & set(lives), "every pod was replaced"
        assert relays.hashes() == good, "the last good files hold for pods of this release, too"
        more(books, 50)
    settle(books, sink)
    assert not books.refused_for_good, books.last_refusal

    assert _not_allowed(releases) == said
    _do(kubectl, said)
    releases.loaded()
    assert [each["recipients"] for each in relays.queue(0)] == [["bob@provider.test"]]

    _as_before(kubectl, releases, relays)
    releases.configure()
    releases.loaded()
    kubectl("exec", relays.pod(0), "--", "mailboat", "queue", "flush", "--config", "/etc/mailboat")
    sink.until(1, "waits")


def _not_allowed(releases: Releases) -> str:
    """What the resource says once the operator of this release has read it."""
    condition: dict[str, str] = until(
        lambda: releases.condition("ResolvedRefs"), lambda found: found["reason"] == "SecretNotAllowed"
    )
    assert condition["status"] == "False"
    assert releases.condition("Programmed")["reason"] == "LastGoodKept"
    return condition["message"]


def _do(kubectl: Kubectl, said: str) -> None:
    """Run the commands that the resource names, as an Event does."""
    commands = re.findall(r"kubectl (label secret (\S+) \S+)", said)
    assert {secret for _, secret in commands} == {PROVIDER, TOKEN}
    events = kubectl("get", "events", "--field-selector=involvedObject.kind=OutboundConfig,reason=SecretNotAllowed")
    for command, _ in commands:
        assert command in events, events
        kubectl(*command.split())


def _as_before(kubectl: Kubectl, releases: Releases, relays: Relays) -> None:
    """What the new defaults close is open again with the values that the CHANGELOG names."""
    policies = [f"networkpolicy/{name}" for name in (OPERATOR, RELAY)]
    assert all(map(kubectl.exists, policies))
    with pytest.raises(Failed, match="401"):
        relays.ask(0, QUEUE)

    opened: Values = {"networkPolicy": {"enabled": False}}
    releases.operator(opened)
    releases.relays(merged(merged(VALUES, opened), {"admin": {"readWithoutToken": True}}))
    assert not any(map(kubectl.exists, policies))
    assert "bob@provider.test" in until(lambda: relays.ask(0, QUEUE), bool)

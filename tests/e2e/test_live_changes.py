"""A change of the OutboundConfig is in force in every pod within seconds, and no pod is restarted for it."""

from __future__ import annotations

import json
import smtplib
import ssl

import pytest
from tests.e2e.relays import Relays
from tests.e2e.releases import RELAY, Releases, Values
from tests.e2e.sink import Sink
from tests.e2e.tls import certificate, starttls
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

SECONDS = 60
"""That a change may take; measured are 3 to 10 on a machine of two cores."""


class Changes:
    """Changes one after the other, each seen in force in the same pods as before."""

    def __init__(self, releases: Releases, relays: Relays) -> None:
        self._releases = releases
        self._relays = relays
        self._lives = relays.lives()

    def apply(self, what: str, spec: Values) -> None:
        """Apply a spec, and wait until each pod runs it."""
        before = self._relays.hashes()
        self._releases.configure(spec)
        took = self._releases.loaded(SECONDS)
        print(f"{what}: loaded by all pods after {took:.1f} s")
        assert len(self._relays.hashes()) == 1, "all pods run the same"
        assert self._relays.hashes() != before, "and another one than before"
        assert self._relays.lives() == self._lives, "no pod was restarted"


@pytest.fixture
def relays(releases: Releases) -> Relays:
    """Two relays and an operator, before there is an OutboundConfig."""
    return releases.both()


async def test_delivery_is_switched_off_and_on_and_mail_waits_meanwhile(
    releases: Releases, relays: Relays, sink: Sink
) -> None:
    changes = Changes(releases, relays)
    changes.apply("the first OutboundConfig", {})
    await relays.submit(f"service/{RELAY}", 25, "before")
    sink.until(1)
    changes.apply("disabled", {"outbound": {"disabled": True}})
    for number in (0, 1):
        await relays.submit(f"pod/{relays.pod(number)}", 2525, "meanwhile")
        (waiting,) = relays.queue(number)
        assert (waiting["attempts"], waiting["domain"]) == (0, "there.test")
    changes.apply("enabled", {"outbound": {"disabled": False}})
    assert len(sink.until(2, "meanwhile")) == 2
    assert [mail.subject for mail in sink.mails()] == ["before", "meanwhile", "meanwhile"]


async def test_retries_follow_new_intervals(releases: Releases, relays: Relays, sink: Sink) -> None:
    """A host that refuses connections: mail waits by the first plan, and bounces at once by the second."""
    changes = Changes(releases, relays)
    routes = [
        {"name": "closed", "domains": ["closed.test"], "hosts": [{"host": sink.host, "port": 24}]},
        *releases.spec()["routes"],
    ]
    changes.apply("tempFailIntervals", {"routes": routes, "outbound": {"tempFailIntervals": "2h"}})
    await relays.submit(f"pod/{relays.pod(0)}", 2525, "waits", "bob@closed.test")
    (waiting,) = until(lambda: relays.queue(0), lambda queue: queue and queue[0]["state"] == "deferred")
    assert waiting["attempts"] == 1
    changes.apply("tempFailIntervals", {"routes": routes, "outbound": {"tempFailIntervals": "none"}})
    await relays.submit(f"pod/{relays.pod(0)}", 2525, "bounces", "bob@closed.test")
    (bounce,) = sink.until(1)
    assert (bounce.sender, bounce.recipients) == ("", ("alice@sender.test",))
    assert [each["id"] for each in relays.queue(0)] == [waiting["id"]], "what was deferred before still waits"


def test_tls_is_offered_and_its_lowest_version_is_raised(
    cluster: Cluster, releases: Releases, kubectl: Kubectl, relays: Relays
) -> None:
    changes = Changes(releases, relays)
    changes.apply("the first OutboundConfig", {})
    targets = [f"pod/{relays.pod(number)}" for number in (0, 1)]
    for target in targets:
        with pytest.raises(smtplib.SMTPNotSupportedError):
            starttls(cluster, kubectl, target)
    shown = certificate(kubectl, "relay-tls", "relay.example.test")
    tls = {"certificateSecretRef": {"name": "relay-tls"}}
    changes.apply("tls.certificateSecretRef", {"tls": tls})
    for target in targets:
        assert starttls(cluster, kubectl, target, most=ssl.TLSVersion.TLSv1_2) == (shown, "TLSv1.2")
    changes.apply("tls.minVersion", {"tls": {**tls, "minVersion": "TLSv1.3"}})
    for target in targets:
        assert starttls(cluster, kubectl, target) == (shown, "TLSv1.3")
        with pytest.raises((ssl.SSLError, OSError)):
            starttls(cluster, kubectl, target, most=ssl.TLSVersion.TLSv1_2)
    assert "relay-tls" not in json.dumps(kubectl.get("configmap", f"{RELAY}-tls")["data"]), "only file names are there"

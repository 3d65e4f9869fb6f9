"""DKIM keys follow each other while mail flows, and each mail verifies, from the first one to the end of the old keys.

Mails are verified by dkimpy when they arrive, with what the DNS says at that moment, and all of them again as long as
the old keys' records stay.
"""

from __future__ import annotations

import contextlib
import itertools
import smtplib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
from tests.e2e import sink as sinks
from tests.e2e.releases import RELAY, Releases
from tests.e2e.sink import Sink
from tests.support.dkim import signatures_of, verified_by
from tools.cluster import images
from tools.cluster.helm import Helm
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

DOMAIN = "rotation.test"
SENDER = f"you@{DOMAIN}"
NAME = "rotation"
SERVER = "10.89.0.1"
"""The name server of the zone `test`."""
PACE = 0.2
"""Seconds between two mails."""
CLOCK = """
import time

_real = time.clock_gettime


def clock_gettime(clock):
    if clock != time.CLOCK_BOOTTIME:
        return _real(clock)
    with open("/clock/ahead") as file:
        return _real(clock) + float(file.read())


time.clock_gettime = clock_gettime
"""
"""Python imports it before the operator, whose clock of keys is ahead by what the file says."""
WITH_CLOCK = {
    "extraEnv": [{"name": "PYTHONPATH", "value": "/clock"}],
    "extraVolumes": [{"name": "clock", "configMap": {"name": "clock"}}],
    "extraVolumeMounts": [{"name": "clock", "mountPath": "/clock"}],
}
DAY = 86_400


class Recipient:
    """Who gets the mails, and verifies them."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.mails: list[bytes] = []

    def look(self) -> None:
        """Verify what has come since."""
        new = self._sink.printed(SENDER)[len(self.mails) :]
        for mail in new:
            assert passes(mail) == [True, True], mail.decode()
        self.mails += new

    def verify_all(self) -> None:
        """Verify every mail that has come."""
        for mail in self.mails:
            assert passes(mail) == [True, True], mail.decode()

    def until(self, ask: Callable[[], Any], good: Callable[[Any], object]) -> Any:
        """Verify what comes until an answer is good, which it gives."""

        def ask_and_look() -> Any:
            self.look()
            return ask()

        return until(ask_and_look, good, 180)

    def until_signed_by(self, selectors: set[str]) -> None:
        """Wait for a mail that just these keys have signed."""
        seen = len(self.mails)
        self.until(lambda: list(map(signers, self.mails[seen:])), lambda found: selectors in found)


def passes(mail: bytes) -> list[bool]:
    """Whether each signature verifies with what the DNS says now."""
    names = [f"{tags['s'].strip()}._domainkey.{tags['d'].strip()}" for tags in signatures_of(mail)]
    return verified_by(mail, {name: record(name) for name in names})


def record(name: str) -> str:
    """The TXT record of a name; empty: there is none."""
    answer = dns.query.tcp(dns.message.make_query(name, "TXT"), SERVER, timeout=30).answer
    texts = [b"".join(txt.strings).decode() for rrset in answer if rrset.rdtype == dns.rdatatype.TXT for txt in rrset]
    return "".join(texts)


def signers(mail: bytes) -> set[str]:
    """The selectors of a mail's signatures."""
    return {tags["s"].strip() for tags in signatures_of(mail)}


@contextlib.contextmanager
def sending(host: str, port: int) -> Iterator[list[str]]:
    """Submit mails meanwhile; the subjects of what was accepted. Fails if a mail was refused."""
    accepted: list[str] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def submit() -> None:
        for number in itertools.count(1):
            text = f"From: {SENDER}\r\nTo: bob@there.test\r\nSubject: mail {number}\r\n\r\nGood day.\r\n"
            try:
                with smtplib.SMTP(host, port, timeout=60) as client:
                    client.sendmail(SENDER, ["bob@there.test"], text)
            except (smtplib.SMTPException, OSError) as error:
                failures.append(error)
                return
            accepted.append(f"mail {number}")
            if stop.wait(PACE):
                return

    thread = threading.Thread(target=submit, name="sending")
    thread.start()
    try:
        yield accepted
    finally:
        stop.set()
        thread.join()
    assert failures == []


class Domain:
    """The SendingDomain, as its owner sees it."""

    def __init__(self, cluster: Cluster, kubectl: Kubectl) -> None:
        self._zone = cluster.own().zone
        self._kubectl = kubectl
        self._numbers = itertools.count()

    def create(self) -> None:
        """Apply it."""
        spec = {"domain": DOMAIN, "outboundConfigRefs": [{"name": RELAY}]}
        head = {"apiVersion": "mailboat.dev/v1alpha1", "kind": "SendingDomain", "metadata": {"name": NAME}}
        self._kubectl.apply(head | {"spec": spec})

    def status(self) -> Mapping[str, Any]:
        """Its status."""
        found: dict[str, Any] = self._kubectl.get("sd", NAME).get("status", {})
        return found

    def keys(self, state: str) -> set[str]:
        """The selectors of the keys in a state."""
        return {key["selector"] for key in self.status().get("keys", ()) if key["state"] == state}

    def annotate(self, word: str, value: str) -> None:
        """Set one of its annotations."""
        self._kubectl("annotate", "--overwrite", "sd", NAME, f"mailboat.dev/{word}={value}")

    def publish(self) -> None:
        """Publish what the status shows."""
        for shown in self.status()["records"]:
            self._zone.text(shown["name"], shown["zoneLine"].partition(" IN TXT ")[2])

    def asked_again(self, state: str) -> set[str]:
        """Have the DNS asked now; the keys in a state."""
        self.annotate("reconcile-requested-at", str(next(self._numbers)))
        return self.keys(state)


def test_a_rotation_under_load_leaves_no_mail_that_does_not_verify(
    cluster: Cluster, kubectl: Kubectl, helm: Helm
) -> None:
    clock = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "clock"}}
    kubectl.apply(clock | {"data": {"sitecustomize.py": CLOCK, "ahead": "0"}})
    sink = sinks.start(kubectl, images.RELAY, "printing", "--print-body")
    releases = Releases(cluster, kubectl, helm, sink)
    relays = releases.both(operator=WITH_CLOCK)
    releases.configure()
    releases.loaded()
    lives = relays.lives()
    domain = Domain(cluster, kubectl)
    domain.create()
    until(lambda: domain.status().get("records", ()), lambda records: len(records) == 2)
    domain.publish()
    until(lambda: domain.asked_again("Active"), lambda keys: len(keys) == 2, 180)
    kubectl("wait", "--for=condition=Ready", f"sd/{NAME}", "--timeout=180s", timeout=200)
    old = domain.keys("Active")
    recipient = Recipient(sink)

    with cluster.reach(kubectl, f"service/{RELAY}", 25) as (host, port), sending(host, port) as accepted:
        recipient.until_signed_by(old)

        # The new keys are added, and nothing else changes.
        domain.annotate("rotate-requested-at", "1")
        new = recipient.until(lambda: domain.keys("Generated"), lambda keys: len(keys) == 2)
        assert domain.keys("Active") == old
        recipient.until_signed_by(old)

        # They are published: the old ones retire, and their records stay.
        domain.publish()
        recipient.until(lambda: domain.asked_again("Active"), lambda keys: keys == new)
        recipient.until_signed_by(new)
        recipient.until(
            lambda: [key.get("unusedSince") for key in domain.status()["keys"] if key["selector"] in old], all
        )
        recipient.verify_all()
        assert all(record(f"{selector}._domainkey.{DOMAIN}") for selector in old)

        # The longest life of mail passes, and a week: they are revoked, and their private halves are gone.
        kubectl.apply(clock | {"data": {"sitecustomize.py": CLOCK, "ahead": str(40 * DAY)}})
        recipient.until(lambda: domain.asked_again("Revoked"), lambda keys: keys == old)
        domain.publish()
        recipient.until(lambda: set(kubectl.get("secret", f"{NAME}-dkim")["data"]), lambda files: len(files) == 2)
        recipient.until_signed_by(new)

    recipient.until(lambda: len(recipient.mails), lambda count: count == len(accepted))
    assert set().union(*map(signers, recipient.mails)) == old | new
    assert relays.lives() == lives, "no pod was restarted"

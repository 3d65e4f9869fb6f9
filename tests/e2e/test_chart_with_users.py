"""The chart as examples/values/relay-production.yaml has it: nobody relays without a password, and all inside TLS."""

from __future__ import annotations

import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.sink import Sink
from tests.support.pem import self_signed
from tools.cluster.helm import Helm
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "mailboat-relay"
EXAMPLE = ROOT / "examples" / "values" / "relay-production.yaml"
USER, PASSWORD = "app@sender.test", "a password in clear"
TOKEN = "a-token"
ELSEWHERE = ("metrics", "outboundConfig", "persistence", "priorityClassName", "resources", "service")
"""Values of the example that name what this cluster has not."""


def values(sink: Sink) -> dict[str, Any]:
    """The example, with one relay and a way to the sink."""
    given = {key: value for key, value in yaml.safe_load(EXAMPLE.read_text()).items() if key not in ELSEWHERE}
    given["config"]["files"] = {"outbound.ini": f"[route:sink]\ndomains=*\nhosts={sink.host}:25\n"}
    image = {"registry": "localhost", "tag": "e2e", "pullPolicy": "Never"}
    return {**given, "replicaCount": 1, "image": image, "networkPolicy": {"enabled": True}}


def renew(kubectl: Kubectl, name: str) -> bytes:
    """Put a new certificate into the Secret of the relays; it, in DER."""
    key, chain = self_signed(name)
    kubectl.apply(secret("relay-tls", "kubernetes.io/tls", {"tls.key": key.decode(), "tls.crt": chain.decode()}))
    return ssl.PEM_cert_to_DER_cert(chain.decode())


def secret(name: str, kind: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "stringData": data}


@pytest.fixture(name="certificate")
def _certificate(kubectl: Kubectl, helm: Helm, sink: Sink) -> bytes:
    """The relay of the example is installed; its certificate."""
    users = f"[users]\n{USER}={PASSWORD}\n"
    certificate = renew(kubectl, "relay.test")
    kubectl.apply(
        secret("relay-users", "Opaque", {"auth_flat_file.ini": users}),
        secret("relay-admin", "Opaque", {"token": TOKEN}),
    )
    helm.install("mailboat-relay", CHART, values(sink))
    return certificate


def submit(client: smtplib.SMTP, subject: str) -> None:
    client.sendmail(USER, ["friend@there.test"], f"Subject: {subject}\r\n\r\nGood day.\r\n")


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def served(reach: Callable[[int], Any]) -> bytes | None:
    """The certificate that the port for implicit TLS shows."""
    with reach(465) as (host, port), smtplib.SMTP_SSL(host, port, context=trusting(), timeout=30) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True)


@pytest.fixture(name="reach")
def _reach(cluster: Cluster, kubectl: Kubectl) -> Callable[[int], Any]:
    """Leads to a port of the Service."""
    return lambda port: cluster.reach(kubectl, "service/mailboat-relay", port)


def test_users_submit_inside_tls_and_nobody_else_does(
    kubectl: Kubectl, cluster: Cluster, sink: Sink, certificate: bytes, reach: Callable[[int], Any]
) -> None:
    with reach(587) as (host, port), smtplib.SMTP(host, port, timeout=30) as client:
        client.ehlo()
        assert not client.has_extn("auth"), "a password would be read on the wire"
        with pytest.raises(smtplib.SMTPSenderRefused, match="530"):
            submit(client, "stranger")
        client.starttls(context=trusting())
        client.login(USER, PASSWORD)
        submit(client, "after STARTTLS")
    with reach(465) as (host, port), smtplib.SMTP_SSL(host, port, context=trusting(), timeout=30) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(USER, "a wrong password")
        client.login(USER, PASSWORD)
        submit(client, "inside TLS")
    assert sorted(mail.subject for mail in sink.until(2)) == ["after STARTTLS", "inside TLS"]

    # A certificate that is renewed in its Secret is shown without a restart.
    assert served(reach) == certificate
    uid = kubectl.get("pod", "mailboat-relay-0")["metadata"]["uid"]
    renewed = renew(kubectl, "renewed.test")
    until(lambda: served(reach), lambda found: found == renewed)
    assert kubectl.get("pod", "mailboat-relay-0")["metadata"]["uid"] == uid

    # The queue is changed from elsewhere with the token only, and from within the pod.
    with cluster.reach(kubectl, "pod/mailboat-relay-0", 9025) as (host, port):
        url = f"http://{host}:{port}/v1/queue/flush"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=30)
        request = urllib.request.Request(url, b"{}", {"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
    flush = ("mailboat", "queue", "flush", "--config", "/etc/mailboat")
    assert "due now" in kubectl("exec", "mailboat-relay-0", "--", *flush)

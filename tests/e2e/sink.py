"""The rest of the world, as a pod: `mailboat sink` takes every mail on port 25, and its log says what it took."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from tools.cluster.kubectl import Kubectl, until

PORT = 25
EVERYWHERE = "everywhere"
"""To listen on for both IP versions; in some clusters pods have no IPv6 at all."""
_LINE = re.compile(
    r"\S+  <(?P<sender>.*?)> -> (?P<people>.*)  (?P<size>\d+) octets from (?P<hello>\S+) \[(?P<peer>\S+)\]"
    r"(?: (?P<tls>TLS\S*))?  (?P<subject>['\"].*)"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail as the sink took it."""

    sender: str
    recipients: tuple[str, ...]
    size: int
    """Octets."""
    hello: str
    """The name in EHLO."""
    peer: str
    """The source address."""
    tls: str
    """The protocol version; empty in plain text."""
    subject: str


class Sink:
    """A sink that runs in a namespace, under a name that is found by DNS."""

    def __init__(self, kubectl: Kubectl, name: str = "sink") -> None:
        self._kubectl = kubectl
        self.name = name

    @property
    def host(self) -> str:
        """Its name in the cluster's DNS: of a headless service, so the pod's own address."""
        return f"{self.name}.{self._kubectl.namespace}.svc.cluster.local"

    @property
    def address(self) -> str:
        """Its pod's address."""
        return str(self._kubectl.get("pod", self.name)["status"]["podIP"])

    def mails(self) -> list[Delivery]:
        """All that it has taken, in order."""
        lines = self._kubectl("logs", self.name).splitlines()
        return [parsed(line) for line in lines if " -> " in line]

    def printed(self, sender: str) -> list[bytes]:
        """The mails of a sender themselves, in order, of a sink with `--print-body`."""
        found = []
        _, *parts = re.split(r"^(?=\S+  <)", self._kubectl("logs", self.name), flags=re.MULTILINE)
        for part in parts:
            line, *body = part.removesuffix("\n").split("\n")
            mail = "\r\n".join(text[4:].replace("\\t", "\t") for text in body).encode()
            # The last one may be still on its way into the log.
            if f"  <{sender}> -> " in line and len(mail) == parsed(line).size:
                found.append(mail)
        return found

    def until(self, count: int, subject: str = "", patience: float = 60) -> list[Delivery]:
        """Wait for so many mails, of a subject if one is given."""

        def found() -> list[Delivery]:
            return [mail for mail in self.mails() if subject in ("", mail.subject)]

        result: list[Delivery] = until(found, lambda mails: len(mails) >= count, patience)
        return result


def start(kubectl: Kubectl, image: str, name: str = "sink", *more: str, listen: str = "0.0.0.0") -> Sink:
    """Start a sink and wait until it listens; `more` are further words of its command."""
    kubectl.apply(*objects(image, name, *more, listen=listen))
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    return Sink(kubectl, name)


def objects(image: str, name: str, *more: str, listen: str) -> list[dict[str, Any]]:
    """Its pod and its service."""
    container = {
        "name": "sink",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["sink", "--listen", f"{listen}:{PORT}", *more],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
                # So that it may listen where mail goes without being root.
                "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
            },
            "hostAliases": [{"ip": ip, "hostnames": [EVERYWHERE]} for ip in ("0.0.0.0", "::")],
            "containers": [container],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": PORT}]},
    }
    return [pod, service]


def parsed(line: str) -> Delivery:
    """A line of its log. Raises AssertionError where it has another shape."""
    found = _LINE.fullmatch(line)
    assert found, f"the sink's log has changed its shape: {line}"
    return Delivery(
        sender=found["sender"],
        recipients=tuple(re.findall(r"<(.*?)>", found["people"])),
        size=int(found["size"]),
        hello=found["hello"],
        peer=found["peer"],
        tls=found["tls"] or "",
        subject=str(ast.literal_eval(found["subject"])),
    )

"""What tests ask relay pods, and how they hand mail in."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import aiosmtplib
from prometheus_client.parser import text_string_to_metric_families
from tools.cluster.kubectl import Failed, Kubectl, until
from tools.cluster.use import Cluster, container_state

ADMIN = 9025
SMTP = 2525


class Relays:
    """The relay pods of a StatefulSet."""

    def __init__(self, cluster: Cluster, kubectl: Kubectl, name: str, container: str = "relay") -> None:
        self.cluster = cluster
        self.kubectl = kubectl
        self.name = name
        self.container = container

    def pods(self) -> list[dict[str, Any]]:
        """The pods as the API shows them, by their number."""
        found = [
            pod
            for pod in self.kubectl.items("pods")
            if any(owner["name"] == self.name for owner in pod["metadata"].get("ownerReferences", []))
        ]
        return sorted(found, key=lambda pod: int(pod["metadata"]["name"].rpartition("-")[2]))

    def pod(self, number: int) -> str:
        """The name of a pod."""
        return f"{self.name}-{number}"

    def ready(self, patience: float = 120) -> None:
        """Wait until all pods are ready, and no change of them is under way."""
        self.kubectl(
            "rollout", "status", f"statefulset/{self.name}", f"--timeout={patience:.0f}s", timeout=patience + 9
        )

    def restarts(self, number: int) -> int:
        """How often a pod's container has been started again."""
        return int(self.kubectl.get("pod", self.pod(number))["status"]["containerStatuses"][0]["restartCount"])

    def ask(self, number: int, path: str) -> str:
        """The answer of a pod's admin listener. Raises Failed."""
        with self.cluster.reach(self.kubectl, f"pod/{self.pod(number)}", ADMIN) as (host, port):
            try:
                with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
                    return str(answer.read().decode())
            except OSError as error:
                raise Failed(f"{self.pod(number)}{path}: {error}") from None

    def config_hash(self, number: int) -> str:
        """The hash of the configuration that a pod runs with."""
        return str(json.loads(self.ask(number, "/configz"))["hash"])

    def hashes(self) -> set[str]:
        """The hashes of all pods: one, where all run the same configuration."""
        return {self.config_hash(number) for number in range(len(self.pods()))}

    def lives(self) -> list[tuple[str, int]]:
        """What changes when a pod is replaced, or its container started again: uid and restarts of each."""
        return [(pod["metadata"]["uid"], container_state(pod, self.container)["restartCount"]) for pod in self.pods()]

    def queue(self, number: int) -> list[dict[str, Any]]:
        """What waits in a pod's queue."""
        listing = ("mailboat", "queue", "list", "--json", "--config", "/etc/mailboat")
        lines = self.kubectl("exec", self.pod(number), "-c", self.container, "--", *listing).splitlines()
        return [json.loads(line) for line in lines]

    def metrics(self, number: int) -> dict[str, float]:
        """Every sample of a pod by its name and labels: `name{label=value}`."""
        return {
            sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.ask(number, "/metrics"))
            for sample in family.samples
        }

    def total(self, metric: str) -> float:
        """A sample added up over all pods."""
        return sum(self.metrics(number).get(metric, 0.0) for number in range(len(self.pods())))

    async def submit(self, target: str, port: int, subject: str, *recipients: str) -> str:
        """Hand a short message in at a service or pod; the reply. Raises aiosmtplib's errors."""
        with self.cluster.reach(self.kubectl, target, port) as (host, reached):
            client = aiosmtplib.SMTP(hostname=host, port=reached, start_tls=False, timeout=30)
            body = f"Subject: {subject}\r\n\r\nGood day.\r\n".encode()
            async with client:
                _, reply = await client.sendmail("alice@sender.test", list(recipients or ("bob@there.test",)), body)
        return reply

    def replaced(self, number: int, uid: str, patience: float = 120) -> None:
        """Wait until a pod with another uid is there and ready."""

        def good(pod: dict[str, Any]) -> bool:
            conditions = pod["status"].get("conditions", [])  # a pod that was just created has none
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
            return pod["metadata"]["uid"] != uid and ready

        until(lambda: self.kubectl.get("pod", self.pod(number)), good, patience)

"""A small client of the Kubernetes API for tests: what kubectl would do, without a process each time."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""
OBC = "/apis/mailboat.dev/v1alpha1/namespaces/{}/outboundconfigs"

_Answer = TypeVar("_Answer")


class Refused(AssertionError):  # noqa: N818 - it fails the test as a sentence
    """The API server said no; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status


class KubeApi:
    """Calls as the user of a kubeconfig that `tools.cluster` has written."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.server: str = cluster["server"]
        self.token: str = config["users"][0]["user"]["token"]
        self.namespace = namespace
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """The answer as data; Refused with the server's words."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        request = urllib.request.Request(f"{self.server}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            with contextlib.suppress(ValueError):
                text = json.loads(text).get("message", "")
            raise Refused(error.code, text) from None

    def path(self, plural: str, name: str = "") -> str:
        """Of an object, or of all of its kind, in this namespace."""
        bases = {
            "outboundconfigs": "/apis/mailboat.dev/v1alpha1",
            "sendingdomains": "/apis/mailboat.dev/v1alpha1",
            "statefulsets": "/apis/apps/v1",
            "dnsendpoints": "/apis/externaldns.k8s.io/v1alpha1",
        }
        base = f"{bases.get(plural, '/api/v1')}/namespaces/{self.namespace}/{plural}"
        return f"{base}/{name}" if name else base

    def get(self, plural: str, name: str) -> Any:
        """One object; None when there is none."""
        try:
            return self.call("GET", self.path(plural, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def items(self, plural: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return list(self.call("GET", self.path(plural))["items"])

    def create(self, plural: str, body: dict[str, Any]) -> Any:
        """Create an object."""
        return self.call("POST", self.path(plural), body)

    def patch(self, plural: str, name: str, patch: dict[str, Any], part: str = "") -> Any:
        """Change an object by a merge patch, or its `part`, such as `/status`."""
        return self.call("PATCH", self.path(plural, name) + part, patch, "application/merge-patch+json")

    def delete(self, plural: str, name: str) -> None:
        """Delete an object."""
        self.call("DELETE", self.path(plural, name))

    def config(self, name: str, spec: dict[str, Any] | None = None, **metadata: Any) -> Any:
        """Create an OutboundConfig."""
        body = {
            "apiVersion": "mailboat.dev/v1alpha1",
            "kind": "OutboundConfig",
            "metadata": {"name": name, **metadata},
            "spec": spec or {},
        }
        return self.create("outboundconfigs", body)

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason of a condition, as far as it is about the present generation; else two empty texts."""
        found = self.get("outboundconfigs", name) or {}
        for condition in found.get("status", {}).get("conditions", ()):
            if condition["type"] == kind and condition.get("observedGeneration") == found["metadata"]["generation"]:
                return condition["status"], condition["reason"]
        return "", ""

    def message(self, name: str, kind: str) -> str:
        """The message of a condition."""
        conditions = self.get("outboundconfigs", name)["status"]["conditions"]
        return str(next(condition["message"] for condition in conditions if condition["type"] == kind))

    def until_condition(self, name: str, kind: str, status: str, reason: str = "") -> None:
        """Wait until a condition has a status, and a reason if one is given."""
        until(
            lambda: self.condition(name, kind), lambda found: found[0] == status and reason in ("", found[1]), PATIENCE
        )


def until(ask: Callable[[], _Answer], good: Callable[[_Answer], object], patience: float = PATIENCE) -> _Answer:
    """Ask until the answer is good, and give it; fails with the last answer when `patience` seconds are over."""
    deadline = time.monotonic() + patience
    while not good(answer := ask()):
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain; the last answer: {answer}"
        time.sleep(0.02)
    return answer

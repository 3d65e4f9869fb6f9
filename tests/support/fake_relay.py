"""Relay pods that only exist in the API server: their admin listener is here, and says what a test wants.

Pods can be created and be given a status, but nobody runs them; each has a port of its own on loopback.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.kube_api import KubeApi

LABELS = {"app": "relay"}
IMAGE = "none@sha256:1"
"""What the relays' containers run."""


class FakeRelay:
    """One pod's admin listener."""

    def __init__(self) -> None:
        self.configz: dict[str, Any] = {"hash": "", "loaded_at": "2026-01-01T00:00:00Z", "error": None, "warnings": []}
        self.raw: bytes | None = None
        """What it answers instead, should a test want nonsense."""
        self.hash: Callable[[], str] | None = None
        """Asked at each request for the hash that it reports, should it follow what is rendered."""
        self.oldest = 0.0
        """Age of the oldest mail in its queue, seconds."""
        self.asked_for_metrics = 0
        self.flushes: list[str] = []
        """The Authorization header of each request to flush."""
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    relay.asked_for_metrics += 1
                    self._answer(f'mailboat_queue_oldest_seconds{{state="deferred"}} {relay.oldest}\n'.encode())
                    return
                if relay.hash is not None:
                    relay.runs(relay.hash())
                self._answer(relay.raw if relay.raw is not None else json.dumps(relay.configz).encode())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                relay.flushes.append(self.headers.get("Authorization", ""))
                self._answer(b'{"flushed": 3}')

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Not to the tests' output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def runs(self, hash_: str) -> None:
        """It has loaded this configuration."""
        self.configz["hash"] = hash_

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def stateful_set(api: KubeApi, replicas: int, name: str = "relay", mounts: str = "relay-outbound") -> dict[str, Any]:
    """A StatefulSet whose pods nobody makes; its template has the ConfigMap `mounts`."""
    volume = {"name": "config", "projected": {"sources": [{"configMap": {"name": mounts, "optional": True}}]}}
    pod_spec = {"containers": [{"name": "relay", "image": "none"}], "volumes": [volume]}
    template = {"metadata": {"labels": LABELS}, "spec": pod_spec}
    spec = {"replicas": replicas, "serviceName": name, "selector": {"matchLabels": LABELS}, "template": template}
    made: dict[str, Any] = api.create("statefulsets", {"metadata": {"name": name}, "spec": spec})
    return made


def pod(api: KubeApi, owner: dict[str, Any], ordinal: int, relay: FakeRelay, *, ready: bool = True) -> str:
    """A pod of a StatefulSet, which `relay` answers for; its name."""
    name = f"{owner['metadata']['name']}-{ordinal}"
    reference = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    container = {"name": "relay", "image": "none", "ports": [{"name": "admin", "containerPort": relay.port}]}
    metadata = {"name": name, "labels": LABELS, "ownerReferences": [reference]}
    api.create("pods", {"metadata": metadata, "spec": {"containers": [container]}})
    set_ready(api, name, ready=ready)
    return name


def set_ready(api: KubeApi, name: str, *, ready: bool) -> None:
    """Say whether a pod is ready."""
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    container = {"name": "relay", "image": "none", "imageID": IMAGE, "ready": ready, "restartCount": 0}
    status = {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [condition],
        "containerStatuses": [container],
    }
    api.patch("pods", name, {"status": status}, "/status")

"""A real API server without a node: etcd, kube-apiserver and, where wanted, the controllers that clean up. No root.

For the operator's tests. The fixture `apiserver` is one for the whole run, known in every test; such a test carries the
marker of the same name, and `make e2e` runs it:

    @pytest.mark.apiserver
    def test_something(apiserver: ApiServer) -> None:
        kubectl = apiserver.kubectl("default")
        kubectl.apply((ROOT / "crds" / "outboundconfigs.yaml").read_text())
        kubectl.established("crd/outboundconfigs.mailboat.dev")

`apiserver.kubeconfig` is the administrator's, for `KUBECONFIG` of an operator under test; `kubeconfig_of` gives one of
a service account, for tests of RBAC. `stop` and `start` take the server away and give it back with what it knew.
Pods can be created and their status set, but no kubelet runs them. All servers listen on free loopback ports.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.cluster import credentials
from tools.cluster.control_plane import ControlPlane
from tools.cluster.kubectl import Kubectl
from tools.cluster.processes import Service
from tools.cluster.programs import program
from tools.ports import free_ports

_PATIENCE = 60.0


class ApiServer:
    """A separate etcd and API server, in a separate directory."""

    def __init__(self, directory: Path, controllers: str = "") -> None:
        """`controllers`: the names of those to run, such as `garbage-collector-controller,namespace-controller`."""
        port, etcd_port, peer_port = free_ports(3)
        self.directory = directory
        self._plane = plane = ControlPlane(directory, program, "127.0.0.1", port, etcd_port, peer_port)
        credentials.make(plane.pki, plane.url, ["localhost"], ["127.0.0.1"])
        self.url = plane.url
        self.ca = plane.pki / "ca.crt"
        self.kubeconfig = plane.pki / "admin.kubeconfig"
        self._etcd = Service("etcd", plane.etcd(), directory)
        # No namespace gets the service account that pods would need, and no pod could reach a loopback address.
        argv = plane.api_server("--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
        self._server = Service("kube-apiserver", argv, directory)
        self._controllers = None
        if controllers:
            argv = plane.controller_manager(f"--controllers={controllers}", "--secure-port=0")
            self._controllers = Service("kube-controller-manager", argv, directory)

    def kubectl(self, namespace: str = "default") -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(program("kubectl"), self.kubeconfig, namespace)

    def kubeconfig_of(self, account: str, namespace: str = "default") -> Path:
        """A kubeconfig of a service account that exists, as a pod of it would have the rights."""
        token = self.kubectl(namespace)("create", "token", account, "--duration=24h").strip()
        path = self.directory / f"{namespace}-{account}.kubeconfig"
        credentials.write_secret(path, credentials.kubeconfig(self.url, self.ca, token))
        return path

    def start(self) -> None:
        """Start what does not run, and return when the API is ready."""
        for service in (self._etcd, self._server):
            if service.process is None:
                service.start()
        self._until_ready()
        if self._controllers and self._controllers.process is None:
            self._controllers.start()

    def stop(self) -> None:
        """Kill the API server, as a crash would; etcd keeps the state."""
        self._server.stop()

    def close(self) -> None:
        """End everything."""
        for service in (self._controllers, self._server, self._etcd):
            if service:
                service.stop()

    def _until_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        context = ssl.create_default_context(cafile=self.ca)
        while True:
            self._etcd.check()
            self._server.check()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", context=context):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the API server is not ready; its log ends:\n{self._server.last_words()}")
            time.sleep(0.05)


@contextlib.contextmanager
def running(controllers: str = "garbage-collector-controller,namespace-controller") -> Iterator[ApiServer]:
    """An API server that is ready; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="mailboat-apiserver-") as directory:
        server = ApiServer(Path(directory), controllers)
        try:
            server.start()
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """One API server for the whole run, with garbage collection and the end of namespaces."""
    with running() as server:
        yield server

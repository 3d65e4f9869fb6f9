"""A cluster as tests use it: one that they made themselves, or one that KUBECONFIG names.

The difference is small and stays in here: in the own one a test is in the node's network and reaches every pod by its
address, elsewhere `kubectl port-forward` leads there; and only the own one lets a test kill what runs on its node.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cluster.helm import Helm
from tests.cluster.kubectl import Failed, Kubectl, until
from tests.cluster.machine import Machine
from tests.cluster.processes import TIED
from tests.cluster.programs import all_programs, program
from tests.support.relay_process import free_ports


class Cluster:
    """A cluster for tests."""

    def __init__(self, kubeconfig: Path, machine: Machine | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.machine = machine
        """None: it is somebody else's."""

    def kubectl(self, namespace: str = "default") -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(program("kubectl"), self.kubeconfig, namespace)

    def helm(self, major: int, namespace: str = "default") -> Helm:
        """Helm 3 or 4."""
        return Helm(program(f"helm{major}"), self.kubeconfig, namespace)

    def own(self) -> Machine:
        """The machine below, for what can be done to one's own only. Raises Failed elsewhere."""
        if self.machine is None:
            raise Failed("this scenario needs the node itself, so the cluster that the tests make: unset KUBECONFIG")
        return self.machine

    @contextlib.contextmanager
    def reach(self, kubectl: Kubectl, target: str, port: int) -> Iterator[tuple[str, int]]:
        """Host and port where `pod/NAME` or `service/NAME` answers on a port of it.

        A service whose pods are ready answers a little later: that is waited for.
        """
        if self.machine is None:
            with _forwarded(kubectl, target, port) as local:
                yield "127.0.0.1", local
        else:
            found = kubectl.get(target)
            address = found["spec"].get("clusterIP")
            if address:
                until(lambda: _answers(address, port), bool, patience=30)
            yield (address or found["status"]["podIP"]), port

    def sigkill(self, kubectl: Kubectl, pod: str, container: str) -> None:
        """SIGKILL to every process of a container."""
        found = kubectl.get("pod", pod)
        state = container_state(found, container)
        pids = self.own().processes_of(found["metadata"]["uid"], state["containerID"])
        assert pids, f"no process of {pod}/{container}"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be where its pods can be reached."""
        with self.machine.entered() if self.machine else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def provided() -> Iterator[Cluster]:
    """The cluster of KUBECONFIG; or the one of MAILBOAT_CLUSTER; or a new one, of which nothing is left afterwards."""
    all_programs()
    if kubeconfig := os.environ.get("KUBECONFIG"):
        yield Cluster(Path(kubeconfig))
    elif directory := os.environ.get("MAILBOAT_CLUSTER"):
        machine = Machine(Path(directory))
        machine.load_images()
        yield Cluster(machine.kubeconfig, machine)
    else:
        machine = Machine.new()
        try:
            machine.start()
            yield Cluster(machine.kubeconfig, machine)
        finally:
            machine.stop()


def container_state(pod: dict[str, Any], container: str) -> dict[str, Any]:
    """The status of a container of a pod."""
    return next(each for each in pod["status"]["containerStatuses"] if each["name"] == container)


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


@contextlib.contextmanager
def _forwarded(kubectl: Kubectl, target: str, port: int) -> Iterator[int]:
    """A local port that leads to a pod, for as long as that lives."""
    (local,) = free_ports(1)
    words = [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}", f"--namespace={kubectl.namespace}"]
    process = subprocess.Popen(
        [*TIED, *words, "port-forward", target, f"{local}:{port}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        first = process.stdout.readline()
        if not first.startswith("Forwarding"):
            raise Failed(f"port-forward to {target}: {first}{process.stdout.read()}")
        yield local
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


__all__ = ["Cluster", "container_state", "provided", "until"]

"""A cluster as tests use it: one that they made themselves, or one that KUBECONFIG names.

The difference is small and stays in here: in the own one a test is in the node's network and reaches every pod by its
address, elsewhere `way_in` leads there; and only the own one lets a test kill what runs on its node.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.cluster import images
from tools.cluster.helm import Helm
from tools.cluster.kubectl import Failed, Kubectl, until
from tools.cluster.machine import Machine
from tools.cluster.programs import all_programs, program
from tools.cluster.way_in import WayIn, opened


class Cluster:
    """A cluster for tests."""

    def __init__(self, kubeconfig: Path, machine: Machine | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.machine = machine
        """None: it is somebody else's."""
        self._open = contextlib.ExitStack()
        self._inside: WayIn | None = None

    def kubectl(self, namespace: str = "default") -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(program("kubectl"), self.kubeconfig, namespace)

    def helm(self, name: str, namespace: str = "default") -> Helm:
        """`helm3` or `helm4`."""
        return Helm(program(name), self.kubeconfig, namespace)

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
        found = kubectl.get(target)
        address = found["spec"].get("clusterIP") or found["status"]["podIP"]
        if self.machine is None:
            with self._way_in(kubectl).reach(address, port) as local:
                yield "127.0.0.1", local
        else:
            if target.startswith("service/"):
                until(lambda: _answers(address, port), bool, patience=30)
            yield address, port

    def _way_in(self, kubectl: Kubectl) -> WayIn:
        if self._inside is None:
            self._inside = self._open.enter_context(opened(kubectl.within("default"), images.RELAY))
        return self._inside

    def close(self) -> None:
        """Close the way in."""
        self._open.close()

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
        with contextlib.closing(Cluster(Path(kubeconfig).resolve())) as cluster:
            yield cluster
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


__all__ = ["Cluster", "container_state", "provided", "until"]

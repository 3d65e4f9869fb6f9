"""The addresses of pods beyond what the API knows: of further networks, or put there by a test."""

from __future__ import annotations

import json

from tests.cluster.kubectl import Kubectl, run
from tests.cluster.use import Cluster, container_state


def of_pod(cluster: Cluster, kubectl: Kubectl, pod: str, prefix: str) -> str:
    """The one address of a pod that begins like this."""
    interfaces = json.loads(_within(cluster, kubectl, pod, "ip", "-json", "address"))
    found = [each["local"] for interface in interfaces for each in interface["addr_info"]]
    (address,) = [address for address in found if address.startswith(prefix)]
    return str(address)


def put(cluster: Cluster, kubectl: Kubectl, pod: str, address: str) -> None:
    """Give a running pod one address more; with its prefix, such as 10.90.0.200/24."""
    _within(cluster, kubectl, pod, "ip", "address", "add", address, "dev", "eth0", "nodad" if ":" in address else "")


def _within(cluster: Cluster, kubectl: Kubectl, pod: str, *words: str) -> str:
    """Run a program of this machine in a pod's network. Needs the node."""
    found = kubectl.get("pod", pod)
    container = found["spec"]["containers"][0]["name"]
    state = container_state(found, container)
    pid, *_ = cluster.own().processes_of(found["metadata"]["uid"], state["containerID"])
    return run("nsenter", f"--net=/proc/{pid}/ns/net", *filter(None, words))

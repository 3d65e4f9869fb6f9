"""What runs on the one node of a test cluster, and how it is configured. Pure: a directory in, texts and words out.

Addresses: the node is 10.89.0.1, where the API server and the cluster's DNS listen, too. Each pod has one address of
each of three ranges: 10.90.0.0/24 (the cluster's), 10.91.0.0/24 (a network to send mail from) and fd90::/64.
Written by `machine` before `inside` starts it all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import containerd
from tools.cluster.control_plane import ControlPlane

ADDRESS = "10.89.0.1"
NAME = "node1"
BRIDGE = "cni0"
POD_RANGES = ("10.90.0.0/24", "10.91.0.0/24", "fd90::/64")
DOMAIN = "test"
"""The domain of `names.Zone`: mail for anything within it finds its way by MX records."""
ROOT_PORT = 5353
"""Where CoreDNS answers for a signed root; it knows nothing of the cluster there."""
SIGNED = "signed"
"""The domain of a `names.SignedZone` below it."""
SIGNED_PORT = 5354
"""Where CoreDNS answers for SIGNED: at the port of the root it would say that there is no DS."""
VOLUMES = 100
"""Local volumes that are there to be claimed; each is used once."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in the run directory."""

    directory: Path
    program: Callable[[str], Path]

    @property
    def plane(self) -> ControlPlane:
        """The programs of the control plane."""
        return ControlPlane(self.directory, self.program, ADDRESS)

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.directory / "containerd" / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """What containerd keeps: images, and the containers made of them."""
        return self.directory / "containerd" / "root"

    @property
    def volumes(self) -> Path:
        """The directory of local volumes."""
        return self.directory / "volumes"

    @property
    def zone(self) -> Path:
        """The zone file of DOMAIN."""
        return self.directory / "dns" / "test.zone"

    @property
    def signed_root(self) -> Path:
        """The zone file of the signed root."""
        return self.directory / "dns" / "root.zone"

    @property
    def signed_zone(self) -> Path:
        """The zone file of SIGNED."""
        return self.directory / "dns" / "signed.zone"

    @property
    def cgroup(self) -> str:
        """The cgroup above all pods: its name tells whose it is."""
        return self.directory.name


@dataclass(frozen=True, slots=True)
class Daemon:
    """A program of the node."""

    name: str
    argv: list[str | Path]
    needs_api: bool = True
    """Whether it is started only once the API server is ready."""


def daemons(layout: Layout) -> list[Daemon]:
    """All of them, in the order of their start."""
    plane = layout.plane
    pki = plane.pki
    more = ["--enable-admission-plugins=NodeRestriction"]
    kubelet: list[str | Path] = [
        layout.program("kubelet"),
        f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
        f"--config={layout.directory / 'kubelet.json'}",
        f"--hostname-override={NAME}",
        f"--node-ip={ADDRESS}",
        f"--root-dir={layout.directory / 'kubelet'}",
        f"--cert-dir={pki / 'kubelet'}",
    ]
    return [
        Daemon("containerd", ["containerd", "--config", layout.directory / "containerd.toml"], needs_api=False),
        Daemon("etcd", plane.etcd(), needs_api=False),
        Daemon("kube-apiserver", plane.api_server(*more), needs_api=False),
        Daemon("coredns", [layout.program("coredns"), "-conf", layout.directory / "Corefile"], needs_api=False),
        Daemon("kubelet", kubelet),
        Daemon("kube-controller-manager", plane.controller_manager()),
        Daemon("kube-scheduler", plane.scheduler()),
        Daemon("kube-proxy", [layout.program("kube-proxy"), f"--config={layout.directory / 'proxy.json'}"]),
    ]


def files(layout: Layout) -> dict[Path, str]:
    """Every configuration file by its path."""
    directory = layout.directory
    return {
        directory / "kubelet.json": json.dumps(_kubelet(layout)),
        directory / "proxy.json": json.dumps(_proxy(layout)),
        directory / "cni" / "10-pods.conflist": json.dumps(_network(layout)),
        directory / "containerd.toml": containerd.configuration(
            layout.containerd_root, layout.containerd_socket, directory / "cni"
        ),
        directory / "Corefile": _corefile(layout),
    }


def _kubelet(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",  # nothing of the machine's: what CoreDNS does not know does not exist
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,  # less needs CAP_SYS_RESOURCE, which root in a container lacks
        "failSwapOn": False,
        # The machine's disk is not the node's business, and its images are not pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "100Mi"},
        # A changed ConfigMap is in its volume within seconds; a usual cluster takes up to about a minute.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": "5s",
        "containerLogMaxSize": "200Mi",
        "podLogsDir": str(layout.directory / "log" / "pods"),
        "volumePluginDir": str(layout.directory / "volume-plugins"),
    }


def _proxy(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(layout.plane.pki / "kube-proxy.kubeconfig")},
        "hostnameOverride": NAME,
        "clusterCIDR": "10.90.0.0/15",  # both ranges: what comes from a pod keeps its source address
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def _network(layout: Layout) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.directory / "addresses"),
        "ranges": [[{"subnet": subnet}] for subnet in POD_RANGES],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _corefile(layout: Layout) -> str:
    return f""".:53 {{
  bind {ADDRESS}
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    endpoint {layout.plane.url}
    kubeconfig {layout.plane.pki / "coredns.kubeconfig"}
    ttl 1
  }}
  errors
}}
{DOMAIN}:53 {{
  bind {ADDRESS}
  file {layout.zone} {{
    reload 500ms
  }}
  errors
}}
.:{ROOT_PORT} {{
  bind {ADDRESS}
  file {layout.signed_root} {{
    reload 500ms
  }}
  errors
}}
{SIGNED}:{SIGNED_PORT} {{
  bind {ADDRESS}
  file {layout.signed_zone} {{
    reload 500ms
  }}
  errors
}}
"""


def objects(layout: Layout) -> list[dict[str, Any]]:
    """What a new cluster holds: a class of volumes that is the default, and volumes to be claimed."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [storage_class, *(_volume(layout, number) for number in range(VOLUMES))]


def _volume(layout: Layout, number: int) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"local-{number:03}"},
        "spec": {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOncePod" if number % 5 == 4 else "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local",
            "local": {"path": str(layout.volumes / f"{number:03}")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }

"""The command lines of etcd and of the Kubernetes programs that need no node. Pure: paths and addresses in, words out.

Used by `apiserver`, on loopback, and by `node`, in a separate network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SERVICE_RANGE = "10.96.0.0/16"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the state is, and on which address and ports they listen."""

    directory: Path
    program: Callable[[str], Path]
    address: str = "127.0.0.1"
    port: int = 6443
    etcd_port: int = 2379
    etcd_peer_port: int = 2380

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"https://{self.address}:{self.port}"

    @property
    def pki(self) -> Path:
        """Where `credentials.make` writes."""
        return self.directory / "pki"

    def etcd(self) -> list[str | Path]:
        """No fsync: nothing in here outlives a test run."""
        client = f"http://127.0.0.1:{self.etcd_port}"
        return [
            self.program("etcd"),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls=http://127.0.0.1:{self.etcd_peer_port}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def api_server(self, *more: str) -> list[str | Path]:
        """The API server."""
        return [
            self.program("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--advertise-address={self.address}",
            f"--bind-address={'127.0.0.1' if self.address == '127.0.0.1' else '0.0.0.0'}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.pki / 'api.crt'}",
            f"--tls-private-key-file={self.pki / 'api.key'}",
            f"--client-ca-file={self.pki / 'ca.crt'}",
            f"--token-auth-file={self.pki / 'tokens.csv'}",
            f"--cert-dir={self.directory / 'api-cert'}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-key-file={self.pki / 'sa.key'}",
            f"--service-account-signing-key-file={self.pki / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
            *more,
        ]

    def controller_manager(self, *more: str) -> list[str | Path]:
        """The controllers."""
        return [
            self.program("kube-controller-manager"),
            f"--kubeconfig={self.pki / 'kube-controller-manager.kubeconfig'}",
            f"--service-account-private-key-file={self.pki / 'sa.key'}",
            f"--root-ca-file={self.pki / 'ca.crt'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            *more,
        ]

    def scheduler(self) -> list[str | Path]:
        """The scheduler."""
        return [
            self.program("kube-scheduler"),
            f"--kubeconfig={self.pki / 'kube-scheduler.kubeconfig'}",
            "--leader-elect=false",
        ]

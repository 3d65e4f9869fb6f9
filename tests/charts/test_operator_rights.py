"""The real operator, with the rights that its chart gives and no others, on a real API server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.helm import CHARTS, Helm
from tests.support.pem import self_signed
from tests.support.relay_process import COMMAND
from tools.cluster.apiserver import ApiServer, running
from tools.cluster.kubectl import Kubectl
from tools.cluster.programs import HELM, program
from tools.ports import free_ports

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[ApiServer]:
    with running() as server:
        for name in ("mail", "shop", "other"):
            server.kubectl()("create", "namespace", name)
        yield server


@pytest.fixture(name="install")
def _install(server: ApiServer, tmp_path: Path) -> Iterator[Any]:
    """Installs the operator's chart with values; the kubeconfig of its account."""
    helm = Helm(program(HELM), tmp_path / "helm")
    place = (f"--kubeconfig={server.kubeconfig}", "--namespace=mail")

    def install(values: Any) -> Path:
        helm.run("install", "mailboat-operator", CHARTS / "mailboat-operator", *place, values=values)
        return server.kubeconfig_of("mailboat-operator", "mail")

    yield install
    helm.run("uninstall", "mailboat-operator", *place)


@pytest.mark.parametrize(
    ("values", "arguments", "watched", "beyond"),
    [
        ({}, ["--namespace=mail"], "mail", "other"),
        ({"watch": {"namespaces": ["shop"]}}, ["--namespace=shop"], "shop", "other"),
        ({"watch": {"allNamespaces": True}}, ["--all-namespaces"], "other", ""),
    ],
)
def test_they_are_enough_where_it_watches_and_nothing_elsewhere(
    server: ApiServer, install: Any, tmp_path: Path, *, values: Any, arguments: list[str], watched: str, beyond: str
) -> None:
    kubeconfig = install(values)
    kubectl = server.kubectl(watched)
    kubectl.established("crd/outboundconfigs.mailboat.dev")
    kubectl.apply(*_objects())
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [COMMAND, "operator", f"--listen=127.0.0.1:{free_ports(1)[0]}", *arguments],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": "mail"},
            stdout=log,
            stderr=log,
        )
        try:
            kubectl("wait", "outboundconfig/relay", "--for=condition=Programmed", "--timeout=60s")
            kubectl("wait", "outboundconfig/relay", "--for=condition=ResolvedRefs", "--timeout=10s")
            # `reload: Restart` wrote the hash into the pods' template.
            kubectl.until(lambda: kubectl.get("statefulset", "relay"), _is_stamped)
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait()
            log.seek(0)
            said = log.read()
            print(said)
    assert "forbidden" not in said.lower()
    kubectl("delete", "outboundconfig/relay", "statefulset/relay", "secret/relay-tls", "secret/provider")
    if beyond:
        account = Kubectl(kubectl.program, kubeconfig, beyond)
        rights = account("auth", "can-i", "--list", "--no-headers")
        assert "secrets" not in rights
        assert "outboundconfigs" not in rights


def _is_stamped(statefulset: Any) -> bool:
    return bool(statefulset["spec"]["template"]["metadata"].get("annotations"))


def _objects() -> list[dict[str, Any]]:
    """A resource that uses all that the operator may do: both kinds of Secret, and a restart."""
    key, chain = self_signed("relay.example.com")
    tls = {"tls.key": key.decode(), "tls.crt": chain.decode()}
    volume = {"name": "config", "configMap": {"name": "relay-outbound", "optional": True}}
    spec = {"containers": [{"name": "relay", "image": "relay"}], "volumes": [volume]}
    pods = {"metadata": {"labels": {"app": "relay"}}, "spec": spec}
    route = {
        "name": "provider",
        "domains": ["*"],
        "hosts": [{"host": "smtp.example.net", "port": 587}],
        "tls": "Required",
        "authSecretRef": {"name": "provider"},
    }
    return [
        _object("v1", "Secret", "relay-tls", type="kubernetes.io/tls", stringData=tls),
        _object(
            "v1",
            "Secret",
            "provider",
            metadata={"name": "provider", "labels": {"mailboat.dev/allow": "outboundconfig"}},
            type="kubernetes.io/basic-auth",
            stringData={"username": "relay", "password": "secret"},
        ),
        _object(
            "apps/v1",
            "StatefulSet",
            "relay",
            spec={"serviceName": "relay", "selector": {"matchLabels": {"app": "relay"}}, "template": pods},
        ),
        _object(
            "mailboat.dev/v1alpha1",
            "OutboundConfig",
            "relay",
            spec={
                "targetRef": {"name": "relay"},
                "reload": "Restart",
                "tls": {"certificateSecretRef": {"name": "relay-tls"}},
                "routes": [route],
            },
        ),
    ]


def _object(version: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}

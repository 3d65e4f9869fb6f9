"""Each example is applied as it is, rendered, and taken by a relay."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.support.config_directory import Directory
from tests.support.kube_api import KubeApi
from tests.support.pem import self_signed
from tools.cluster.kubectl import Kubectl

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("running")]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples" / "outboundconfigs").glob("*.yaml"))
KEY, CERTIFICATE = self_signed("relay.example.com")


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_works(example: Path, kubectl: Kubectl, api: KubeApi, tmp_path: Path) -> None:
    given_by_others(api)

    kubectl("apply", "-f", str(example))

    api.until_condition("relay", "Programmed", "True")
    directory = Directory(tmp_path)
    directory.write("me", "relay.example.com\n")
    for name, content in files(api).items():
        directory.write(name, content)
    loaded = directory.load()
    assert (loaded.faults, loaded.warnings) == ((), ())
    assert loaded.settings is not None
    assert loaded.settings.hash == api.get("outboundconfigs", "relay")["status"]["config"]["hash"]


def given_by_others(api: KubeApi) -> None:
    """What the examples refer to and do not bring."""
    pair = {"tls.key": KEY, "tls.crt": CERTIFICATE}
    data = {name: base64.b64encode(content).decode() for name, content in pair.items()}
    secret = {"metadata": {"name": "relay-tls-certificate"}, "type": "kubernetes.io/tls", "data": data}
    api.create("secrets", secret)
    api.create("configmaps", {"metadata": {"name": "partners"}, "data": {"ca.crt": CERTIFICATE.decode()}})


def files(api: KubeApi) -> dict[str, Any]:
    """What a pod mounts."""
    found: dict[str, Any] = {}
    for name in ("relay-outbound", "relay-tls"):
        found |= api.get("configmaps", name)["data"]
    secret = api.get("secrets", "relay-credentials") or {"data": {}}
    return found | {name: base64.b64decode(text) for name, text in secret["data"].items()}

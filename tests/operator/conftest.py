"""Fixtures of tests with a real API server: the CRDs, one operator for all namespaces, a namespace for each test.

And of tests of one reconciler without any.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.support.crds import CRD_FILES
from tests.support.fake_relay import FakeRelay, pod, stateful_set
from tests.support.kube_api import KubeApi
from tests.support.name_servers import NameServers, name_servers
from tests.support.operator_process import OperatorProcess, operator
from tests.support.sending_api import rendered_hash
from tests.support.sending_rig import SendingRig
from tools.cluster.apiserver import ApiServer
from tools.cluster.kubectl import Kubectl

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def crd_server(apiserver: ApiServer) -> ApiServer:
    """The API server, knowing OutboundConfigs and SendingDomains."""
    kubectl = apiserver.kubectl()
    for crd in CRD_FILES:
        kubectl.apply(crd.read_text())
        kubectl.established(f"crd/{crd.stem}.mailboat.dev")
    return apiserver


@pytest.fixture
def kubectl(crd_server: ApiServer) -> Kubectl:
    """kubectl in a new namespace."""
    name = f"test-{next(_numbers)}"
    kubectl = crd_server.kubectl(name)
    kubectl("create", "namespace", name)
    return kubectl


@pytest.fixture
def api(crd_server: ApiServer, kubectl: Kubectl) -> KubeApi:
    """The API in the same namespace."""
    return KubeApi(crd_server.kubeconfig, kubectl.namespace)


@pytest.fixture(scope="module")
def running(crd_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator for all namespaces; its resync is far away, so that everything is the watches' doing."""
    with operator(crd_server.kubeconfig, tmp_path_factory.mktemp("operator"), "--all-namespaces") as it:
        yield it


@pytest.fixture(scope="module")
def dns() -> Iterator[NameServers]:
    """The name servers of all test domains."""
    with name_servers() as servers:
        yield servers


@pytest.fixture
def domain(api: KubeApi, dns: NameServers) -> str:
    """A domain of this test's own."""
    name = f"{api.namespace}.test"
    dns.delegate(name)
    return name


@pytest.fixture
def relays(api: KubeApi) -> Iterator[list[FakeRelay]]:
    """Two pods of an OutboundConfig, which load whatever is rendered."""
    api.config("relay", {"targetRef": {"name": "relay"}})
    owner = stateful_set(api, 2)
    made = [FakeRelay(), FakeRelay()]
    for ordinal, relay in enumerate(made):
        relay.hash = lambda: rendered_hash(api)
        pod(api, owner, ordinal, relay)
    yield made
    for relay in made:
        relay.close()


@pytest.fixture
def sending_rig(monkeypatch: pytest.MonkeyPatch) -> SendingRig:
    """The reconciler of SendingDomains, with the longest of all delays that chance gives."""
    monkeypatch.setattr("random.random", lambda: 1.0)
    monkeypatch.setattr("random.uniform", max)
    return SendingRig()

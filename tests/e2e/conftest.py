"""The cluster that all scenarios share, and what each of them gets of it: see README.md beside this file.

Each test here runs inside of the cluster's network. The cluster is started by the first and ended after the last, or
when the run is interrupted.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import sink as sinks
from tests.e2e.releases import Releases
from tests.e2e.sink import Sink
from tools.cluster import images, use
from tools.cluster.helm import Helm
from tools.cluster.kubectl import Failed, Kubectl
from tools.cluster.programs import HELM, Unable

_OPEN = pytest.StashKey[ExitStack]()
_CLUSTER = pytest.StashKey[use.Cluster]()
_REPORT = pytest.StashKey[pytest.TestReport]()


def _is_here(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)


@pytest.hookimpl(tryfirst=True)  # before items are chosen by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is here needs a cluster, and more time than other tests."""
    for item in items:
        if _is_here(item):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Be in the cluster's network while a test is set up, runs and is taken down; start the cluster for the first."""
    if not _is_here(item):  # pytest asks this hook about the tests of all directories
        return (yield)
    config = item.config
    if _CLUSTER not in config.stash:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the cluster is ended in order
        config.stash[_OPEN] = ExitStack()
        begin = time.monotonic()
        try:
            config.stash[_CLUSTER] = config.stash[_OPEN].enter_context(use.provided())
        except (Unable, Failed, RuntimeError) as error:
            pytest.exit(f"there is no cluster: {error}", returncode=1)
        print(f"\nthe cluster was ready after {time.monotonic() - begin:.1f} s", file=sys.__stderr__, flush=True)
    with ExitStack() as inside:
        inside.enter_context(config.stash[_CLUSTER].entered())
        try:
            return (yield)
        except BaseException:
            # Interrupted: fixtures are taken down later, and what they call then is in there, too.
            config.stash[_OPEN].push(inside.pop_all())
            raise


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the cluster, whatever has happened."""
    if _OPEN in config.stash:
        config.stash[_OPEN].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep how the test itself ended, for `namespace`."""
    report = yield
    if report.when == "call":
        item.stash[_REPORT] = report
    return report


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> use.Cluster:
    """The cluster."""
    return request.config.stash[_CLUSTER]


@pytest.fixture
def namespace(cluster: use.Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, where only what Pod Security calls restricted may run.

    It is gone afterwards, with all that is in it. When the test failed, what happened in it is in the report.
    """
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    name = f"{words[:40].rstrip('-')}-{time.time_ns() // 1_000_000 % 1_000_000}"
    kubectl = cluster.kubectl(name)
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    # Pods are refused until a controller has made it, which takes a moment on a busy machine.
    kubectl.until(lambda: kubectl.exists("serviceaccount", "default"), bool)
    yield name
    report = request.node.stash.get(_REPORT, None)
    if report is None or report.failed:
        print(_what_happened(kubectl), file=sys.__stderr__, flush=True)
    # Without the grace that a relay is given, where nothing is to be proven any more.
    kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(cluster: use.Cluster, namespace: str) -> Kubectl:
    """kubectl as the administrator, in the test's namespace."""
    return cluster.kubectl(namespace)


@pytest.fixture
def helm(cluster: use.Cluster, namespace: str) -> Helm:
    """Helm where it does not matter which, in the test's namespace."""
    return cluster.helm(HELM, namespace)


@pytest.fixture
def sink(kubectl: Kubectl) -> Sink:
    """A sink in the test's namespace."""
    return sinks.start(kubectl, images.RELAY)


@pytest.fixture
def releases(cluster: use.Cluster, kubectl: Kubectl, helm: Helm, sink: Sink) -> Releases:
    """The charts, to be installed in the test's namespace."""
    return Releases(cluster, kubectl, helm, sink)


def _what_happened(kubectl: Kubectl) -> str:
    """Pods, events and the ends of logs, for whoever reads the report of a failure."""
    parts = [_attempt(kubectl, "get", "all,pvc,configmaps,secrets", "-o", "wide")]
    parts.append(_attempt(kubectl, "get", "events", "--sort-by=.lastTimestamp"))
    names = _attempt(kubectl, "get", "pods", "-o", "name").split()
    parts += [f"{name}:\n" + _attempt(kubectl, "logs", name, "--all-containers", "--tail=40") for name in names]
    return "\n".join(parts)


def _attempt(kubectl: Kubectl, *words: Any) -> str:
    try:
        return kubectl(*words)
    except Failed as error:
        return str(error)

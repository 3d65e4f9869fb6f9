"""An API server that is away, busy, slow to know, or has forgotten: everything is right again afterwards, alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.fault_proxy import FaultProxy
from tests.support.kube_api import KubeApi, until
from tests.support.operator_process import OperatorProcess, operator
from tests.support.outbound_config import CRD_FILE
from tools.cluster.apiserver import ApiServer, running

pytestmark = pytest.mark.apiserver

RETRIES = 'workqueue_retries_total{name="outboundconfig"}'


@pytest.fixture
def proxy(crd_server: ApiServer) -> Iterator[FaultProxy]:
    """A proxy that passes everything on, until it is told otherwise."""
    proxy = FaultProxy(crd_server.url, crd_server.ca)
    yield proxy
    proxy.close()


@pytest.fixture
def behind(proxy: FaultProxy, api: KubeApi, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator for this test's namespace that sees the API server through the proxy."""
    kubeconfig = proxy.kubeconfig(tmp_path / "kubeconfig", api.token)
    with operator(kubeconfig, tmp_path, f"--namespace={api.namespace}", "--resync=3600") as it:
        yield it


def writes(path: str) -> Callable[[str, str], bool]:
    """Whether a call changes something at a path."""
    return lambda method, called: method in ("POST", "PATCH", "DELETE") and path in called


def test_a_server_that_is_busy_is_asked_again(proxy: FaultProxy, behind: OperatorProcess, api: KubeApi) -> None:
    numbers = itertools.count()
    proxy.rule = lambda method, path: 429 if writes("/configmaps")(method, path) and next(numbers) % 2 == 0 else None

    api.config("relay")

    api.until_condition("relay", "Ready", "True")
    assert proxy.count("POST", 429) >= 2
    assert behind.metric(RETRIES) == 0, "waiting for a busy server is no failure"


@pytest.mark.parametrize("status", [409, 500, 503, 504])
def test_what_fails_is_tried_again(proxy: FaultProxy, behind: OperatorProcess, api: KubeApi, status: int) -> None:
    left = iter([status] * 3)
    proxy.rule = lambda method, path: next(left, None) if writes("/configmaps")(method, path) else None

    api.config("relay")

    api.until_condition("relay", "Ready", "True")
    assert behind.metric(RETRIES) >= 2


def test_a_status_that_cannot_be_written_is_written_later(
    proxy: FaultProxy, behind: OperatorProcess, api: KubeApi
) -> None:
    left = iter([409, 500, 503])
    proxy.rule = lambda method, path: next(left, None) if writes("/status")(method, path) else None

    api.config("relay")

    api.until_condition("relay", "Ready", "True")
    assert behind.metric(RETRIES) == 3


def test_what_the_server_will_never_take_is_a_condition(
    proxy: FaultProxy, behind: OperatorProcess, api: KubeApi
) -> None:
    """Such as a quota, or an admission policy."""
    proxy.rule = lambda method, path: 403 if writes("/configmaps")(method, path) else None

    api.config("relay")

    api.until_condition("relay", "Programmed", "False", "WriteRefused")
    assert "injected 403" in api.message("relay", "Ready")
    assert behind.metric(RETRIES) == 0

    proxy.rule = lambda _method, _path: None
    api.patch("outboundconfigs", "relay", {"metadata": {"annotations": {"mailboat.dev/reconcile-requested-at": "1"}}})
    api.until_condition("relay", "Ready", "True")


@pytest.mark.parametrize("status", [410, 500, 429])
def test_watches_that_end_in_trouble_begin_anew(
    proxy: FaultProxy, behind: OperatorProcess, api: KubeApi, status: int
) -> None:
    api.config("before")
    api.until_condition("before", "Ready", "True")
    left = iter([status] * 6)
    proxy.rule = lambda _method, path: next(left, None) if "watch=true" in path else None
    proxy.cut()
    api.delete("configmaps", "before-tls")
    api.config("after")

    api.until_condition("after", "Ready", "True")
    until(lambda: api.get("configmaps", "before-tls"), lambda found: found)
    assert behind.process.poll() is None


def test_an_object_deleted_while_no_watch_was_there_is_found_missing_also_when_no_other_is_left(
    proxy: FaultProxy, behind: OperatorProcess, api: KubeApi
) -> None:
    api.config("relay")
    api.until_condition("relay", "Ready", "True")
    known = 'mailboat_operator_outboundconfigs{ready="True"}'
    until(lambda: behind.metric(known), lambda count: count == 1)
    proxy.rule = lambda _method, path: 410 if "/outboundconfigs?" in path else None
    proxy.cut()
    api.delete("outboundconfigs", "relay")
    until(lambda: proxy.count("GET", 410), lambda count: count >= 1)
    proxy.rule = lambda _method, _path: None

    until(lambda: behind.metric(known), lambda count: count == 0)
    assert behind.process.poll() is None


def test_an_outage_with_events_pending_is_waited_for(proxy: FaultProxy, behind: OperatorProcess, api: KubeApi) -> None:
    proxy.rule = lambda _method, path: 503 if "/events" in path else None
    api.config("relay")
    api.until_condition("relay", "Ready", "True")
    until(lambda: proxy.count("POST", 503), lambda count: count >= 1)
    proxy.rule = lambda _method, path: 503 if "/events" in path or "/leases" in path else None
    until(lambda: behind.leads, lambda leads: not leads)
    proxy.rule = lambda _method, _path: None

    until(lambda: api.items("events"), lambda events: any(e["involvedObject"]["name"] == "relay" for e in events))
    assert behind.process.poll() is None


def test_an_operator_that_comes_before_the_crd_waits_for_it(tmp_path: Path) -> None:
    with running() as server, _operator(server, tmp_path) as early:
        until(lambda: early.log, lambda log: "does not exist yet" in log)
        assert early.http("/readyz")[0] == 503

        server.kubectl().apply(CRD_FILE.read_text())

        early.until_ready()
        api = KubeApi(server.kubeconfig, "default")
        api.config("relay")
        api.until_condition("relay", "Ready", "True")


def test_an_api_server_that_was_away_finds_everything_done(tmp_path: Path) -> None:
    with running() as server:
        server.kubectl().apply(CRD_FILE.read_text())
        with _operator(server, tmp_path) as survivor:
            survivor.until_ready()
            api = KubeApi(server.kubeconfig, "default")
            api.config("relay")
            api.until_condition("relay", "Ready", "True")

            server.stop()
            until(lambda: survivor.metric('rest_client_requests_total{code="<error>",method="GET"}'), lambda n: n > 0)
            assert survivor.http("/livez")[0] == 200
            server.start()

            api.delete("configmaps", "relay-outbound")
            api.config("later")
            api.until_condition("later", "Ready", "True")
            until(lambda: api.get("configmaps", "relay-outbound"), lambda found: found)


class _operator:  # noqa: N801 - used as the function of the same name
    """An operator that need not be ready."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self._running = OperatorProcess(server.kubeconfig, directory, "--all-namespaces")

    def __enter__(self) -> OperatorProcess:
        return self._running

    def __exit__(self, *_: object) -> None:
        self._running.stop()

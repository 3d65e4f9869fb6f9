"""The API server that the operator's tests use is a real one, and it comes and goes as they ask."""

from __future__ import annotations

import pytest
from tools.cluster.apiserver import ApiServer
from tools.cluster.kubectl import Failed, until
from tools.cluster.programs import kubernetes_version

pytestmark = pytest.mark.apiserver


def test_it_is_of_the_pinned_version(apiserver: ApiServer) -> None:
    assert f"Server Version: {kubernetes_version()}\n" in apiserver.kubectl()("version")


def test_what_it_knew_is_there_after_a_crash(apiserver: ApiServer) -> None:
    kubectl = apiserver.kubectl()
    kubectl("create", "configmap", "kept", "--from-literal=a=b")
    apiserver.stop()
    with pytest.raises(Failed, match="refused"):
        kubectl("get", "configmap", "kept")
    apiserver.start()
    assert kubectl.get("configmap", "kept")["data"] == {"a": "b"}


def test_a_service_account_has_the_rights_that_it_was_given_and_no_others(apiserver: ApiServer) -> None:
    kubectl = apiserver.kubectl()
    kubectl("create", "serviceaccount", "reader")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps")
    kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:reader")
    reader = type(kubectl)(kubectl.program, apiserver.kubeconfig_of("reader"))
    assert reader.items("configmaps") == kubectl.items("configmaps")
    with pytest.raises(Failed, match="Forbidden"):
        reader("get", "secrets")


def test_the_children_of_a_deleted_object_go_too(apiserver: ApiServer) -> None:
    kubectl = apiserver.kubectl()
    kubectl("create", "configmap", "parent")
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "parent",
        "uid": kubectl.get("cm", "parent")["metadata"]["uid"],
    }
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "ownerReferences": [owner]}})
    kubectl("delete", "configmap", "parent")
    until(lambda: kubectl.exists("configmap", "child"), lambda there: not there)

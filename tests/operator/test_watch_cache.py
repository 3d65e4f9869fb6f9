"""What the watches tell becomes keys to look at, and what this process wrote itself becomes none."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.support.outbound_config import KEY, UID

from mailboat_operator.observed import ChildKey, ObjectKey, Workload
from mailboat_operator.references import SourceKind
from mailboat_operator.watch_cache import DELETED, WatchCache

CONFIG_MAP = ChildKey(SourceKind.CONFIG_MAP, "relay-tls")
LABELS = {"app.kubernetes.io/managed-by": "mailboat-operator", "mailboat.dev/outboundconfig": "relay"}


def body(name: str, version: int, uid: str = "u", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": KEY.namespace, "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata | more.pop("metadata", {}), **more}


@pytest.fixture
def store() -> WatchCache:
    """A store that knows one resource."""
    store = WatchCache(lambda: 100.0)
    store.put("OutboundConfig", body("relay", 10, UID, spec={}))
    return store


def test_a_resource_is_told_when_it_is_new_or_changed_and_not_else(store: WatchCache) -> None:
    assert store.put("OutboundConfig", body("relay", 10, UID)) == set()
    assert store.put("OutboundConfig", body("relay", 9, UID)) == set()
    assert store.put("OutboundConfig", body("relay", 11, UID)) == {KEY}
    assert store.put("OutboundConfig", body("relay", 5, "another")) == {KEY}
    assert store.put("OutboundConfig", body("other", 12)) == {ObjectKey(KEY.namespace, "other")}


def test_only_what_is_needed_of_a_resource_is_kept(store: WatchCache) -> None:
    annotations = {"mailboat.dev/paused": "true", "kubectl.kubernetes.io/last-applied-configuration": "x" * 9999}
    store.put("OutboundConfig", body("relay", 12, UID, metadata={"annotations": annotations, "managedFields": [1]}))

    metadata = store.resources[KEY]["metadata"]
    assert metadata["annotations"] == {"mailboat.dev/paused": "true"}
    assert "managedFields" not in metadata


def test_a_resource_that_is_gone_is_told_once(store: WatchCache) -> None:
    assert store.put("OutboundConfig", body("relay", 11, UID), DELETED) == {KEY}
    assert store.put("OutboundConfig", body("relay", 11, UID), DELETED) == set()
    assert KEY not in store.resources


def test_a_child_is_told_to_its_resource(store: WatchCache) -> None:
    assert store.put("ConfigMap", body("relay-tls", 20)) == {KEY}
    assert store.put("ConfigMap", body("relay-tls", 20)) == set()
    assert store.put("ConfigMap", body("relay-tls", 21), DELETED) == {KEY}
    assert store.put("ConfigMap", body("relay-tls", 21), DELETED) == set()
    assert store.children(KEY, [CONFIG_MAP]) == {}


def test_a_late_word_of_a_predecessor_changes_nothing(store: WatchCache) -> None:
    store.put("ConfigMap", body("relay-tls", 30, "new"))

    assert store.put("ConfigMap", body("relay-tls", 29, "old"), DELETED) == set()
    assert store.children(KEY, [CONFIG_MAP])[CONFIG_MAP].uid == "new"


@pytest.mark.parametrize(("kind", "name"), [("ConfigMap", "kube-root-ca.crt"), ("ConfigMap", "x-tls"), ("Secret", "a")])
def test_what_is_nobodys_concerns_nobody(store: WatchCache, kind: str, name: str) -> None:
    assert store.put(kind, body(name, 20)) == set()


def test_a_source_is_told_to_all_that_refer_to_it(store: WatchCache) -> None:
    other = ObjectKey(KEY.namespace, "other")
    store.refer(KEY, [("Secret", "cert")])
    store.refer(other, [("Secret", "cert"), ("Secret", "auth")])

    assert store.put("Secret", body("cert", 20)) == {KEY, other}
    store.refer(other, [])
    assert store.put("Secret", body("cert", 21)) == {KEY}
    assert store.put("Secret", body("auth", 22)) == set()


def test_a_source_that_was_read_in_this_version_is_not_told(store: WatchCache) -> None:
    store.refer(KEY, [("Secret", "cert")])
    store.saw("Secret", KEY.namespace, "cert", "20")

    assert store.put("Secret", body("cert", 20)) == set()
    assert store.put("Secret", body("cert", 21)) == {KEY}
    assert store.put("Secret", body("cert", 22), DELETED) == {KEY}


def test_the_echo_of_our_own_write_concerns_nobody(store: WatchCache) -> None:
    store.wrote("ConfigMap", body("relay-tls", 20))

    assert store.lag() == 0.0
    assert store.watched("ConfigMap", body("relay-tls", 20), "ADDED") == set()


def test_a_write_that_no_watch_shows_is_noticed() -> None:
    now = [100.0]
    store = WatchCache(lambda: now[0])
    store.wrote("ConfigMap", body("relay-tls", 20))
    now[0] = 160.0
    assert store.lag() == 60.0

    store.watched("ConfigMap", body("relay-tls", 19), "MODIFIED")
    assert store.lag() == 60.0
    store.watched("ConfigMap", body("relay-tls", 21), "MODIFIED")
    assert store.lag() == 0.0


def test_a_write_that_the_watch_showed_first_is_not_waited_for(store: WatchCache) -> None:
    store.watched("ConfigMap", body("relay-tls", 20), "ADDED")
    store.wrote("ConfigMap", body("relay-tls", 20))

    assert store.lag() == 0.0


def test_what_a_list_lacks_is_gone_unless_it_is_newer_or_not_of_that_list(store: WatchCache) -> None:
    managed = {"labels": LABELS}
    store.put("ConfigMap", body("relay-tls", 20, metadata=managed))
    store.put("ConfigMap", body("relay-outbound", 40, metadata=managed))
    store.put("ConfigMap", body("foreign-tls", 20))

    gone = store.unlisted("ConfigMap", set(), "", "30")

    assert [found["metadata"]["name"] for found in gone] == ["relay-tls"]
    assert store.unlisted("ConfigMap", set(), "elsewhere", "30") == []
    assert store.put("ConfigMap", gone[0], DELETED) == {KEY}


def test_a_workload_is_told_to_those_that_name_it(store: WatchCache) -> None:
    store.refer(KEY, [("StatefulSet", "relay")])
    spec = {
        "replicas": 3,
        "selector": {
            "matchLabels": {"app": "relay"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "x", "operator": "DoesNotExist"},
            ],
        },
        "template": {
            "metadata": {"annotations": {"mailboat.dev/config-hash": "h"}},
            "spec": {
                "volumes": [
                    {"name": "a", "configMap": {"name": "plain"}},
                    {
                        "name": "b",
                        "projected": {"sources": [{"configMap": {"name": "one"}}, {"secret": {}}]},
                    },
                    {"name": "c", "emptyDir": {}},
                ]
            },
        },
    }

    assert store.put("StatefulSet", body("relay", 20, spec=spec)) == {KEY}
    found = store.workload(KEY.namespace, "relay")
    assert found is not None
    assert found.workload == Workload(3, "h", frozenset({"plain", "one"}))
    assert found.selector == "app=relay,tier in (a,b),!x"
    assert store.put("StatefulSet", body("relay", 20, spec=spec)) == set()
    assert store.put("StatefulSet", body("relay", 21, spec=spec), DELETED) == {KEY}


def aimed(name: str, version: int, created: str, target: str = "pods", **metadata: Any) -> dict[str, Any]:
    """A resource for a StatefulSet."""
    made = {"creationTimestamp": f"2026-01-01T00:00:{created}Z", **metadata}
    return body(name, version, f"uid-{name}", metadata=made, spec={"targetRef": {"name": target}} if target else {})


@pytest.mark.parametrize("order", [("old", "young"), ("young", "old")])
def test_of_two_for_one_target_the_older_one_has_it(store: WatchCache, order: tuple[str, str]) -> None:
    bodies = {"old": aimed("zebra", 20, "01"), "young": aimed("ape", 21, "02")}
    for age in order:
        store.put("OutboundConfig", bodies[age])

    assert store.rival(ObjectKey(KEY.namespace, "ape")) == "zebra"
    assert store.rival(ObjectKey(KEY.namespace, "zebra")) == ""
    assert store.rival(KEY) == ""


def test_of_two_as_old_the_first_by_name_has_the_target(store: WatchCache) -> None:
    for name in ("b", "a"):
        store.put("OutboundConfig", aimed(name, 20, "01"))

    assert [store.rival(ObjectKey(KEY.namespace, name)) for name in "ab"] == ["", "a"]


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.put("OutboundConfig", aimed("old", 30, "01"), DELETED),
        lambda store: store.put("OutboundConfig", aimed("old", 30, "01", target="")),
        lambda store: store.put("OutboundConfig", aimed("old", 30, "01", deletionTimestamp="2026-01-02T00:00:00Z")),
    ],
    ids=["gone", "another target", "about to go"],
)
def test_who_waits_for_a_target_is_told_when_it_is_free(store: WatchCache, change: Any) -> None:
    old, young = ObjectKey(KEY.namespace, "old"), ObjectKey(KEY.namespace, "young")
    store.put("OutboundConfig", aimed("old", 20, "01"))
    assert store.put("OutboundConfig", aimed("young", 21, "02")) == {young, old}

    assert change(store) == {old, young}

    assert store.rival(young) == ""


def test_the_key_of_hashes_is_read_from_the_credentials_and_only_if_it_will_do(store: WatchCache) -> None:
    credentials = ChildKey(SourceKind.SECRET, "relay-credentials")
    for number, (key, expected) in enumerate([(b"k" * 32, b"k" * 32), (b"", b""), (b"short", b"")]):
        data = {"hash.key": base64.b64encode(key).decode()}
        store.put("Secret", body("relay-credentials", 20 + number, data=data))

        child = store.children(KEY, [credentials])[credentials]

        assert child.hash_key == expected
        assert repr(key) not in repr(child)

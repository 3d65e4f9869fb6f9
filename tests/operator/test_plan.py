"""What has to be done, from what is there and what should be; and what is never done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.outbound_config import KEY, UID, parsed, rendered, resource, secret, secrets
from tests.support.pem import self_signed

from mailboat_operator.desired.children import Child, Desired
from mailboat_operator.observed import ChildKey, LiveChild, Observed, Workload
from mailboat_operator.plan import Create, Delete, Plan, Stamp, Update, plan
from mailboat_operator.references import SourceKind

OUTBOUND = ChildKey(SourceKind.CONFIG_MAP, "relay-outbound")
TLS = ChildKey(SourceKind.CONFIG_MAP, "relay-tls")
CREDENTIALS = ChildKey(SourceKind.SECRET, "relay-credentials")
MOUNTED = frozenset({"relay-outbound", "relay-tls"})
PEM = self_signed("relay.example.com")
WITH_TLS = {"tls": {"certificateSecretRef": {"name": "tls"}}}
SOURCES = secrets(tls=secret(tls__key=PEM[0], tls__crt=PEM[1]))


def live(child: Child, **changes: Any) -> LiveChild:
    """A child as it should be, but for the changes."""
    found = LiveChild(child.key, f"uid-{child.key.name}", "1", ("OutboundConfig", "relay", UID), "relay", child.digest)
    return replace(found, **changes)


def all_live(desired: Desired) -> dict[ChildKey, LiveChild]:
    return {child.key: live(child) for child in desired.children}


def planned(spec: dict[str, Any], children: Mapping[ChildKey, LiveChild], desired: Desired, **more: Any) -> Plan:
    status = {"config": {"hash": more.pop("hash", "")}}
    return plan(Observed(KEY, resource(spec, status), children, {}, **more), parsed(spec), desired)


def test_what_is_missing_is_created_and_credentials_come_first() -> None:
    desired = rendered(WITH_TLS, SOURCES)

    actions = planned(WITH_TLS, {}, desired).actions

    assert actions == tuple(Create(child) for child in desired.children)
    assert [action.child.key for action in actions if isinstance(action, Create)] == [CREDENTIALS, OUTBOUND, TLS]


def test_what_is_as_it_should_be_needs_nothing() -> None:
    desired = rendered(WITH_TLS, SOURCES)

    assert planned(WITH_TLS, all_live(desired), desired, hash=desired.hash) == Plan()


def test_what_differs_is_written_over_the_very_object() -> None:
    desired = rendered({})
    children = all_live(desired) | {TLS: live(desired.children[1], digest="another")}

    assert planned({}, children, desired).actions == (Update(desired.children[1], "uid-relay-tls"),)


@pytest.mark.parametrize(("hash_of", "drifted"), [("desired", True), ("other", False)])
def test_it_is_drift_only_where_this_very_configuration_was_written(hash_of: str, drifted: bool) -> None:
    desired = rendered({})
    children = all_live(desired)
    del children[OUTBOUND]

    found = planned({}, children, desired, hash=desired.hash if hash_of == "desired" else "sha256:old")

    assert bool(found.drifted) is drifted
    assert found.actions == (Create(desired.children[0]),)


def test_credentials_that_nothing_needs_any_more_go_last() -> None:
    before, after = rendered(WITH_TLS, SOURCES), rendered({})

    actions = planned({}, all_live(before), after).actions

    assert isinstance(actions[0], Update)
    assert actions[-1] == Delete(CREDENTIALS, "uid-relay-credentials")


@pytest.mark.parametrize(
    "changes",
    [
        {"controller": ("Deployment", "x", "uid-x")},
        {"controller": ("OutboundConfig", "other", "uid-other")},
        {"controller": ("", "", ""), "label": ""},
        {"controller": ("", "", ""), "label": "other"},
    ],
    ids=["a deployment's", "another resource's", "nobody's", "another's by label"],
)
def test_what_belongs_to_somebody_else_stops_everything(changes: dict[str, Any]) -> None:
    desired = rendered({})
    children = {TLS: live(desired.children[1], digest="another", **changes)}

    assert planned({}, children, desired) == Plan(foreign=(TLS,))


def test_a_child_whose_owner_was_taken_off_is_still_ours() -> None:
    desired = rendered({})
    children = all_live(desired) | {TLS: live(desired.children[1], controller=("", "", ""), digest="another")}

    assert planned({}, children, desired).actions == (Update(desired.children[1], "uid-relay-tls"),)


def test_what_an_earlier_resource_of_the_name_left_is_replaced_and_not_taken_over() -> None:
    desired = rendered({})
    children = all_live(desired) | {OUTBOUND: live(desired.children[0], controller=("OutboundConfig", "relay", "old"))}

    found = planned({}, children, desired, hash=desired.hash)

    assert found.actions == (Delete(OUTBOUND, "uid-relay-outbound"), Create(desired.children[0]))
    assert not found.drifted


@pytest.mark.parametrize(
    ("reload", "known", "stamped"),
    [
        ("Restart", {"workload": Workload(2, "sha256:old", MOUNTED)}, True),
        ("Restart", {"workload": None}, False),
        ("Restart", {"workload": Workload(2, "sha256:old")}, False),
        ("Restart", {"workload": Workload(2, "sha256:old", frozenset({"other-outbound"}))}, False),
        ("Restart", {"workload": Workload(2, "sha256:old", MOUNTED), "rival": "older"}, False),
        ("Hot", {"workload": Workload(2, "sha256:old", MOUNTED)}, False),
    ],
    ids=["mounted", "no target", "nothing mounted", "another's mounted", "an older one's target", "hot"],
)
def test_the_pod_template_is_stamped_when_it_has_to_be(reload: str, known: dict[str, Any], stamped: bool) -> None:
    """A restart of any other workload of the namespace is not to be had by naming it."""
    spec = {"reload": reload, "targetRef": {"name": "relay"}}
    desired = rendered(spec)

    actions = planned(spec, all_live(desired), desired, **known).actions

    assert actions == ((Stamp("relay", desired.hash),) if stamped else ())


def test_a_stamp_that_is_there_is_enough() -> None:
    spec = {"reload": "Restart", "targetRef": {"name": "relay"}}
    desired = rendered(spec)

    assert not planned(spec, all_live(desired), desired, workload=Workload(2, desired.hash, MOUNTED)).actions

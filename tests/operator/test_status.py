"""Conditions: what they say, what they are summed up to, and that nothing changes when nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.outbound_config import KEY, parsed, resource

from mailboat_operator import status
from mailboat_operator.checks import RefFault, RefReason
from mailboat_operator.observed import ChildKey, Observed, PodState, Workload
from mailboat_operator.pod_status import LoadReason, LoadStatus, judge
from mailboat_operator.references import SourceKind
from mailboat_operator.status import Findings, Reason, Type

OUTBOUND = ChildKey(SourceKind.CONFIG_MAP, "relay-outbound")


def pod(name: str, hash_: str = "h", **more: Any) -> PodState:
    return PodState(name, more.pop("ready", True), hash_, **more)


def judged(target: str, workload: Workload | None, pods: Sequence[PodState], **more: Any) -> LoadStatus:
    """What becomes of pods, where the configuration `h` is in force."""
    spec = {"targetRef": {"name": target}} if target else {}
    spec |= more.pop("spec", {})
    return judge(Observed(KEY, resource(spec), {}, {}, workload=workload, **more), parsed(spec), pods, "h")


NO_TARGET = judged("", None, ())
GOOD = Findings(hash="sha256:1", children=(OUTBOUND,), load_status=NO_TARGET)
THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def computed(findings: Findings, old: dict[str, Any] | None = None, now: str = THEN, **annotations: str) -> Any:
    return status.compute(Observed(KEY, resource({}, old, **annotations), {}, {}), findings, now)


def said(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in found["conditions"]}


def test_all_good() -> None:
    found = computed(GOOD)

    assert said(found) == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "ResolvedRefs"),
        "Programmed": ("True", "Programmed"),
        "ConfigLoaded": ("Unknown", "NoTargetRef"),
        "PodsReady": ("Unknown", "NoTargetRef"),
        "DANEAvailable": ("Unknown", "NoTargetRef"),
        "Paused": ("False", "NotPaused"),
        "Ready": ("True", "Ready"),
    }
    assert found["observedGeneration"] == 3
    assert found["config"] == {"hash": "sha256:1", "configMaps": ["relay-outbound"]}
    assert "relays" not in found


@pytest.mark.parametrize(
    ("findings", "ready"),
    [
        (Findings(faults=("spec.a: bad",)), "InvalidSpec"),
        (Findings(ref_faults=(RefFault(RefReason.KEY_NOT_FOUND, "x"),)), "KeyNotFound"),
        (Findings(foreign=(OUTBOUND,)), "ChildNotOwned"),
        (Findings(refused="403 quota"), "WriteRefused"),
        (Findings(hash="h", load_status=LoadStatus("False", LoadReason.LOADING, "x", 2, 2, 1)), "Loading"),
    ],
)
def test_ready_has_the_first_reason(findings: Findings, ready: str) -> None:
    assert said(computed(findings))["Ready"] == ("False", ready)


def test_an_unchanged_status_is_equal() -> None:
    first = computed(GOOD)

    assert computed(GOOD, first, NOW) == first


def test_a_time_changes_only_with_the_status() -> None:
    loading = Findings(hash="h", load_status=LoadStatus("False", LoadReason.LOADING, "x", 2, 2, 1))
    failed = Findings(hash="h", load_status=LoadStatus("False", LoadReason.LOAD_FAILED, "y", 2, 2, 1))
    found = computed(failed, computed(loading), NOW)

    times = {condition["type"]: condition["lastTransitionTime"] for condition in found["conditions"]}
    assert set(times.values()) == {THEN}
    assert computed(GOOD, found, NOW)["conditions"][-1]["lastTransitionTime"] == NOW


def test_what_was_good_is_remembered_while_nothing_better_is() -> None:
    found = computed(Findings(faults=("bad",)), computed(GOOD))

    assert found["config"]["hash"] == "sha256:1"
    assert said(found)["Programmed"] == ("False", "LastGoodKept")


def test_warnings_stand_with_what_they_are_about() -> None:
    found = computed(Findings(hash="h", load_status=NO_TARGET, warnings=["w" * 999] * 99))

    assert found["config"]["warnings"] == ["w" * 250 + "…"] * 16
    assert computed(Findings(faults=("bad",)), found)["config"] == found["config"]
    assert "warnings" not in computed(GOOD, found)["config"]


def test_messages_stay_short() -> None:
    found = computed(Findings(faults=("x" * 5000,)))

    assert all(len(condition["message"]) <= 1025 for condition in found["conditions"])


def test_annotations_are_repeated_when_they_are_obeyed() -> None:
    found = computed(GOOD, reconcile_requested_at="1", flush_requested_at="2" * 100)
    assert found["lastHandledReconcileAt"] == "1"
    assert "lastHandledFlushAt" not in found

    flushed = computed(
        Findings(hash="h", load_status=NO_TARGET, flushed=True),
        found,
        reconcile_requested_at="1",
        flush_requested_at="2" * 100,
    )
    assert flushed["lastHandledFlushAt"] == "2" * 64
    observed = Observed(KEY, resource({}, flushed, flush_requested_at="2" * 100), {}, {})
    assert not status.flush_requested(observed)


@pytest.mark.parametrize(("old", "asked"), [({}, True), ({"lastHandledFlushAt": "1"}, False)])
def test_a_flush_is_asked_for_once(old: dict[str, Any], asked: bool) -> None:
    assert status.flush_requested(Observed(KEY, resource({}, old, flush_requested_at="1"), {}, {})) is asked


def test_paused_changes_nothing_else() -> None:
    before = computed(GOOD)
    found = status.paused(Observed(KEY, resource({}, before), {}, {}), NOW)

    assert said(found) == said(before) | {"Paused": ("True", "Paused")}
    assert [condition["type"] for condition in found["conditions"]] == list(Type)
    assert status.paused(Observed(KEY, resource({}, found), {}, {}), "later") == found


def test_a_paused_resource_does_not_say_that_no_operator_has_read_it() -> None:
    """As the API server says of each that is new."""
    new = {"conditions": [{"type": "Ready", "status": "Unknown", "reason": Reason.NO_OPERATOR}]}
    found = status.paused(Observed(KEY, resource({}, new), {}, {}), NOW)
    assert [condition["type"] for condition in found["conditions"]] == [Type.PAUSED]


def test_changes_are_those_of_status_or_reason() -> None:
    before = computed(GOOD)
    assert status.changes(before, computed(GOOD, before, NOW)) == []

    after = computed(Findings(faults=("bad",)), before, NOW)
    assert {kind for kind, _ in status.changes(before, after)} == set(Type) - {Type.PAUSED}


JUDGED: list[tuple[str, Workload | None, list[PodState], tuple[str, LoadReason, str]]] = [
    ("", None, [], ("Unknown", LoadReason.NO_TARGET_REF, "")),
    ("r", None, [], ("False", LoadReason.TARGET_NOT_FOUND, "StatefulSet r does not exist")),
    ("r", Workload(0, ""), [], ("Unknown", LoadReason.NO_REPLICAS, "")),
    ("r", Workload(2, ""), [], ("False", LoadReason.NO_READY_PODS, "")),
    ("r", Workload(2, ""), [pod("r-0"), pod("r-1")], ("True", LoadReason.LOADED, "2 of 2 pods run it")),
    (
        "r",
        Workload(2, ""),
        [pod("r-0"), pod("r-1", ready=False)],
        ("True", LoadReason.LOADED, "1 of 2 pods run it, 1 not ready"),
    ),
    ("r", Workload(2, ""), [pod("r-0"), pod("r-1", "old")], ("False", LoadReason.LOADING, "r-1: runs another")),
    ("r", Workload(1, ""), [pod("r-0", error="x:1: bad")], ("False", LoadReason.LOAD_FAILED, "r-0: x:1: bad")),
    ("r", Workload(1, ""), [pod("r-0", unbound=("no a",))], ("False", LoadReason.BIND_ADDRESS_MISSING, "r-0: no a")),
    ("r", Workload(1, ""), [pod("r-0", warnings=("a worker does not answer",))], ("True", LoadReason.LOADED, "")),
    ("r", Workload(1, ""), [pod("r-0", "", silence="dead")], ("False", LoadReason.POD_UNREACHABLE, "r-0: dead")),
    (
        "r",
        Workload(9, ""),
        [pod(f"r-{n}", "old") for n in range(9)],
        ("False", LoadReason.LOADING, "and 6 more"),
    ),
    (
        "r",
        Workload(2, ""),
        [pod("r-0", "old"), pod("r-1", error="bad")],
        ("False", LoadReason.LOAD_FAILED, "r-1: bad"),
    ),
]


@pytest.mark.parametrize(("target", "workload", "pods", "expected"), JUDGED)
def test_what_the_pods_say_is_judged(
    target: str, workload: Workload | None, pods: list[PodState], expected: tuple[str, LoadReason, str]
) -> None:
    found = judged(target, workload, pods)

    assert (found.status, found.reason) == expected[:2]
    assert expected[2] in found.message


def test_counts_are_shown() -> None:
    found = judged("r", Workload(3, ""), [pod("r-0"), pod("r-1", "old"), pod("r-2", ready=False)])

    assert found.counts() == {"summary": "1/3", "total": 3, "ready": 2, "updated": 1}
    assert computed(Findings(hash="h", load_status=found))["relays"]["summary"] == "1/3"


def test_the_younger_of_two_for_one_target_says_so() -> None:
    found = judged("r", Workload(2, ""), [pod("r-0"), pod("r-1")], rival="older")

    assert (found.status, found.reason) == ("False", LoadReason.TARGET_CONFLICT)
    assert found.message == "StatefulSet r is the older OutboundConfig older's"
    assert "relays" not in computed(Findings(hash="h", load_status=found))


def test_a_restart_of_a_workload_that_does_not_mount_the_configuration_is_refused() -> None:
    found = judged("r", Workload(1, ""), [], spec={"reload": "Restart"})
    mounting = judged("r", Workload(1, "", frozenset({"relay-outbound"})), [pod("r-0")], spec={"reload": "Restart"})

    assert (found.status, found.reason) == ("False", LoadReason.NOT_MOUNTED)
    assert found.message == "StatefulSet r is not restarted: it mounts no ConfigMap relay-outbound"
    assert mounting.reason is LoadReason.LOADED


@pytest.mark.parametrize(
    ("workload", "pods", "expected"),
    [
        (Workload(2, ""), [pod("r-0"), pod("r-1")], ("True", "PodsReady", "2 of 2 pods are ready")),
        (
            Workload(2, ""),
            [pod("r-0"), pod("r-1", ready=False)],
            ("False", "PodsNotReady", "1 of 2 pods are ready; r-1: is not ready"),
        ),
        (Workload(2, ""), [pod("r-0")], ("False", "PodsNotReady", "1 of 2 pods are ready")),
        (Workload(0, ""), [], ("Unknown", "NoReplicas", "StatefulSet r wants no pods")),
        (None, [], ("Unknown", "TargetNotFound", "StatefulSet r does not exist")),
    ],
)
def test_a_pod_that_is_not_ready_has_a_condition_of_its_own(
    workload: Workload | None, pods: list[PodState], expected: tuple[str, str, str]
) -> None:
    found = computed(Findings(hash="h", load_status=judged("r", workload, pods), pods=pods))

    (condition,) = (condition for condition in found["conditions"] if condition["type"] == "PodsReady")
    assert (condition["status"], condition["reason"], condition["message"]) == expected


def test_ready_is_about_the_configuration_and_not_about_the_pods() -> None:
    pods = [pod("r-0"), pod("r-1", ready=False)]

    found = said(computed(Findings(hash="h", load_status=judged("r", Workload(2, ""), pods), pods=pods)))

    assert (found["Ready"][0], found["PodsReady"][0]) == ("True", "False")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (("available", "available"), ("True", "DANEAvailable", "the DNS servers of 2 pods validate")),
        (("available", "unavailable"), ("False", "NoValidatingResolver", "r-1: no trusted DNS server validates; ")),
        (("unavailable", "off"), ("False", "NoValidatingResolver", "r-0: no trusted DNS server validates; ")),
        (("off", "off"), ("False", "DANEOff", "tls.outbound.dane is false")),
        (("available", ""), ("True", "DANEAvailable", "the DNS servers of 1 pods validate")),
        (("", ""), ("Unknown", "DANENotReported", "no pod says whether its DNS servers validate")),
    ],
)
def test_dane_without_a_resolver_that_validates_has_a_condition_that_says_how_to_have_one(
    said: tuple[str, str], expected: tuple[str, str, str]
) -> None:
    pods = [pod(f"r-{number}", dane=dane) for number, dane in enumerate(said)]

    found = computed(Findings(hash="h", load_status=judged("r", Workload(2, ""), pods), pods=pods))

    (condition,) = (each for each in found["conditions"] if each["type"] == "DANEAvailable")
    assert (condition["status"], condition["reason"]) == expected[:2]
    assert condition["message"].startswith(expected[2])
    assert ("resolver.enabled" in condition["message"]) is (condition["reason"] == "NoValidatingResolver")
    (ready,) = (each for each in found["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "True", "mail flows without DANE"


def test_the_status_shows_each_pod_by_its_ordinal() -> None:
    pods = [
        pod("r-10", ready=False),
        pod("r-2", address="10.0.0.2", image_id="relay@sha256:1", warnings=("no 192.0.2.7",)),
        pod("r-0", error="tls.ini:3: bad"),
        pod("r-1", "", silence="does not answer"),
    ]
    found = computed(Findings(hash="h", load_status=judged("r", Workload(11, ""), pods), pods=pods))

    assert found["relays"]["pods"] == [
        {"name": "r-0", "ready": True, "hash": "h", "error": "tls.ini:3: bad"},
        {"name": "r-1", "ready": True, "error": "does not answer"},
        {
            "name": "r-2",
            "ready": True,
            "hash": "h",
            "address": "10.0.0.2",
            "imageID": "relay@sha256:1",
            "warnings": ["no 192.0.2.7"],
        },
        {"name": "r-10", "ready": False, "hash": "h"},
    ]


def test_of_more_than_a_hundred_pods_those_in_trouble_are_shown() -> None:
    pods = [pod(f"r-{n}", ready=n != 149) for n in range(150)]
    found = computed(Findings(hash="h", load_status=judged("r", Workload(150, ""), pods), pods=pods))

    shown = [row["name"] for row in found["relays"]["pods"]]
    assert shown == [*(f"r-{n}" for n in range(99)), "r-149"]

"""Conditions: what they say, what they are summed up to, and that nothing changes when nothing has changed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.outbound_config import KEY, resource

from mailboat_operator import status
from mailboat_operator.checks import RefFault, RefReason
from mailboat_operator.observed import ChildKey, Observed, PodState, Workload
from mailboat_operator.references import SourceKind
from mailboat_operator.relays_seen import Judgement, LoadReason, judge
from mailboat_operator.status import Findings, Type

OUTBOUND = ChildKey(SourceKind.CONFIG_MAP, "relay-outbound")
NO_TARGET = judge("", None, (), "h")
GOOD = Findings(hash="sha256:1", children=(OUTBOUND,), judgement=NO_TARGET)
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
        (Findings(hash="h", judgement=Judgement("False", LoadReason.LOADING, "x", 2, 2, 1)), "Loading"),
    ],
)
def test_ready_has_the_first_reason(findings: Findings, ready: str) -> None:
    assert said(computed(findings))["Ready"] == ("False", ready)


def test_an_unchanged_status_is_equal() -> None:
    first = computed(GOOD)

    assert computed(GOOD, first, NOW) == first


def test_a_time_changes_only_with_the_status() -> None:
    loading = Findings(hash="h", judgement=Judgement("False", LoadReason.LOADING, "x", 2, 2, 1))
    failed = Findings(hash="h", judgement=Judgement("False", LoadReason.LOAD_FAILED, "y", 2, 2, 1))
    found = computed(failed, computed(loading), NOW)

    times = {condition["type"]: condition["lastTransitionTime"] for condition in found["conditions"]}
    assert set(times.values()) == {THEN}
    assert computed(GOOD, found, NOW)["conditions"][-1]["lastTransitionTime"] == NOW


def test_what_was_good_is_remembered_while_nothing_better_is() -> None:
    found = computed(Findings(faults=("bad",)), computed(GOOD))

    assert found["config"]["hash"] == "sha256:1"
    assert said(found)["Programmed"] == ("False", "LastGoodKept")


def test_messages_stay_short() -> None:
    found = computed(Findings(faults=("x" * 5000,)))

    assert all(len(condition["message"]) <= 1025 for condition in found["conditions"])


def test_annotations_are_repeated_when_they_are_obeyed() -> None:
    found = computed(GOOD, reconcile_requested_at="1", flush_requested_at="2" * 100)
    assert found["lastHandledReconcileAt"] == "1"
    assert "lastHandledFlushAt" not in found

    flushed = computed(
        Findings(hash="h", judgement=NO_TARGET, flushed=True),
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


def test_changes_are_those_of_status_or_reason() -> None:
    before = computed(GOOD)
    assert status.changes(before, computed(GOOD, before, NOW)) == []

    after = computed(Findings(faults=("bad",)), before, NOW)
    assert {kind for kind, _ in status.changes(before, after)} == set(Type) - {Type.PAUSED}


def pod(name: str, hash_: str = "h", **more: Any) -> PodState:
    return PodState(name, more.pop("ready", True), hash_, **more)


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
    ("r", Workload(1, ""), [pod("r-0", warnings=("no a",))], ("False", LoadReason.BIND_ADDRESS_MISSING, "r-0: no a")),
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
    found = judge(target, workload, pods, "h")

    assert (found.status, found.reason) == expected[:2]
    assert expected[2] in found.message


def test_counts_are_shown() -> None:
    found = judge("r", Workload(3, ""), [pod("r-0"), pod("r-1", "old"), pod("r-2", ready=False)], "h")

    assert found.counts() == {"summary": "1/3", "total": 3, "ready": 2, "updated": 1}
    assert computed(Findings(hash="h", judgement=found))["relays"]["summary"] == "1/3"

"""What the relay pods say of their configuration, judged: the condition ConfigLoaded. Pure; `status` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mailboat_operator.observed import PodState, Workload

_TOLD = 3
"""Pods that a message names; the others are counted."""


class LoadReason(StrEnum):
    """Reasons of the condition ConfigLoaded."""

    LOADED = "Loaded"
    LOADING = "Loading"
    LOAD_FAILED = "LoadFailed"
    BIND_ADDRESS_MISSING = "BindAddressMissing"
    POD_UNREACHABLE = "PodUnreachable"
    NO_READY_PODS = "NoReadyPods"
    NO_REPLICAS = "NoReplicas"
    NO_TARGET_REF = "NoTargetRef"
    TARGET_NOT_FOUND = "TargetNotFound"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The condition, and the counts that `status.relays` shows."""

    status: str
    reason: LoadReason
    message: str
    total: int | None = None
    """Pods that are wanted; None: there is no workload to count."""
    ready: int = 0
    updated: int = 0
    """Ready pods that run the configuration."""

    @property
    def settled(self) -> bool:
        """Whether nothing is expected to change by itself soon."""
        return self.reason in (LoadReason.LOADED, LoadReason.NO_TARGET_REF, LoadReason.NO_REPLICAS)

    def counts(self) -> dict[str, Any]:
        """`status.relays`."""
        return {
            "summary": f"{self.updated}/{self.total}",
            "total": self.total,
            "ready": self.ready,
            "updated": self.updated,
        }


def judge(target: str, workload: Workload | None, pods: Sequence[PodState], hash_: str) -> Judgement:
    """Whether all ready pods run the configuration with this hash. The first thing that is wrong is told."""
    if not target:
        return Judgement("Unknown", LoadReason.NO_TARGET_REF, "without targetRef nobody is asked")
    if workload is None:
        return Judgement("False", LoadReason.TARGET_NOT_FOUND, f"StatefulSet {target} does not exist")
    ready = [pod for pod in pods if pod.ready]
    updated = [pod for pod in ready if pod.hash == hash_ and not pod.error]
    counts = (workload.replicas, len(ready), len(updated))
    if not ready:
        if workload.replicas == 0:
            return Judgement("Unknown", LoadReason.NO_REPLICAS, f"StatefulSet {target} wants no pods", *counts)
        message = f"no pod of StatefulSet {target} is ready"
        return Judgement("False", LoadReason.NO_READY_PODS, message, *counts)
    for reason, told in (
        (LoadReason.LOAD_FAILED, {pod.name: pod.error for pod in ready if pod.error}),
        (LoadReason.BIND_ADDRESS_MISSING, {pod.name: "; ".join(pod.warnings) for pod in updated if pod.warnings}),
        (LoadReason.POD_UNREACHABLE, {pod.name: pod.silence for pod in ready if pod.silence}),
        (LoadReason.LOADING, {pod.name: "runs another configuration" for pod in ready if pod.hash != hash_}),
    ):
        if told:
            return Judgement("False", reason, _said(told), *counts)
    waiting = max(0, workload.replicas - len(ready))
    message = f"{len(updated)} of {workload.replicas} pods run it" + (f", {waiting} not ready" if waiting else "")
    return Judgement("True", LoadReason.LOADED, message, *counts)


def _said(told: dict[str, str]) -> str:
    named = [f"{name}: {told[name]}" for name in sorted(told)[:_TOLD]]
    more = len(told) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")

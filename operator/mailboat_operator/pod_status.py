"""Computes the condition ConfigLoaded from the configuration that relay pods report. Pure; used by `status`.

Also decides whether an OutboundConfig may use its target (`obstacle`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mailboat_operator import names
from mailboat_operator.observed import Observed, PodState
from mailboat_operator.spec import Reload, Spec

_NAMED = 3
"""Pods that a message names; the others are counted."""
_TOLD = 100
"""Pods that `status.relays.pods` shows."""


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
    TARGET_CONFLICT = "TargetConflict"
    NOT_MOUNTED = "NotMounted"


_SETTLED = frozenset(
    {
        LoadReason.LOADED,
        LoadReason.NO_TARGET_REF,
        LoadReason.NO_REPLICAS,
        LoadReason.TARGET_CONFLICT,
        LoadReason.NOT_MOUNTED,
    }
)


@dataclass(frozen=True, slots=True)
class LoadStatus:
    """The condition, and the counts that `status.relays` shows."""

    status: str
    reason: LoadReason
    message: str
    total: int | None = None
    """The wanted number of pods; None: there is no workload."""
    ready: int = 0
    updated: int = 0
    """Ready pods that run the configuration."""

    @property
    def settled(self) -> bool:
        """Whether nothing is expected to change by itself soon."""
        return self.reason in _SETTLED

    def counts(self) -> dict[str, Any]:
        """`status.relays`."""
        return {
            "summary": f"{self.updated}/{self.total}",
            "total": self.total,
            "ready": self.ready,
            "updated": self.updated,
        }


def obstacle(observed: Observed, spec: Spec) -> tuple[LoadReason, str] | None:
    """Why this resource must not ask or restart the pods of its target; None: it may."""
    if observed.rival:
        return LoadReason.TARGET_CONFLICT, f"StatefulSet {spec.target} is the older OutboundConfig {observed.rival}'s"
    mounted = observed.key.name + names.OUTBOUND
    if spec.reload is Reload.RESTART and observed.workload and mounted not in observed.workload.config_maps:
        return LoadReason.NOT_MOUNTED, f"StatefulSet {spec.target} is not restarted: it mounts no ConfigMap {mounted}"
    return None


def judge(observed: Observed, spec: Spec, pods: Sequence[PodState], hash_: str) -> LoadStatus:
    """Whether all ready pods run the configuration with this hash. The first fault counts."""
    target, workload = spec.target, observed.workload
    if not target:
        return LoadStatus("Unknown", LoadReason.NO_TARGET_REF, "without targetRef no pod is asked")
    if in_the_way := obstacle(observed, spec):
        return LoadStatus("False", *in_the_way)
    if workload is None:
        return LoadStatus("False", LoadReason.TARGET_NOT_FOUND, f"StatefulSet {target} does not exist")
    ready = [pod for pod in pods if pod.ready]
    updated = [pod for pod in ready if pod.hash == hash_ and not pod.error]
    counts = (workload.replicas, len(ready), len(updated))
    if not ready:
        if workload.replicas == 0:
            return LoadStatus("Unknown", LoadReason.NO_REPLICAS, f"StatefulSet {target} wants no pods", *counts)
        message = f"no pod of StatefulSet {target} is ready"
        return LoadStatus("False", LoadReason.NO_READY_PODS, message, *counts)
    for reason, said in (
        (LoadReason.LOAD_FAILED, {pod.name: pod.error for pod in ready if pod.error}),
        (LoadReason.BIND_ADDRESS_MISSING, {pod.name: "; ".join(pod.unbound) for pod in updated if pod.unbound}),
        (LoadReason.POD_UNREACHABLE, {pod.name: pod.silence for pod in ready if pod.silence}),
        (LoadReason.LOADING, {pod.name: "runs another configuration" for pod in ready if pod.hash != hash_}),
    ):
        if said:
            return LoadStatus("False", reason, named(said), *counts)
    waiting = max(0, workload.replicas - len(ready))
    message = f"{len(updated)} of {workload.replicas} pods run it" + (f", {waiting} not ready" if waiting else "")
    return LoadStatus("True", LoadReason.LOADED, message, *counts)


def named(said: Mapping[str, str]) -> str:
    """Messages about pods, with their names, as one text; of many pods only some are named."""
    shown = [f"{name}: {said[name]}" for name in sorted(said)[:_NAMED]]
    more = len(said) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def told(pods: Iterable[PodState]) -> list[dict[str, Any]]:
    """`status.relays.pods`, in the order of their ordinals; of too many, those with faults come first."""
    kept = sorted(pods, key=lambda pod: (pod.ready and not pod.error and not pod.warnings, _ordinal(pod)))[:_TOLD]
    return [_row(pod) for pod in sorted(kept, key=_ordinal)]


def _row(pod: PodState) -> dict[str, Any]:
    texts = {"hash": pod.hash, "address": pod.address, "imageID": pod.image_id, "error": pod.error or pod.silence}
    row: dict[str, Any] = {"name": pod.name, "ready": pod.ready} | {name: text for name, text in texts.items() if text}
    return row | ({"warnings": list(pod.warnings)} if pod.warnings else {})


def _ordinal(pod: PodState) -> tuple[int, str]:
    """Pods of a StatefulSet differ in their last digits only: the shorter name is the lower one."""
    return len(pod.name), pod.name

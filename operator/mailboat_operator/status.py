"""The status of an OutboundConfig: its conditions, and what they are summed up to. Pure; `now` is an argument.

A time changes only when the condition's status does, so that an unchanged status is equal to the one before and is
not written. `docs/operator.md` explains each reason; a test holds the page to the enums here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mailboat_operator import conditions, names, shaping
from mailboat_operator.checks import RefFault
from mailboat_operator.conditions import Verdict, short
from mailboat_operator.observed import ChildKey, Observed, PodState
from mailboat_operator.pod_status import LoadStatus, named, told

_FLUSHED = "lastHandledFlushAt"
_HANDLED_MAX = 64
"""Characters of an annotation's value that the status repeats."""
_WARNING_MAX = 250
_WARNINGS_MAX = 16


class Type(StrEnum):
    """The conditions, in the order in which one depends on the other."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    CONFIG_LOADED = "ConfigLoaded"
    PODS_READY = "PodsReady"
    DANE_AVAILABLE = "DANEAvailable"
    PAUSED = "Paused"
    READY = "Ready"


class Reason(StrEnum):
    """Reasons of conditions; those of ResolvedRefs are in `checks`, those of ConfigLoaded in `pod_status`."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    SHAPING_INVALID = "ShapingInvalid"
    RESOLVED_REFS = "ResolvedRefs"
    NOT_CHECKED = "NotChecked"
    PROGRAMMED = "Programmed"
    LAST_GOOD_KEPT = "LastGoodKept"
    CHILD_NOT_OWNED = "ChildNotOwned"
    WRITE_REFUSED = "WriteRefused"
    NOT_PROGRAMMED = "NotProgrammed"
    PODS_READY = "PodsReady"
    PODS_NOT_READY = "PodsNotReady"
    DANE_AVAILABLE = "DANEAvailable"
    NO_VALIDATING_RESOLVER = "NoValidatingResolver"
    DANE_OFF = "DANEOff"
    DANE_NOT_REPORTED = "DANENotReported"
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"
    READY = "Ready"
    NO_OPERATOR = "NoOperator"
    """The API server's default, of a resource that no operator has read."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What one reconciliation found and did."""

    faults: Sequence[str] = ()
    """Of the spec."""
    ref_faults: Sequence[RefFault] = ()
    foreign: Sequence[ChildKey] = ()
    refused: str = ""
    """What the API server said to a write that it will never take."""
    hash: str = ""
    """Of the configuration that is written now; empty: none could be."""
    children: Sequence[ChildKey] = ()
    warnings: Sequence[str] = ()
    """About what is written."""
    load_status: LoadStatus | None = None
    """What the relays say; None: they were not asked."""
    pods: Sequence[PodState] = ()
    """Those of the target, as far as they are there."""
    flushed: bool = False
    """Whether the annotation that asks for a flush has been obeyed."""


def verdicts(findings: Findings) -> dict[Type, Verdict]:
    """All conditions but Paused, each judged by itself and by those before it."""
    found = {
        Type.ACCEPTED: _accepted(findings),
        Type.RESOLVED_REFS: _resolved(findings),
        Type.PROGRAMMED: _programmed(findings),
        Type.CONFIG_LOADED: _loaded(findings),
    }
    bad = next((verdict for verdict in found.values() if verdict.status == "False"), None)
    loaded = found[Type.CONFIG_LOADED]
    ready = Verdict("True", Reason.READY, loaded.message)
    return found | {
        Type.PODS_READY: _pods_ready(findings),
        Type.DANE_AVAILABLE: _dane_available(findings),
        Type.READY: Verdict("False", bad.reason, bad.message) if bad else ready,
    }


def compute(observed: Observed, findings: Findings, now: str) -> dict[str, Any]:
    """The new status; equal to the old one where nothing has changed."""
    generation = observed.metadata.get("generation", 0)
    found = verdicts(findings) | {Type.PAUSED: Verdict("False", Reason.NOT_PAUSED, "")}
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions.conditions(observed.status, {t: found[t] for t in Type}, generation, now),
    }
    config = _config(findings) or observed.status.get("config")
    if config:
        status["config"] = config
    if findings.load_status and findings.load_status.total is not None:
        status["relays"] = findings.load_status.counts() | {"pods": told(findings.pods)}
    flushed = observed.annotation(names.FLUSH) if findings.flushed else str(observed.status.get(_FLUSHED, ""))
    handled = {"lastHandledReconcileAt": observed.annotation(names.RECONCILE), _FLUSHED: flushed}
    return status | {name: value[:_HANDLED_MAX] for name, value in handled.items() if value}


def flush_requested(observed: Observed) -> bool:
    """Whether the annotation asks for a flush that has not been done."""
    wanted = observed.annotation(names.FLUSH)[:_HANDLED_MAX]
    return bool(wanted) and wanted != observed.status.get(_FLUSHED)


def paused(observed: Observed, now: str) -> dict[str, Any]:
    """The status of a paused resource: as it was, but for the condition Paused."""
    generation = observed.metadata.get("generation", 0)
    message = "nothing is written; the files rendered last stay in force"
    condition = conditions.conditions(
        observed.status, {Type.PAUSED: Verdict("True", Reason.PAUSED, message)}, generation, now
    )
    before = observed.status.get("conditions") or ()
    others = [c for c in before if c.get("type") != Type.PAUSED and c.get("reason") != Reason.NO_OPERATOR]
    order = {kind.value: number for number, kind in enumerate(Type)}
    in_order = sorted([*others, *condition], key=lambda c: order.get(c["type"], len(order)))
    return {**observed.status, "conditions": in_order}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[Type, Verdict]]:
    """The conditions whose status or reason is another one now."""
    return [(Type(kind), verdict) for kind, verdict in conditions.changes(old, new)]


def _accepted(findings: Findings) -> Verdict:
    if findings.faults:
        of_shaping = all(fault.startswith(shaping.PATH) for fault in findings.faults)
        reason = Reason.SHAPING_INVALID if of_shaping else Reason.INVALID_SPEC
        return Verdict("False", reason, short("; ".join(findings.faults)))
    return Verdict("True", Reason.ACCEPTED, "")


def _resolved(findings: Findings) -> Verdict:
    if findings.faults:
        return Verdict("Unknown", Reason.NOT_CHECKED, "the spec has to be accepted first")
    if findings.ref_faults:
        message = short("; ".join(fault.message for fault in findings.ref_faults))
        return Verdict("False", findings.ref_faults[0].reason, message)
    return Verdict("True", Reason.RESOLVED_REFS, "")


def _programmed(findings: Findings) -> Verdict:
    if findings.faults or findings.ref_faults:
        return Verdict("False", Reason.LAST_GOOD_KEPT, "files rendered before, if any, stay in force")
    if findings.foreign:
        mine = ", ".join(f"{key.kind} {key.name}" for key in findings.foreign)
        return Verdict("False", Reason.CHILD_NOT_OWNED, f"{mine} belongs to another owner; rename or delete it")
    if findings.refused:
        return Verdict("False", Reason.WRITE_REFUSED, short(findings.refused))
    return Verdict("True", Reason.PROGRAMMED, "")


def _loaded(findings: Findings) -> Verdict:
    load_status = findings.load_status
    if load_status is None:
        return Verdict("Unknown", Reason.NOT_PROGRAMMED, "nothing has been rendered")
    return Verdict(load_status.status, load_status.reason, short(load_status.message))


def _pods_ready(findings: Findings) -> Verdict:
    """Of the pods, whatever they run: no part of Ready, which is about the configuration."""
    load_status = findings.load_status
    if load_status is None:
        return Verdict("Unknown", Reason.NOT_PROGRAMMED, "nothing has been rendered")
    if not load_status.total:
        return Verdict("Unknown", load_status.reason, load_status.message)
    message = f"{load_status.ready} of {load_status.total} pods are ready"
    if load_status.ready >= load_status.total:
        return Verdict("True", Reason.PODS_READY, message)
    waiting = {pod.name: "is not ready" for pod in findings.pods if not pod.ready}
    return Verdict("False", Reason.PODS_NOT_READY, short("; ".join(filter(None, (message, named(waiting))))))


def _dane_available(findings: Findings) -> Verdict:
    """Of what the pods say of their DNS servers. No part of Ready: mail flows without DANE."""
    load_status = findings.load_status
    if load_status is None:
        return Verdict("Unknown", Reason.NOT_PROGRAMMED, "nothing has been rendered")
    said = {pod.name: pod.dane for pod in findings.pods if pod.dane}
    if not said:
        reason = Reason.DANE_NOT_REPORTED if load_status.ready else load_status.reason
        return Verdict("Unknown", reason, "no pod says whether its DNS servers validate")
    if unavailable := {pod: "no trusted DNS server validates" for pod, dane in said.items() if dane == "unavailable"}:
        return Verdict("False", Reason.NO_VALIDATING_RESOLVER, f"{named(unavailable)}; {_HOW_TO_VALIDATE}")
    if "off" in said.values():
        return Verdict("False", Reason.DANE_OFF, "tls.outbound.dane is false")
    return Verdict("True", Reason.DANE_AVAILABLE, f"the DNS servers of {len(said)} pods validate")


_HOW_TO_VALIDATE = (
    "mail is delivered without DANE; set resolver.enabled in the values of the relays' chart, or name a server that "
    "validates in spec.outbound.dnsServers and dnsTrustAD"
)


def _config(findings: Findings) -> dict[str, Any]:
    if not findings.hash:
        return {}
    named: dict[str, list[str]] = {"configMaps": [], "secrets": []}
    for key in findings.children:
        named["secrets" if key.kind.value == "Secret" else "configMaps"].append(key.name)
    named["warnings"] = [short(warning, _WARNING_MAX) for warning in findings.warnings[:_WARNINGS_MAX]]
    return {"hash": findings.hash} | {name: found for name, found in named.items() if found}

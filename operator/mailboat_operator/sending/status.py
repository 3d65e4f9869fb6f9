"""The status of a SendingDomain: its keys, their records, and the conditions. Pure; `now` is an argument.

`docs/sendingdomain.md` explains each reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from mailboat.dkim.keys import dns_name
from mailboat.dkim.record import Finding, Publication
from mailboat_operator import names
from mailboat_operator.conditions import Verdict, changes, conditions, short
from mailboat_operator.sending.keys import UPCOMING, DomainKey, KeyState
from mailboat_operator.sending.life import KeyPlan
from mailboat_operator.sending.rows import instant, written_keys, written_records
from mailboat_operator.sending.spec import PublishMode, SendingSpec

_ROTATED = "lastHandledRotateAt"
_RECONCILED = "lastHandledReconcileAt"
_HANDLED_MAX = 64
_KEPT = ("keys", "records", "nextRotationAt", _ROTATED, _RECONCILED)
_ADVICE_MAX = 1024


class SendingCondition(StrEnum):
    """The conditions; `Ready` is the sum of the first two."""

    KEYS_READY = "KeysReady"
    RECORDS_PUBLISHED = "RecordsPublished"
    SPF_PASSES = "SPFPasses"
    DMARC_PRESENT = "DMARCPresent"
    READY = "Ready"


class SendingReason(StrEnum):
    """Reasons of KeysReady, RecordsPublished and Ready; those of a Secret that was named are in `checks`."""

    KEYS_READY = "KeysReady"
    INVALID_SPEC = "InvalidSpec"
    CONFLICT = "Conflict"
    CHILD_NOT_OWNED = "ChildNotOwned"
    WRITE_REFUSED = "WriteRefused"
    INVALID_KEY = "InvalidKey"
    KEY_CHANGED = "KeyChangedUnderSelector"
    NO_FREE_SELECTOR = "NoFreeSelector"
    WAITING_FOR_RECORDS = "WaitingForRecords"
    WAITING_FOR_CACHES = "WaitingForCaches"
    WAITING_FOR_PODS = "WaitingForPods"
    RECORDS_PUBLISHED = "RecordsPublished"
    RECORD_MISSING = "RecordMissing"
    KEY_MISMATCH = "KeyMismatch"
    RECORD_REVOKED = "RecordRevoked"
    MULTIPLE_RECORDS = "MultipleRecords"
    RECORD_UNUSABLE = "RecordUnusable"
    NO_EXTERNAL_DNS = "NoExternalDNS"
    DNS_UNAVAILABLE = "DNSUnavailable"
    NOT_CHECKED = "NotChecked"
    READY = "Ready"


_OF_RECORDS: Mapping[Publication, SendingReason] = {
    Publication.MISSING: SendingReason.RECORD_MISSING,
    Publication.MISMATCH: SendingReason.KEY_MISMATCH,
    Publication.REVOKED: SendingReason.RECORD_REVOKED,
    Publication.MULTIPLE: SendingReason.MULTIPLE_RECORDS,
    Publication.UNUSABLE: SendingReason.RECORD_UNUSABLE,
}


@dataclass(frozen=True, slots=True)
class SendingFindings:
    """What one reconciliation found."""

    trouble: Verdict | None = None
    """Why nothing was done about keys."""
    brought: Verdict | None = None
    """What is wrong with `existingKeys`; the others are looked after."""
    plan: KeyPlan | None = None
    rotate: str = ""
    """The value of the annotation, once new keys are on their way."""
    records: Mapping[str, Finding] = field(default_factory=dict)
    """What the DNS says of the keys, by selector."""
    waits: Mapping[str, timedelta] = field(default_factory=dict)
    """How long caches may say something else, by selector."""
    signing: tuple[frozenset[str], ...] | None = None
    """Of each ready relay pod, the selectors that it signs with; None: not known, so what was told before holds."""
    silence: str = ""
    """Why the DNS says nothing."""
    checked: bool = False
    """Whether it was asked since the operator has started."""
    reconciled: str = ""
    """The value of the annotation that it was asked for last."""
    spf: Verdict | None = None
    dmarc: Verdict | None = None
    no_endpoint: str = ""
    """Why there is no DNSEndpoint where there should be one."""


def compute(
    resource: Mapping[str, Any], spec: SendingSpec | None, findings: SendingFindings, now: datetime
) -> dict[str, Any]:
    """The new status; equal to the old one where nothing has changed."""
    old = resource.get("status") or {}
    generation = resource["metadata"].get("generation", 0)
    told = {name: old[name] for name in _KEPT if name in old}
    if spec is not None and findings.plan is not None:
        told = dict(_keys(spec, findings, old))
    found = verdicts(resource, spec, findings, now)
    return {
        "observedGeneration": generation,
        "conditions": conditions(old, found, generation, instant(now)),
        **told,
    }


def verdicts(
    resource: Mapping[str, Any], spec: SendingSpec | None, findings: SendingFindings, now: datetime
) -> dict[str, Verdict]:
    """All conditions."""
    old = {c["type"]: Verdict(c["status"], c["reason"], c["message"]) for c in _before(resource)}
    not_asked = Verdict("Unknown", SendingReason.NOT_CHECKED, "the DNS has not been asked yet")
    keys = findings.trouble or not_asked
    records = old.get(SendingCondition.RECORDS_PUBLISHED, not_asked)
    if spec is not None and findings.plan is not None:
        before = old.get(SendingCondition.KEYS_READY, not_asked)
        keys = findings.brought or _keys_ready(spec, findings, now) or before
        records = _published(resource, spec, findings) or records
    return {
        SendingCondition.KEYS_READY: keys,
        SendingCondition.RECORDS_PUBLISHED: records,
        SendingCondition.SPF_PASSES: findings.spf or old.get(SendingCondition.SPF_PASSES, not_asked),
        SendingCondition.DMARC_PRESENT: findings.dmarc or old.get(SendingCondition.DMARC_PRESENT, not_asked),
        SendingCondition.READY: _ready(keys, records),
    }


def was_asked(resource: Mapping[str, Any]) -> bool:
    """Whether the status says anything of what the DNS has answered, or why it has not."""
    records = (c for c in _before(resource) if c["type"] == SendingCondition.RECORDS_PUBLISHED)
    return any(c["reason"] != SendingReason.NOT_CHECKED for c in records)


def told_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Reason, message and whether it is a warning, of each Event that the change of a status is worth."""
    before = {row["selector"]: row.get("state") for row in old.get("keys") or ()}
    for row in new.get("keys") or ():
        if before.get(row["selector"]) != row["state"]:
            yield f"Key{row['state']}", f"{row['name']} ({row['algorithm']}): {_STEPS[row['state']]}", False
    for kind, verdict in changes(old, new):
        if kind != SendingCondition.READY and verdict.status != "Unknown" and verdict.reason not in _EXPECTED:
            yield verdict.reason, verdict.message, verdict.status == "False"


_STEPS = {
    KeyState.GENERATED: "made; its record is to be published",
    KeyState.PUBLISHED: "every name server shows its record",
    KeyState.ACTIVE: "signs",
    KeyState.RETIRING: "signs no more; its record stays for mail that is under way",
    KeyState.REVOKED: "of no use any more; its record has an empty p=",
}
_EXPECTED = frozenset(
    {SendingReason.WAITING_FOR_RECORDS, SendingReason.WAITING_FOR_CACHES, SendingReason.WAITING_FOR_PODS}
)
"""Reasons of False that are steps on the way: Events of keys tell them."""


def _before(resource: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [c for c in (resource.get("status") or {}).get("conditions") or () if c.get("reason") != "NoOperator"]


def _keys(spec: SendingSpec, findings: SendingFindings, old: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    plan = findings.plan
    assert plan is not None
    advice = {record.get("name"): record.get("message", "") for record in old.get("records") or ()}
    texts = {
        key.selector: short(finding.advice, _ADVICE_MAX)
        if (finding := findings.records.get(key.selector))
        else advice.get(dns_name(key.selector, spec.domain), "")
        for key in plan.keys
    }
    if plan.keys or not plan.unjudged:  # else the next run still has to know that the status was lost
        yield "keys", written_keys(plan.keys, spec.domain)
    yield "records", written_records(plan.keys, spec.domain, spec.publish.ttl or 3600, texts)
    due = [key.since + spec.policy.every for key in plan.keys if key.state is KeyState.ACTIVE and not key.existing]
    if due and not spec.policy.suspended:
        yield "nextRotationAt", instant(min(due))
    for name, handled in ((_ROTATED, findings.rotate), (_RECONCILED, findings.reconciled)):
        if told := (handled or str(old.get(name, ""))):
            yield name, told


def rotate_requested(resource: Mapping[str, Any]) -> str:
    """The value of the annotation that asks for new keys; empty: it is not there, or has been obeyed."""
    return _requested(resource, names.ROTATE, _ROTATED)


def reconcile_requested(resource: Mapping[str, Any]) -> str:
    """The same of the annotation that has the DNS asked."""
    return _requested(resource, names.RECONCILE, _RECONCILED)


def _requested(resource: Mapping[str, Any], annotation: str, handled: str) -> str:
    wanted = str((resource["metadata"].get("annotations") or {}).get(annotation, ""))[:_HANDLED_MAX]
    return "" if wanted == (resource.get("status") or {}).get(handled, "") else wanted


def _keys_ready(spec: SendingSpec, findings: SendingFindings, now: datetime) -> Verdict | None:
    """Whether every pod signs with a key of every algorithm; else what that waits for; None: the pods are unknown."""
    plan = findings.plan
    assert plan is not None
    for algorithm in spec.policy.algorithms:
        mine = [key for key in plan.keys if key.algorithm is algorithm]
        if not any(key.state is KeyState.ACTIVE for key in mine):
            coming = [key for key in mine if key.state in UPCOMING]
            return _waiting(coming[-1] if coming else None, findings, now)
        selectors = {key.selector for key in mine}
        if findings.signing is None:
            return None
        if not all(selectors & pod for pod in findings.signing):
            message = "every ready relay pod signs once the kubelet has brought it dkim.ini"
            return Verdict("False", SendingReason.WAITING_FOR_PODS, message)
    return Verdict("True", SendingReason.KEYS_READY, f"signs with {', '.join(plan.signing)}")


def _waiting(key: DomainKey | None, findings: SendingFindings, now: datetime) -> Verdict:
    if key is None and not (findings.plan and findings.plan.make):
        message = "a key can be made once a selector is free, and the relay pods have been asked"
        return Verdict("False", SendingReason.NO_FREE_SELECTOR, message)
    if key is None or key.state is KeyState.GENERATED or key.seen_at is None:
        message = "a key signs once every name server shows its record"
        return Verdict("False", SendingReason.WAITING_FOR_RECORDS, message)
    ripe = key.seen_at + findings.waits.get(key.selector, timedelta())
    if ripe > now:
        message = f"until {instant(ripe)} caches may say that there is no record of {key.selector}"
        return Verdict("False", SendingReason.WAITING_FOR_CACHES, message)
    message = f"{key.selector} signs once every ready relay pod has it"
    return Verdict("False", SendingReason.WAITING_FOR_PODS, message)


def _published(resource: Mapping[str, Any], spec: SendingSpec, findings: SendingFindings) -> Verdict | None:
    """Whether the DNS shows all records; None: it has not been asked, and what was known is still the news."""
    if findings.silence:
        return Verdict("Unknown", SendingReason.DNS_UNAVAILABLE, short(findings.silence))
    if not findings.checked or findings.plan is None:
        return None
    wanted = [key.selector for key in findings.plan.keys if key.state is not KeyState.REVOKED]
    missing = Finding(Publication.MISSING)
    found = {selector: findings.records.get(selector, missing) for selector in wanted}
    bad = {s: finding for s, finding in found.items() if finding.publication is not Publication.PUBLISHED}
    if not bad:
        message = f"every name server shows {'it' if len(wanted) == 1 else f'all {len(wanted)}'}"
        return Verdict("True", SendingReason.RECORDS_PUBLISHED, message)
    # What is wrong with a record says more than that another one is missing.
    selector, worst = max(bad.items(), key=lambda item: item[1].publication is not Publication.MISSING)
    if worst.publication is not Publication.MISSING:
        return Verdict("False", _OF_RECORDS[worst.publication], short(f"{selector}: {worst.advice}"))
    if spec.publish.mode is PublishMode.DNS_ENDPOINT and not findings.no_endpoint:
        message = (
            f"ExternalDNS has not published {', '.join(bad)} from the DNSEndpoint {resource['metadata']['name']}-dkim"
        )
        return Verdict("False", SendingReason.RECORD_MISSING, message)
    message = f"publish {', '.join(bad)}: {_how_to_publish(resource)}"
    if findings.no_endpoint:
        return Verdict("False", SendingReason.NO_EXTERNAL_DNS, f"{findings.no_endpoint}; {message}")
    return Verdict("False", SendingReason.RECORD_MISSING, message)


def _how_to_publish(resource: Mapping[str, Any]) -> str:
    """A command that prints the lines for a zone file."""
    path = '{range .status.records[?(@.seen!="True")]}{.zoneLine}{"\\n"}{end}'
    metadata = resource["metadata"]
    return f"kubectl get sd -n {metadata['namespace']} {metadata['name']} -o jsonpath='{path}'"


def _ready(keys: Verdict, records: Verdict) -> Verdict:
    """The sum, with what to do next as its message."""
    if keys.reason == SendingReason.WAITING_FOR_RECORDS and records.status != "True":
        return records
    bad = next((verdict for verdict in (keys, records) if verdict.status != "True"), None)
    return bad or Verdict("True", SendingReason.READY, keys.message)

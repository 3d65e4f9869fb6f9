"""Conditions as Kubernetes knows them: made from verdicts, and compared. Pure; `now` is an argument.

A time changes only when the condition's status does, so that a status in which nothing changed is equal to the one
before. Those of OutboundConfigs are judged in `status`, those of SendingDomains in `sending.status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MESSAGE_MAX = 1024
"""Characters of a condition's message: a resource may have thousands of faults."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition before its times are known."""

    status: str
    """`True`, `False` or `Unknown`."""
    reason: str
    message: str


def conditions(old: Mapping[str, Any], found: Mapping[str, Verdict], generation: int, now: str) -> list[dict[str, Any]]:
    """The conditions of a status after the one that is `old`, in the order of `found`."""
    before = {condition.get("type"): condition for condition in old.get("conditions") or ()}
    made = []
    for kind, verdict in found.items():
        last = before.get(str(kind), {})
        since = last.get("lastTransitionTime") if last.get("status") == verdict.status else None
        made.append(
            {
                "type": str(kind),
                "status": verdict.status,
                "observedGeneration": generation,
                "lastTransitionTime": since or now,
                "reason": str(verdict.reason),
                "message": verdict.message,
            }
        )
    return made


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Verdict]]:
    """The conditions whose status or reason is another one now."""
    before = {c.get("type"): (c.get("status"), c.get("reason")) for c in old.get("conditions") or ()}
    return [
        (c["type"], Verdict(c["status"], c["reason"], c["message"]))
        for c in new["conditions"]
        if before.get(c["type"]) != (c["status"], c["reason"])
    ]


def short(message: str, limit: int = MESSAGE_MAX) -> str:
    """The message, cut where it is too long."""
    return message if len(message) <= limit else f"{message[:limit]}…"

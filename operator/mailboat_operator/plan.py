"""Plans the writes that change the observed state to the desired one. Pure; executed by `apply`.

Objects of other owners are never changed: they are reported, and nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailboat_operator import names
from mailboat_operator.desired.children import Child, Desired, possible
from mailboat_operator.observed import ChildKey, LiveChild, Observed
from mailboat_operator.pod_status import obstacle
from mailboat_operator.spec import Reload, Spec


@dataclass(frozen=True, slots=True)
class Create:
    """Create a missing child; refused if it exists by then."""

    child: Child


@dataclass(frozen=True, slots=True)
class Update:
    """Update the child with this uid."""

    child: Child
    uid: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the child with this uid."""

    key: ChildKey
    uid: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """Write the hash into the pod template, which restarts the pods."""

    workload: str
    hash: str


Action = Create | Update | Delete | Stamp


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions in order, or the conflicting objects of other owners."""

    actions: tuple[Action, ...] = ()
    foreign: tuple[ChildKey, ...] = ()
    drifted: tuple[ChildKey, ...] = ()
    """Children that another writer has changed or deleted since this very configuration was written."""


def plan(observed: Observed, spec: Spec, desired: Desired) -> Plan:
    """Compare the states; returns the actions, none if they are equal."""
    name, uid = observed.key.name, str(observed.metadata["uid"])
    live = {key: observed.children[key] for key in possible(name) if key in observed.children}
    foreign = tuple(key for key, child in live.items() if not _is_ours(child, name))
    if foreign:
        return Plan(foreign=foreign)
    stale = {key for key, child in live.items() if _is_stale(child, uid)}
    actions: list[Action] = [Delete(key, live[key].uid) for key in live if key in stale]
    drifted: list[ChildKey] = []
    programmed = (observed.status.get("config") or {}).get("hash") == desired.hash
    for child in desired.children:
        there = live.get(child.key)
        if there is not None and there.digest == child.digest and child.key not in stale:
            continue
        if programmed and child.key not in stale:
            drifted.append(child.key)
        actions.append(Create(child) if there is None or child.key in stale else Update(child, there.uid))
    wanted = {child.key for child in desired.children}
    actions += [Delete(key, live[key].uid) for key in live if key not in wanted and key not in stale]
    workload = observed.workload
    if spec.reload is Reload.RESTART and workload and workload.stamp != desired.hash and not obstacle(observed, spec):
        actions.append(Stamp(spec.target, desired.hash))
    return Plan(tuple(actions), (), tuple(drifted))


def _is_ours(child: LiveChild, name: str) -> bool:
    """Controlled by an OutboundConfig of this name, or by none and labelled as its child."""
    kind, owner, _ = child.controller
    if kind:
        return (kind, owner) == (names.KIND, name)
    return child.label == name


def _is_stale(child: LiveChild, uid: str) -> bool:
    """Owned by a deleted resource of the same name: it will be garbage-collected, so it cannot be adopted."""
    kind, _, owner = child.controller
    return bool(kind) and owner != uid

"""The life of a SendingDomain's keys: which are made, which sign, which retire. Pure; `now` is an argument.

    Generated -> Published -> Active -> Retiring -> Revoked -> gone

Each run begins with what is there: the Secret, the DNS, the pods and the times in the status, so that a run that was
cut short anywhere is made up for by the next one. A key changes its state only by facts that this very run has seen:
where the DNS or a pod does not answer, everything stays. Two rules keep each signature verifiable from its making on:

- A key signs once every authoritative server has shown its record for as long as caches may say otherwise, and every
  ready pod has it. Until then the one before it signs.
- A record goes once no pod signs with its key, no queued mail was signed with it, and mail that left last has arrived.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from mailboat.dkim.keys import Algorithm
from mailboat.dkim.record import Publication
from mailboat_operator.sending.keys import (
    UPCOMING,
    DnsAnswer,
    DomainKey,
    HeldKey,
    KeyPolicy,
    KeyState,
    NewKey,
    RelayReport,
    SelectorStyle,
)
from mailboat_operator.sending.selectors import next_selector

VANISHED: Final = timedelta(hours=1)
"""How long the record of a signing key may be missing before another key that is published signs instead."""
ARRIVAL: Final = timedelta(days=7)
"""What is added to the queue's longest life: receivers verify late, and other hosts have queues too."""
NAME_REST: Final = timedelta(days=30)
"""How long a name rests after its key: by then no cache and no log has the old one."""
CHECK: Final = timedelta(minutes=10)
CHECK_SOON: Final = timedelta(minutes=1)
"""Between two questions to the DNS, the shorter one in the first hour of a key that waits for its record."""
_SOON_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """Everything that one run knows."""

    policy: KeyPolicy
    rows: tuple[DomainKey, ...] = ()
    """The status."""
    lost: bool = False
    """Whether there is no status: it was lost, or is yet to be written."""
    held: tuple[HeldKey, ...] = ()
    """The Secrets."""
    answers: Mapping[str, DnsAnswer] = field(default_factory=dict)
    """By selector; without one, the DNS could not be asked."""
    relays: tuple[RelayReport, ...] = ()
    compromised: frozenset[str] = frozenset()
    """Selectors that the annotation names."""
    rotate: bool = False
    """Whether new keys were asked for."""
    awaited: bool = False
    """Whether a key of `existingKeys` is not there yet. Its algorithm is not known, so none is made."""
    taken: frozenset[str] = frozenset()
    """Selectors of the domain's keys in all Secrets, those of a SendingDomain that is gone included."""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """What is to be."""

    keys: tuple[DomainKey, ...]
    """The new status, oldest key first."""
    make: tuple[NewKey, ...]
    next_check: timedelta
    unjudged: bool
    """Whether the Secret has keys of which nobody can tell yet what they are: what is published stays."""

    @property
    def signing(self) -> tuple[str, ...]:
        """Selectors of the keys that sign."""
        return tuple(key.selector for key in self.keys if key.state is KeyState.ACTIVE)

    @property
    def drop(self) -> tuple[str, ...]:
        """Selectors of keys whose private half has no use any more."""
        return tuple(k.selector for k in self.keys if k.state is KeyState.REVOKED and k.held and not k.existing)


def plan_keys(facts: KeyFacts, now: datetime) -> KeyPlan:
    """One step of each key's life, and the keys that are to be made."""
    keys = [_answered(key, facts.answers.get(key.selector), now) for key in _gathered(facts, now)]
    keys = [_revoked_by_hand(key, facts.compromised, now) for key in keys]
    keys = [_watched_for_use(key, facts.relays, now) for key in keys]
    brought = {key.algorithm for key in keys if key.existing and key.held and key.state is not KeyState.REVOKED}
    wanted = {*facts.policy.algorithms, *brought}
    for algorithm in Algorithm:
        keys = _changed_over(keys, algorithm, facts, now)
    keys = _without_unwanted(keys, wanted, now)
    keys = [later for key in keys if (later := _aged(key, facts, now)) is not None]
    keys.sort(key=_age)
    ours = [algorithm for algorithm in facts.policy.algorithms if algorithm not in brought]
    make = tuple(new for algorithm in ours if (new := _new_key(keys, algorithm, facts, now)))
    unjudged = not {key.selector for key in facts.held} <= {key.selector for key in keys}
    return KeyPlan(tuple(keys), make, timedelta() if make else _next_check(keys, facts.answers, now), unjudged)


def needs_queue(rows: Iterable[DomainKey], life: timedelta, now: datetime) -> bool:
    """Whether the age of queued mail decides something in the next run; asking for it costs each pod a page."""
    return any(_is_past(key, life, now) for key in rows)


# What is there.


def _gathered(facts: KeyFacts, now: datetime) -> list[DomainKey]:
    """The status and the Secrets as one list. No time is later than now, however the clock was set before."""
    held = {key.selector: key for key in facts.held}
    keys = [_joined(_clamped(row, now), held.pop(row.selector, None), now) for row in facts.rows]
    if any(report.in_use is None for report in facts.relays):
        return keys  # a key without a row may sign already: that has to be known first
    signs = _signs(facts.relays)
    if facts.lost and any(selector not in signs and selector not in facts.answers for selector in held):
        return keys  # whether they have signed, only the DNS can tell
    newest = _newest(held.values(), signs) if facts.lost else {}
    return keys + [_found(key, newest, facts, now) for key in held.values()]


def _newest(held: Iterable[HeldKey], signs: Collection[str]) -> dict[Algorithm, str]:
    """The selector of each algorithm's newest key, where no status tells: one that signs, else the last by name."""
    return {key.algorithm: key.selector for key in sorted(held, key=lambda key: (key.selector in signs, key.selector))}


def _found(key: HeldKey, newest: Mapping[Algorithm, str], facts: KeyFacts, now: datetime) -> DomainKey:
    """A key without a row: a new one, which does not sign before it is published, whatever pods may run.

    Where the status was lost there is a `newest` of each algorithm. It goes on signing if a pod is known to sign with
    it; the others may have signed, and so may it if the DNS shows it.
    """
    state = KeyState.ACTIVE if key.selector in _signs(facts.relays) else KeyState.GENERATED
    if newest.get(key.algorithm, key.selector) != key.selector:
        state = KeyState.RETIRING
    answer = facts.answers.get(key.selector)
    shown = facts.lost and answer is not None and answer.publication is Publication.PUBLISHED
    row = DomainKey(key.selector, key.algorithm, key.record, key.public_hash, created=now, since=now, state=state)
    return replace(row, existing=key.existing, signed=now if shown or state is not KeyState.GENERATED else None)


def _joined(row: DomainKey, held: HeldKey | None, now: datetime) -> DomainKey:
    """A row and what the Secret has of it. Another key under the same name is none: caches have the first one."""
    if held is not None and held.public_hash == row.public_hash:
        return replace(row, held=True)
    lost = replace(row, held=False)
    return _ended(lost, now) if row.state in UPCOMING or row.state is KeyState.ACTIVE else lost


def _clamped(row: DomainKey, now: datetime) -> DomainKey:
    return replace(
        row,
        created=min(row.created, now),
        since=min(row.since, now),
        signed=row.signed and min(row.signed, now),
        unused_since=row.unused_since and min(row.unused_since, now),
        seen_at=row.seen_at and min(row.seen_at, now),
    )


def _answered(key: DomainKey, answer: DnsAnswer | None, now: datetime) -> DomainKey:
    """A key with what the DNS says now."""
    if answer is None:
        return key
    seen = answer.publication is Publication.PUBLISHED
    key = key if key.seen is seen else replace(key, seen=seen, seen_at=now)
    if key.state in UPCOMING:
        return _moved(key, KeyState.PUBLISHED if seen else KeyState.GENERATED, now)
    return key


def _revoked_by_hand(key: DomainKey, compromised: Collection[str], now: datetime) -> DomainKey:
    return _moved(key, KeyState.REVOKED, now) if key.selector in compromised else key


def _watched_for_use(key: DomainKey, relays: Iterable[RelayReport], now: datetime) -> DomainKey:
    """Note since when no pod signs with a retiring key; begin again when one does."""
    if key.state is not KeyState.RETIRING:
        return key
    if key.selector in _in_use(relays):
        return replace(key, unused_since=None)
    if any(report.in_use is None for report in relays):
        return key
    return replace(key, unused_since=key.unused_since or now)


# Which signs.


def _changed_over(keys: list[DomainKey], algorithm: Algorithm, facts: KeyFacts, now: datetime) -> list[DomainKey]:
    """Have the newest key sign that may, and the one before it retire: of each algorithm one key signs."""
    mine = [key for key in keys if key.algorithm is algorithm]
    active = max((key for key in mine if key.state is KeyState.ACTIVE), key=_age, default=None)
    ready = [key for key in mine if _may_sign(key, facts, now)]
    later = [key for key in ready if key.state is KeyState.PUBLISHED and (active is None or _age(key) > _age(active))]
    if not later and active is not None and _has_vanished(active, now):
        later = [key for key in ready if key.state is KeyState.RETIRING]
    signer = max(later, key=_age, default=active)
    return [_beside(key, signer, now) if key.algorithm is algorithm else key for key in keys]


def _beside(key: DomainKey, signer: DomainKey | None, now: datetime) -> DomainKey:
    """What a key becomes beside the one of its algorithm that signs."""
    if key is signer:
        return _moved(key, KeyState.ACTIVE, now)
    if key.state is KeyState.ACTIVE:
        return _moved(key, KeyState.RETIRING, now)
    if key.state in UPCOMING and not key.existing and signer is not None and _age(key) < _age(signer):
        return _ended(key, now)  # overtaken
    return key


def _without_unwanted(keys: Iterable[DomainKey], wanted: Collection[Algorithm], now: datetime) -> list[DomainKey]:
    """Retire what signs by an algorithm that is not asked for any more, once another one signs."""
    keys = [_ended(key, now) if key.algorithm not in wanted and key.state in UPCOMING else key for key in keys]
    if not any(key.state is KeyState.ACTIVE and key.algorithm in wanted for key in keys):
        return keys
    return [
        _moved(key, KeyState.RETIRING, now) if key.algorithm not in wanted and key.state is KeyState.ACTIVE else key
        for key in keys
    ]


def _may_sign(key: DomainKey, facts: KeyFacts, now: datetime) -> bool:
    """Whether all verifiers can have its record, and all ready pods have the key."""
    answer = facts.answers.get(key.selector)
    if answer is None or not key.held or not key.seen or key.seen_at is None or not facts.relays:
        return False
    return now - key.seen_at >= answer.wait and all(key.selector in report.loaded for report in facts.relays)


def _has_vanished(key: DomainKey, now: datetime) -> bool:
    return key.seen is False and key.seen_at is not None and now - key.seen_at >= VANISHED


# What goes.


def _aged(key: DomainKey, facts: KeyFacts, now: datetime) -> DomainKey | None:
    """A key that has had its time, one state further; None: it is gone."""
    if key.state is KeyState.REVOKED and now - key.since >= NAME_REST:
        return None
    life = max((report.life for report in facts.relays), default=timedelta())
    if facts.policy.style is SelectorStyle.ALTERNATING:
        life = max(life, NAME_REST - ARRIVAL)
    if not facts.relays or not _is_past(key, life, now) or not all(_has_let_go(r, key) for r in facts.relays):
        return key
    return _moved(key, KeyState.REVOKED, now)


def _is_past(key: DomainKey, life: timedelta, now: datetime) -> bool:
    retiring = key.state is KeyState.RETIRING and key.unused_since is not None
    return retiring and now - (key.unused_since or now) >= life + ARRIVAL


def _has_let_go(report: RelayReport, key: DomainKey) -> bool:
    """Whether all pods have answered, and nothing in their queues is as old as the key's last signature."""
    oldest, unused_since = report.oldest_queued, key.unused_since
    known = report.complete and report.in_use is not None
    return known and oldest is not None and unused_since is not None and oldest > unused_since


# What is made, and when to look again.


def _new_key(keys: Collection[DomainKey], algorithm: Algorithm, facts: KeyFacts, now: datetime) -> NewKey | None:
    """The key to make for an algorithm, unless one is on its way, or the one that signs is young enough."""
    mine = [key for key in keys if key.algorithm is algorithm]
    known = {key.selector for key in keys}
    unjudged = any(key.algorithm is algorithm and key.selector not in known for key in facts.held)
    if facts.awaited or unjudged or any(key.state in UPCOMING for key in mine):
        return None
    active = next((key for key in mine if key.state is KeyState.ACTIVE), None)
    old = active is None or (not facts.policy.suspended and now - active.since >= facts.policy.every)
    if not old and not facts.rotate:
        return None
    selector = next_selector(facts.policy, algorithm, known | facts.compromised | facts.taken, now)
    return NewKey(selector, algorithm) if selector else None


def _next_check(keys: Collection[DomainKey], answers: Mapping[str, DnsAnswer], now: datetime) -> timedelta:
    """Soon for a key whose record may come any moment; for one that waits for caches only, when they have forgotten."""
    soon = any(key.state in UPCOMING and now - key.since < _SOON_FOR for key in keys)
    waits = (
        key.seen_at + answers[key.selector].wait - now
        for key in keys
        if key.state is KeyState.PUBLISHED and key.seen_at and key.selector in answers
    )
    return min([CHECK_SOON if soon else CHECK, *(wait for wait in waits if wait > timedelta())])


def _ended(key: DomainKey, now: datetime) -> DomainKey:
    """A key that is to sign no more: its record stays while mail that it has signed may be on its way."""
    has_signed = key.signed or key.state is KeyState.ACTIVE
    return _moved(key, KeyState.RETIRING if has_signed else KeyState.REVOKED, now)


def _moved(key: DomainKey, state: KeyState, now: datetime) -> DomainKey:
    """The key in a state, since now unless it is in it already."""
    if key.state is state:
        return key
    signed = key.signed or (now if state is KeyState.ACTIVE else None)
    return replace(key, state=state, since=now, signed=signed, unused_since=None)


def _in_use(relays: Iterable[RelayReport]) -> frozenset[str]:
    return frozenset().union(*(report.in_use or () for report in relays))


def _signs(relays: Iterable[RelayReport]) -> frozenset[str]:
    return frozenset().union(*(report.signs for report in relays))


def _age(key: DomainKey) -> tuple[datetime, str]:
    return key.created, key.selector

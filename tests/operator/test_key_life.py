"""The life of a SendingDomain's keys: each step by the facts that it needs, and what trouble changes about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailboat.dkim.keys import Algorithm
from mailboat.dkim.record import Publication
from mailboat_operator.sending.keys import (
    DnsAnswer,
    DomainKey,
    HeldKey,
    KeyPolicy,
    KeyState,
    NewKey,
    RelayReport,
    SelectorStyle,
)
from mailboat_operator.sending.life import (
    ARRIVAL,
    CHECK,
    CHECK_SOON,
    NAME_REST,
    VANISHED,
    KeyFacts,
    KeyPlan,
    needs_queue,
    plan_keys,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIFE = 5 * DAY
RSA = KeyPolicy((Algorithm.RSA,))
BOTH = KeyPolicy()

PUBLISHED = DnsAnswer(Publication.PUBLISHED, HOUR)
MISSING = DnsAnswer(Publication.MISSING, HOUR)


def held(selector: str, algorithm: Algorithm = Algorithm.RSA, *, key: str = "", existing: bool = False) -> HeldKey:
    name = key or selector
    return HeldKey(selector, algorithm, f"v=DKIM1; k={algorithm.value}; p={name}", f"sha256:{name}", existing)


def row(selector: str, state: KeyState, age: timedelta = 400 * DAY, **more: Any) -> DomainKey:
    """A key that came into its state so long ago."""
    key = held(selector, more.pop("algorithm", Algorithm.RSA))
    since = NOW - age
    created = more.pop("created", since)
    seen: dict[str, Any] = {} if state is KeyState.GENERATED else {"seen": True, "seen_at": since}
    found = DomainKey(key.selector, key.algorithm, key.record, key.public_hash, created, since, state, **seen)
    return replace(found, **more)


def relay(*loaded: str, **more: Any) -> RelayReport:
    """Pods that have these keys, sign with none, and have an empty queue."""
    return RelayReport(loaded=frozenset(loaded), **{"life": LIFE, "oldest_queued": NOW, **more})


def planned(*rows: DomainKey, answers: Mapping[str, DnsAnswer] | None = None, **more: Any) -> KeyPlan:
    """The plan for keys that are all in the Secret, published and loaded, where nothing else is said."""
    names = [key.selector for key in rows]
    secrets = more.pop("held", tuple(held(key.selector, key.algorithm) for key in rows))
    reports = more.pop("relays", (relay(*names),))
    said = dict.fromkeys(names, PUBLISHED) if answers is None else answers
    facts = KeyFacts(more.pop("policy", RSA), rows, more.pop("lost", not rows), secrets, said, reports, **more)
    return plan_keys(facts, NOW)


def states(plan: KeyPlan) -> dict[str, str]:
    return {key.selector: key.state.value for key in plan.keys}


# From nothing to signing.


def test_a_new_domain_gets_a_key_of_each_algorithm_named_by_the_day() -> None:
    plan = planned(policy=BOTH)

    assert plan.make == (NewKey("mb20261128r", Algorithm.RSA), NewKey("mb20261128e", Algorithm.ED25519))
    assert plan.signing == ()
    assert plan.next_check == timedelta()


def test_a_key_that_is_in_the_secret_and_not_in_the_status_is_taken_up_and_none_is_made() -> None:
    """The operator died between the Secret and the status."""
    plan = planned(held=(held("mb20261128r"),), answers={}, lost=False)

    assert states(plan) == {"mb20261128r": "Generated"}
    assert plan.make == ()
    assert plan.next_check == CHECK_SOON


def test_a_record_that_every_server_shows_makes_the_key_published_and_it_does_not_sign_yet() -> None:
    plan = planned(row("a", KeyState.GENERATED, HOUR))

    assert states(plan) == {"a": "Published"}
    assert plan.keys[0].seen_at == NOW
    assert plan.signing == ()


@pytest.mark.parametrize(("seen_for", "signs"), [(59, False), (60, True)])
def test_a_key_signs_once_its_record_has_been_seen_for_as_long_as_caches_may_differ(seen_for: int, signs: bool) -> None:
    plan = planned(row("a", KeyState.PUBLISHED, timedelta(minutes=seen_for)))

    assert plan.signing == (("a",) if signs else ())


NOT_YET: dict[str, dict[str, Any]] = {
    "a pod lacks it": {"relays": (relay(), relay("a"))},
    "no relay is known": {"relays": ()},
    "the DNS cannot be asked": {"answers": {}},
    "the caches live longer": {"answers": {"a": DnsAnswer(Publication.PUBLISHED, 2 * DAY)}},
}


@pytest.mark.parametrize("facts", NOT_YET.values(), ids=NOT_YET)
def test_a_published_key_waits_while(facts: dict[str, Any]) -> None:
    plan = planned(row("a", KeyState.PUBLISHED, DAY), **facts)

    assert states(plan) == {"a": "Published"}
    assert plan.make == ()


@pytest.mark.parametrize("said", [p for p in Publication if p is not Publication.PUBLISHED])
def test_a_record_that_says_something_else_does_not_count(said: Publication) -> None:
    plan = planned(row("a", KeyState.PUBLISHED, DAY), answers={"a": DnsAnswer(said)})

    assert states(plan) == {"a": "Generated"}
    assert plan.keys[0].seen is False


def test_a_domain_that_is_not_ours_signs_nothing_for_ever() -> None:
    plan = planned(row("a", KeyState.GENERATED, 4000 * DAY), answers={"a": MISSING})

    assert plan.signing == ()
    assert plan.make == ()
    assert plan.next_check == CHECK


# Rotation.


@pytest.mark.parametrize(("age", "made"), [(179, False), (180, True)])
def test_another_key_is_made_when_the_one_that_signs_is_old(age: int, made: bool) -> None:
    plan = planned(row("a", KeyState.ACTIVE, age * DAY))

    assert plan.make == ((NewKey("mb20261128r", Algorithm.RSA),) if made else ())
    assert plan.signing == ("a",)


def test_suspended_rotation_makes_no_key_by_age_and_one_by_request() -> None:
    policy = replace(RSA, suspended=True)

    assert planned(row("a", KeyState.ACTIVE), policy=policy).make == ()
    assert planned(row("a", KeyState.ACTIVE), policy=policy, rotate=True).make != ()


@pytest.mark.parametrize("state", [KeyState.GENERATED, KeyState.PUBLISHED])
def test_a_key_that_is_on_its_way_serves_a_request_too(state: KeyState) -> None:
    active, coming = row("a", KeyState.ACTIVE, DAY), row("b", state, timedelta())

    assert planned(active, coming, rotate=True).make == ()


def test_a_second_key_of_the_day_has_a_name_of_its_own() -> None:
    plan = planned(row("mb20261128r", KeyState.ACTIVE, HOUR), rotate=True)

    assert plan.make == (NewKey("mb20261128r2", Algorithm.RSA),)


def test_the_old_key_signs_until_the_new_one_does_and_then_retires() -> None:
    old = row("a", KeyState.ACTIVE)

    before = planned(old, row("b", KeyState.PUBLISHED, HOUR / 2))
    after = planned(old, row("b", KeyState.PUBLISHED, HOUR))

    assert before.signing == ("a",)
    assert after.signing == ("b",)
    assert states(after) == {"a": "Retiring", "b": "Active"}


def test_algorithms_rotate_apart() -> None:
    plan = planned(
        row("r1", KeyState.ACTIVE),
        row("r2", KeyState.PUBLISHED, HOUR),
        row("e1", KeyState.ACTIVE, DAY, algorithm=Algorithm.ED25519),
        policy=BOTH,
    )

    assert states(plan) == {"r1": "Retiring", "r2": "Active", "e1": "Active"}


def test_an_algorithm_that_is_not_asked_for_any_more_signs_until_another_one_does() -> None:
    policy = KeyPolicy((Algorithm.ED25519,))
    old = row("r", KeyState.ACTIVE)

    alone = planned(old, policy=policy)
    beside = planned(old, row("e", KeyState.PUBLISHED, HOUR, algorithm=Algorithm.ED25519), policy=policy)

    assert alone.signing == ("r",)
    assert [new.algorithm for new in alone.make] == [Algorithm.ED25519]
    assert states(beside) == {"r": "Retiring", "e": "Active"}


def test_alternating_names_wait_until_one_is_free() -> None:
    policy = replace(RSA, style=SelectorStyle.ALTERNATING)
    old, active = row("mb-a", KeyState.RETIRING), row("mb-b", KeyState.ACTIVE)

    assert planned(policy=policy).make == (NewKey("mb-a", Algorithm.RSA),)
    assert planned(old, active, policy=policy).make == ()
    assert planned(active, policy=policy).make == (NewKey("mb-a", Algorithm.RSA),)


def test_alternating_names_of_ed25519_stand_beside_those_of_rsa() -> None:
    plan = planned(policy=replace(BOTH, style=SelectorStyle.ALTERNATING))

    assert [new.selector for new in plan.make] == ["mb-a", "mb-ea"]


# Retiring.


def test_a_key_is_out_of_use_only_when_no_pod_signs_with_it_any_more() -> None:
    old, new = row("a", KeyState.RETIRING, DAY), row("b", KeyState.ACTIVE, DAY)

    behind = planned(old, new, relays=(relay("a", "b", in_use=frozenset("a")),))
    unknown = planned(old, new, relays=(relay("a", "b", in_use=None),))
    done = planned(old, new, relays=(relay("a", "b", in_use=frozenset("b")),))

    assert [plan.keys[0].unused_since for plan in (behind, unknown, done)] == [None, None, NOW]


def test_a_pod_that_falls_back_to_an_older_key_begins_its_time_again() -> None:
    old = row("a", KeyState.RETIRING, 300 * DAY, unused_since=NOW - 300 * DAY)

    plan = planned(old, row("b", KeyState.ACTIVE, DAY), relays=(relay("a", "b", in_use=frozenset("ab")),))

    assert plan.keys[0].state is KeyState.RETIRING
    assert plan.keys[0].unused_since is None


def retiring(unused: timedelta) -> DomainKey:
    return row("a", KeyState.RETIRING, unused, unused_since=NOW - unused)


def test_a_record_is_revoked_when_the_queues_life_and_a_week_have_passed() -> None:
    active = row("b", KeyState.ACTIVE, DAY)

    early = planned(retiring(LIFE + ARRIVAL - HOUR), active)
    due = planned(retiring(LIFE + ARRIVAL), active)

    assert states(early)["a"] == "Retiring"
    assert states(due)["a"] == "Revoked"
    assert due.keys[0].value == "v=DKIM1; k=rsa; p="
    assert due.drop == ("a",)


KEEPS: dict[str, dict[str, Any]] = {
    "mail of its time is queued, held perhaps": {"oldest_queued": NOW - 50 * DAY},
    "the age of the queue is not known": {"oldest_queued": None},
    "a pod has not answered": {"complete": False},
    "no pod was asked": {"in_use": None},
    "another relay's mail waits longer": {"life": 60 * DAY},
}


@pytest.mark.parametrize("report", KEEPS.values(), ids=KEEPS)
def test_a_record_stays_while(report: dict[str, Any]) -> None:
    reports = (relay("a", "b"), relay("a", "b", **report))

    plan = planned(retiring(40 * DAY), row("b", KeyState.ACTIVE, DAY), relays=reports)

    assert states(plan)["a"] == "Retiring"


def test_the_age_of_the_queue_is_asked_for_only_when_it_decides() -> None:
    assert not needs_queue([row("b", KeyState.ACTIVE), retiring(LIFE)], LIFE, NOW)
    assert needs_queue([retiring(LIFE + ARRIVAL)], LIFE, NOW)


def test_a_revoked_key_is_forgotten_when_its_name_has_rested() -> None:
    active = row("b", KeyState.ACTIVE, DAY)

    assert states(planned(row("a", KeyState.REVOKED, NAME_REST - HOUR), active)) == {"a": "Revoked", "b": "Active"}
    assert states(planned(row("a", KeyState.REVOKED, NAME_REST), active, held=(held("b"),))) == {"b": "Active"}


# The failure table.


@pytest.mark.parametrize("hours", [0.9, 1.0, 1000.0])
def test_a_record_that_vanishes_while_its_key_signs_is_no_reason_to_rotate_or_to_stop_signing(hours: float) -> None:
    plan = planned(row("a", KeyState.ACTIVE, 10 * DAY, seen=False, seen_at=NOW - hours * HOUR), answers={"a": MISSING})

    assert plan.signing == ("a",)
    assert plan.make == ()


@pytest.mark.parametrize(("missing_for", "signs"), [(VANISHED / 2, "b"), (VANISHED, "a")])
def test_after_an_hour_without_its_record_another_key_that_is_seen_signs(missing_for: timedelta, signs: str) -> None:
    old = row("a", KeyState.RETIRING, 10 * DAY)
    new = row("b", KeyState.ACTIVE, 10 * DAY, created=NOW - 9 * DAY, seen=False, seen_at=NOW - missing_for)

    plan = planned(old, new, answers={"a": PUBLISHED, "b": MISSING})

    assert plan.signing == (signs,)
    assert plan.make == ()


def test_a_record_that_comes_back_changes_nothing_again() -> None:
    old = row("a", KeyState.ACTIVE, HOUR, created=NOW - 20 * DAY)
    new = row("b", KeyState.RETIRING, HOUR, created=NOW - 9 * DAY)

    assert planned(old, new).signing == ("a",)


def test_while_the_dns_cannot_be_asked_no_state_changes() -> None:
    rows = (
        row("a", KeyState.ACTIVE, DAY, seen=False, seen_at=NOW - DAY),
        row("b", KeyState.PUBLISHED, DAY),
        row("c", KeyState.REVOKED, DAY),
    )

    plan = planned(*rows, answers={})

    assert states(plan) == {"a": "Active", "b": "Published", "c": "Revoked"}
    assert {key.selector: key.seen for key in plan.keys} == {"a": False, "b": True, "c": True}


def test_a_key_that_was_deleted_by_hand_is_followed_by_one_of_another_name() -> None:
    """Its record stays for mail under way; its name is not used again."""
    plan = planned(row("mb20261128r", KeyState.ACTIVE, HOUR), held=())

    assert states(plan) == {"mb20261128r": "Retiring"}
    assert plan.keys[0].value.endswith("p=mb20261128r")
    assert plan.make == (NewKey("mb20261128r2", Algorithm.RSA),)


def test_a_key_that_was_deleted_before_it_signed_is_revoked() -> None:
    plan = planned(row("mb20261128r", KeyState.PUBLISHED, HOUR), held=())

    assert states(plan) == {"mb20261128r": "Revoked"}
    assert [new.selector for new in plan.make] == ["mb20261128r2"]


def test_another_key_under_the_same_name_signs_nothing() -> None:
    """Caches have the first one: KeyChangedUnderSelector."""
    plan = planned(row("a", KeyState.ACTIVE, HOUR), held=(held("a", key="another"),))

    assert states(plan) == {"a": "Retiring"}
    assert plan.keys[0].value.endswith("p=a")
    assert not plan.keys[0].held


@pytest.mark.parametrize("state", [KeyState.GENERATED, KeyState.PUBLISHED, KeyState.ACTIVE, KeyState.RETIRING])
def test_a_compromised_key_stops_signing_at_once_and_another_is_made(state: KeyState) -> None:
    plan = planned(row("a", state, HOUR), compromised=frozenset("a"))

    assert states(plan) == {"a": "Revoked"}
    assert plan.keys[0].value == "v=DKIM1; k=rsa; p="
    assert plan.drop == ("a",)
    assert [new.algorithm for new in plan.make] == [Algorithm.RSA]


def test_beside_a_compromised_key_the_other_algorithm_signs_on() -> None:
    other = row("e", KeyState.ACTIVE, HOUR, algorithm=Algorithm.ED25519)

    plan = planned(row("r", KeyState.ACTIVE, HOUR), other, policy=BOTH, compromised=frozenset("r"))

    assert plan.signing == ("e",)


def test_no_key_is_made_under_a_name_that_is_called_compromised() -> None:
    plan = planned(compromised=frozenset({"mb20261128r"}))

    assert [new.selector for new in plan.make] == ["mb20261128r2"]


def test_a_clock_that_was_ahead_holds_up_nothing_for_longer_than_from_now_on() -> None:
    ahead = row("a", KeyState.PUBLISHED, -4000 * DAY)

    plan = planned(ahead)

    assert plan.signing == ()
    assert plan.keys[0].seen_at == NOW


def test_a_lost_status_keeps_the_key_signing_that_signs_and_the_others_published() -> None:
    """A restored resource has none; what the pods run tells which key signs."""
    reports = (relay("a", "b", in_use=frozenset("b"), signs=frozenset("b")),)

    plan = planned(held=(held("a"), held("b")), answers={"a": PUBLISHED}, relays=reports)

    assert states(plan) == {"a": "Retiring", "b": "Active"}
    assert plan.make == ()


def test_a_lost_status_of_a_domain_of_which_no_pod_runs_a_key_retires_all_but_the_newest() -> None:
    plan = planned(held=(held("a"), held("b")), answers={"a": MISSING, "b": MISSING})

    assert states(plan) == {"a": "Retiring", "b": "Generated"}


def test_after_a_lost_status_nothing_is_judged_or_made_before_the_dns_tells_what_may_have_signed() -> None:
    plan = planned(held=(held("a"), held("b")), answers={})

    assert (plan.keys, plan.make, plan.unjudged) == ((), (), True)


def test_a_key_without_a_row_does_not_sign_because_a_pod_may_sign_with_it() -> None:
    """A pod that runs something unknown may sign with any key, also with one that was made a moment ago."""
    reports = (relay("old", "new", in_use=frozenset({"old", "new"})),)
    old = row("old", KeyState.ACTIVE, DAY)

    later = planned(old, held=(held("old"), held("new")), answers={"old": PUBLISHED, "new": MISSING}, relays=reports)
    first = planned(held=(held("new"),), answers={"new": MISSING}, relays=reports)

    assert states(later) == {"old": "Active", "new": "Generated"}
    assert states(first) == {"new": "Generated"}
    assert first.keys[0].signed is None


def test_a_key_that_may_have_signed_before_the_status_was_lost_keeps_its_record_when_it_goes() -> None:
    """After a restart nobody knows what the pods sign with; what the DNS shows has been in use."""
    reports = (relay("a", in_use=frozenset("a")),)

    (found,) = planned(held=(held("a"),), answers={"a": PUBLISHED}, relays=reports).keys
    overtaken = planned(found, row("b", KeyState.ACTIVE, -DAY))

    assert (found.state, found.signed) == (KeyState.PUBLISHED, NOW)
    assert states(overtaken)["a"] == "Retiring"


def test_before_the_pods_are_known_no_key_without_a_row_is_judged_or_made() -> None:
    plan = planned(held=(held("mb1r"),), answers={}, relays=(relay(in_use=None),))

    assert (plan.keys, plan.make) == ((), ())


# Keys that users brought.


def test_a_key_that_was_brought_signs_under_the_same_rules_and_none_is_made_beside_it() -> None:
    brought = (held("theirs", existing=True),)

    first = planned(held=brought, answers={"theirs": PUBLISHED})
    later = planned(row("theirs", KeyState.PUBLISHED, HOUR, existing=True), held=brought)

    assert (first.signing, first.make) == ((), ())
    assert (later.signing, later.make) == (("theirs",), ())


def test_while_a_key_that_was_brought_is_refused_none_is_made() -> None:
    """Nobody knows its algorithm yet."""
    assert planned(awaited=True).make == ()


def test_a_key_that_was_brought_is_never_rotated_nor_taken_out_of_its_secret() -> None:
    rows = row("theirs", KeyState.ACTIVE, 4000 * DAY, existing=True)
    brought = (held("theirs", existing=True),)

    assert planned(rows, held=brought, rotate=True).make == ()
    assert planned(rows, held=brought, compromised=frozenset({"theirs"})).drop == ()


def test_our_key_signs_until_the_one_that_was_brought_can() -> None:
    ours, theirs = row("a", KeyState.ACTIVE, DAY), row("theirs", KeyState.PUBLISHED, HOUR / 2, existing=True)
    secrets = (held("a"), held("theirs", existing=True))

    assert planned(ours, theirs, held=secrets).signing == ("a",)
    ripe = replace(theirs, seen_at=NOW - HOUR)
    assert planned(ours, ripe, held=secrets).signing == ("theirs",)

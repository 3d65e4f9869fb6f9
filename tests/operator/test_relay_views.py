"""What hashes that pods report say of keys: who has one, who signs with it, and what is not known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Collection, Sequence

from mailboat_operator.observed import ObjectKey, PodState
from mailboat_operator.relay_views import RelayViews
from mailboat_operator.sending.signed import SignedDomain

RELAY = ObjectKey("mail", "relay")
HASHES = {"a": "sha256:a", "b": "sha256:b"}
EXAMPLE_NEW = SignedDomain("example.com", {}, HASHES, ("b",))


KIB = 2**10


def views(*pods: str, wanted: int = 2) -> RelayViews:
    """After two configurations, of which `old` has and signs with the key a, `new` has both and signs with b."""
    found = RelayViews()
    found.rendered(RELAY, "old", [SignedDomain("example.com", {}, {"a": "sha256:a"}, ("a",))], 60.0)
    found.rendered(RELAY, "new", [EXAMPLE_NEW], 60.0)
    found.asked(
        RELAY, [PodState(f"relay-{number}", ready=True, hash=hash_) for number, hash_ in enumerate(pods)], wanted
    )
    return found


def test_a_key_is_loaded_when_every_ready_pod_has_it_and_in_use_while_one_signs_with_it() -> None:
    behind = views("old", "new").report(RELAY, "example.com", HASHES)
    done = views("new", "new").report(RELAY, "example.com", HASHES)

    assert (behind.loaded, behind.in_use) == (frozenset("a"), frozenset("ab"))
    assert (done.loaded, done.in_use) == (frozenset("ab"), frozenset("b"))
    assert done.complete


def test_a_pod_that_runs_something_unknown_or_is_silent_may_sign_with_any_key_and_has_none_for_sure() -> None:
    for hash_ in ("of another process", ""):
        report = views("new", hash_).report(RELAY, "example.com", HASHES)
        assert (report.loaded, report.in_use) == (frozenset(), frozenset("ab"))
        assert report.signs == frozenset("b")  # of the other pod, and written last


def test_pods_that_are_missing_leave_the_answer_incomplete() -> None:
    assert not views("new").report(RELAY, "example.com", HASHES).complete


def test_without_a_ready_pod_no_key_is_loaded() -> None:
    report = views().report(RELAY, "example.com", HASHES)

    assert (report.loaded, report.in_use) == (frozenset(), frozenset())


def test_another_key_of_the_same_name_or_of_another_domain_is_another_key() -> None:
    assert views("new", "new").report(RELAY, "example.com", {"b": "sha256:other"}).in_use == frozenset()
    assert views("new", "new").report(RELAY, "example.net", HASHES).loaded == frozenset()


def test_before_its_pods_were_asked_nothing_is_known_of_a_relay() -> None:
    assert RelayViews().report(RELAY, "example.com", HASHES).in_use is None


def changes(found: RelayViews, *rounds: Sequence[str]) -> list[Collection[str] | None]:
    """What is told when two pods that are wanted are asked again and report these hashes in turn."""
    told: list[Collection[str] | None] = []
    found.changed = lambda _, domains: told.append(domains)
    for hashes in rounds:
        found.asked(RELAY, [PodState(f"relay-{n}", ready=True, hash=hash_) for n, hash_ in enumerate(hashes)], 2)
    return told


def test_a_change_of_what_pods_run_is_told_once_with_the_domains_that_it_is_about() -> None:
    found = views("old", "old")
    found.rendered(RELAY, "other", [SignedDomain("other.test", {}, HASHES), EXAMPLE_NEW], 60.0)

    old, new, other = ("old", "old"), ("new", "new"), ("other", "other")
    assert changes(found, old, new, new) == [{"example.com"}]
    assert changes(found, other, ("new", "other")) == [{"other.test"}, {"other.test"}]
    assert changes(found, old) == [{"example.com", "other.test"}]


def test_a_configuration_that_differs_in_no_key_is_told_of_nobody() -> None:
    found = views("new", "new")
    found.rendered(RELAY, "newer", [EXAMPLE_NEW], 60.0)

    assert changes(found, ("newer", "new"), ("newer", "newer")) == []


def test_all_domains_are_told_when_a_pod_comes_or_goes_or_runs_something_unknown_or_unknown_before() -> None:
    assert changes(views("old", "old"), ("old",), (), ("old", "old")) == [None, None, None]
    assert changes(views("old", "old"), ("?", "old"), ("?", "old"), ("new", "new")) == [None, None]
    assert changes(RelayViews(), ("old", "old")) == [None]


def test_what_is_rendered_again_after_a_restart_is_told_as_known_from_then_on() -> None:
    """The pods report the same hash all the time; the operator learns what it stands for."""
    found = views("newer", "newer")
    found.rendered(RELAY, "newer", [EXAMPLE_NEW], 60.0)

    assert changes(found, ("newer", "newer"), ("newer", "newer")) == [None]


def test_what_each_ready_pod_signs_with_is_known_when_all_run_something_known() -> None:
    assert views("new", "old").report(RELAY, "example.com", HASHES).signing == (frozenset("b"), frozenset("a"))
    assert views("new", "of another process").report(RELAY, "example.com", HASHES).signing is None
    assert RelayViews().report(RELAY, "example.com", HASHES).signing is None


def test_what_is_remembered_of_renderings_grows_by_what_has_changed_in_them_and_not_by_all_domains() -> None:
    """64 renderings of a thousand domains, each with one change, are a table of references each: 36 KiB."""
    domains = {f"d{n}.test": SignedDomain(f"d{n}.test", {}, HASHES, ("b",)) for n in range(1000)}
    found = RelayViews()
    tracemalloc.start()
    try:
        for number in range(64):
            name = f"d{number}.test"
            domains[name] = SignedDomain(name, {}, HASHES, ("a",))
            found.rendered(RELAY, f"hash {number}", domains.values(), 60.0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken < 64 * 64 * KIB
    found.asked(RELAY, [PodState("relay-0", ready=True, hash="hash 10")], 1)
    assert found.report(RELAY, "d10.test", HASHES).in_use == frozenset("a")
    assert found.report(RELAY, "d11.test", HASHES).in_use == frozenset("b")

"""The hooks of delivery: when each is called, with what, what its answer does, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from tests.support.engine_rig import Rig
from tests.support.memory_store import MemoryStore

from mailboat.delivery.engine import Engine
from mailboat.hooks import (
    CONT,
    DELAY,
    DENY,
    DENYSOFT,
    OK,
    Answer,
    BounceError,
    DeferredInfo,
    Delivered,
    HMail,
    Mx,
)
from mailboat.model.observer import BounceResult, HookFailure
from mailboat.model.outcome import AttemptReport, Result, Stage
from mailboat.queue.store import Selection, Verb
from mailboat.routing.answers import Targets

HOUR = (3600.0,)


def says(answer: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A hook with one answer."""

    async def hook(*_: Any) -> Any:
        return answer

    return hook


async def one_attempt(rig: Rig, *recipients: str, sender: str = "alice@sender.test") -> AttemptReport:
    """Queue a message, and wait until its attempt is recorded."""
    rig.engine.start()
    await rig.accept(*recipients or ("a@one.test",), sender=sender)
    await rig.attempted(1)
    await rig.engine.drain(1)
    return rig.observer.attempts[0][1]


def results(report: AttemptReport) -> list[Result]:
    return [outcome.result for outcome in report.outcomes]


# send_email.


async def test_a_delay_before_sending_counts_no_attempt_and_is_stored() -> None:
    rig = Rig()
    rig.plug(send_email=says((DELAY, 3600)))
    before = rig.clock.now()
    report = await one_attempt(rig)
    (left,) = await rig.left()
    assert rig.attempter.started == []
    assert (report.counted, report.outcomes[0].stage) == (False, Stage.HOOK)
    assert left.attempts == 0
    assert left.next_attempt is not None
    assert before + 3600 <= left.next_attempt <= rig.clock.now() + 3600


async def test_a_delay_of_nothing_does_not_ask_without_end() -> None:
    rig = Rig()
    rig.plug(send_email=says((DELAY, 0)))
    before = rig.clock.now()
    await one_attempt(rig)
    (left,) = await rig.left()
    assert left.next_attempt is not None
    assert left.next_attempt >= before + 1


@pytest.mark.parametrize("answer", [None, CONT, OK])
async def test_any_other_word_before_sending_lets_it_go(answer: Answer) -> None:
    rig = Rig()
    rig.plug(send_email=says(answer))
    assert results(await one_attempt(rig)) == [Result.DELIVERED]


# get_mx.


async def test_the_hops_of_get_mx_are_used_in_the_order_given() -> None:
    rig = Rig()
    given = ["b.test:2525", Mx(exchange="a.test", priority=-5, bind="192.0.2.9", bind_helo="out.test"), "lmtp://c.test"]
    rig.plug(get_mx=says((OK, given)))
    await one_attempt(rig)
    ((domain, hops, force_tls),) = rig.hop_router.asked
    assert (domain, force_tls) == ("one.test", False)
    assert [(hop.host, hop.port) for hop in hops] == [("b.test", 2525), ("a.test", 25), ("c.test", 24)]
    assert (hops[1].bind, hops[1].ehlo) == ("192.0.2.9", "out.test")
    assert isinstance(rig.attempter.answers[0], Targets)


async def test_a_refusal_of_get_mx_bounces_with_its_text() -> None:
    rig = Rig()
    rig.plug(get_mx=says((DENY, "not\r\n there")))
    report = await one_attempt(rig)
    outcome = report.outcomes[0]
    assert (outcome.result, outcome.status, outcome.reason) == (Result.BOUNCED, "5.1.2", "not there")
    assert rig.observer.bounces[0] is BounceResult.QUEUED
    assert rig.attempter.started == []


async def test_a_soft_refusal_of_get_mx_defers_and_counts() -> None:
    rig = Rig(temp_fail_intervals=HOUR)
    rig.plug(get_mx=says(DENYSOFT))
    report = await one_attempt(rig)
    outcome = report.outcomes[0]
    assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.1.2")
    assert outcome.reason == "Temporary MX lookup error for one.test"
    (left,) = await rig.left()
    assert left.attempts == 1


def _raise(*_: Any) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("answer", [(OK, []), (OK, "http://x"), (OK, Mx), (OK, None), DELAY, "text", (OK, "a", "b")])
async def test_nonsense_of_get_mx_waits_without_counting_and_goes_no_other_way(answer: Any) -> None:
    rig = Rig()
    rig.plug(get_mx=says(answer))
    report = await one_attempt(rig)
    assert (results(report), report.counted) == ([Result.DEFERRED], False)
    assert rig.observer.failures == [("get_mx", HookFailure.INVALID_ANSWER)]
    assert rig.attempter.started == []
    assert [entry.attempts for entry in await rig.left()] == [0]


# deferred.


async def test_the_deferred_hook_hears_why_who_and_for_how_long() -> None:
    heard: list[tuple[HMail, DeferredInfo]] = []

    async def deferred(hmail: HMail, info: DeferredInfo) -> None:
        heard.append((hmail, info))

    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.mixed = {"b@one.test": Result.DEFERRED}
    rig.plug(deferred=deferred)
    await one_attempt(rig, "a@one.test", "b@one.test")
    ((hmail, info),) = heard
    assert info.delay == 3600
    assert info.err == "450 4.2.0 later"
    assert [str(address) for address in info.fail_recips] == ["b@one.test"]
    assert info.mx is not None
    assert info.mx.exchange == "mx.example.net"
    assert [str(address) for address in hmail.todo.rcpt_to] == ["a@one.test", "b@one.test"]


async def test_another_delay_replaces_the_planned_one() -> None:
    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.plug(deferred=says((DENYSOFT, 30)))
    before = rig.clock.now()
    await one_attempt(rig)
    (left,) = await rig.left()
    assert left.attempts == 1
    assert left.next_attempt is not None
    assert before + 30 <= left.next_attempt <= rig.clock.now() + 30


@pytest.mark.parametrize(
    "answer", [(DENYSOFT, "30"), (DENYSOFT, -1), (DENYSOFT, 0), (DENYSOFT, float("nan")), (DENYSOFT, 1e300), DENY, 7]
)
async def test_a_delay_that_is_none_leaves_the_planned_one(answer: Any) -> None:
    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.plug(deferred=says(answer))
    before = rig.clock.now()
    await one_attempt(rig)
    (left,) = await rig.left()
    assert left.next_attempt is not None
    assert before + 3600 <= left.next_attempt <= rig.clock.now() + 3600


async def test_ok_of_the_deferred_hook_drops_and_tells_nobody() -> None:
    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.plug(deferred=says(OK))
    assert results(await one_attempt(rig)) == [Result.DROPPED]
    assert (await rig.left(), rig.observer.bounces) == ([], [])


async def test_the_last_failure_is_a_bounce_and_no_deferral() -> None:
    calls: list[str] = []
    heard: list[BounceError] = []

    async def deferred(*_: Any) -> None:
        calls.append("deferred")

    async def bounce(_: HMail, error: BounceError) -> None:
        calls.append("bounce")
        heard.append(error)

    rig = Rig(temp_fail_intervals=())
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.plug(deferred=deferred, bounce=bounce)
    await one_attempt(rig)
    assert calls == ["bounce"]
    assert "Too many failures" in str(heard[0])
    assert [str(a) for a in heard[0].deferred_rcpt] == ["a@one.test"]
    assert heard[0].bounced_rcpt == []


# bounce.


async def test_ok_of_the_bounce_hook_suppresses_the_report_and_is_counted() -> None:
    rig = Rig()
    rig.attempter.results["one.test"] = Result.BOUNCED
    rig.plug(bounce=says(OK))
    assert results(await one_attempt(rig)) == [Result.DROPPED]
    assert rig.observer.bounces == [BounceResult.SUPPRESSED]
    assert (rig.bounces.written, await rig.left()) == (0, [])


@pytest.mark.parametrize("answer", [None, DENY, DENYSOFT, DELAY, (OK, 5), "OK"])
async def test_any_other_word_lets_the_report_go(answer: Any) -> None:
    rig = Rig()
    rig.attempter.results["one.test"] = Result.BOUNCED
    rig.plug(bounce=says(answer))
    assert results(await one_attempt(rig)) == [Result.BOUNCED]
    assert rig.observer.bounces == [BounceResult.QUEUED]


async def test_mail_of_the_null_sender_is_told_to_the_hook_and_never_reported() -> None:
    heard: list[BounceError] = []

    async def bounce(_: HMail, error: BounceError) -> None:
        heard.append(error)

    rig = Rig()
    rig.attempter.results["one.test"] = Result.BOUNCED
    rig.plug(bounce=bounce)
    report = await one_attempt(rig, sender="")
    assert results(report) == [Result.DROPPED]
    assert [str(a) for a in heard[0].bounced_rcpt] == ["a@one.test"]
    assert rig.observer.bounces == [BounceResult.SUPPRESSED]


# delivered, and the order of things.


async def test_the_delivered_hook_hears_of_exactly_those_who_have_it_after_that_is_recorded() -> None:
    heard: list[Delivered] = []
    left: list[Any] = []

    async def delivered(_: HMail, params: Delivered) -> None:
        heard.append(params)
        left.extend(await rig.left())

    rig = Rig()
    rig.plug(delivered=delivered)
    await one_attempt(rig, "a@one.test", "b@one.test")
    await rig.until(lambda: heard)
    (params,) = heard
    host, _ip, response, delay, _port, mode, people, secured, authenticated = params
    assert (host, response, mode, secured, authenticated) == ("mx.example.net", "ok", "SMTP", False, False)
    assert delay >= 0
    assert [str(address) for address in people] == ["a@one.test", "b@one.test"]
    assert left == []


async def test_delivered_then_deferred_then_bounce_and_who_has_it_is_durable_before() -> None:
    """grey, bad, ok, ok: three hooks, each for its own recipients; one report that names only the bad one."""
    calls: list[tuple[str, list[str]]] = []
    stored: list[list[str]] = []

    async def note(name: str, people: Any) -> None:
        calls.append((name, [str(address) for address in people]))
        entries = [e for e in await rig.left() if e.domain == "one.test"]
        stored.append([str(r.address) for e in entries for r in e.recipients])

    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.mixed = {"grey@one.test": Result.DEFERRED, "bad@one.test": Result.BOUNCED}

    async def delivered(_: HMail, params: Delivered) -> None:
        if params.ok_recips[0].host == "one.test":
            await note("delivered", params.ok_recips)

    async def deferred(_: HMail, info: DeferredInfo) -> None:
        await note("deferred", info.fail_recips)

    async def bounce(_: HMail, error: BounceError) -> None:
        await note("bounce", error.bounced_rcpt)

    rig.plug(delivered=delivered, deferred=deferred, bounce=bounce)
    await one_attempt(rig, "grey@one.test", "bad@one.test", "ok1@one.test", "ok2@one.test")
    assert calls == [
        ("delivered", ["ok1@one.test", "ok2@one.test"]),
        ("deferred", ["grey@one.test"]),
        ("bounce", ["bad@one.test"]),
    ]
    assert stored == [["grey@one.test", "bad@one.test"]] * 3
    left = [e for e in await rig.left() if e.domain == "one.test"]
    assert [[str(r.address) for r in e.recipients] for e in left] == [["grey@one.test"]]
    assert rig.bounces.written == 1
    assert len([a for a in rig.observer.attempts if a[0].domain == "one.test"]) == 1


class Counting(MemoryStore):
    """Counts settlements."""

    settlements = 0

    def record(self, *args: Any) -> Any:
        self.settlements += 1
        return super().record(*args)


@pytest.mark.parametrize("plugged", [False, True])
async def test_an_attempt_is_one_commit_unless_hooks_must_wait_between(plugged: bool) -> None:
    clock = Rig().clock
    store = Counting(clock)
    rig = Rig(store=store, clock=clock, temp_fail_intervals=HOUR)
    rig.attempter.mixed = {"a@one.test": Result.DEFERRED}
    if plugged:
        rig.plug(delivered=says(None))
    await one_attempt(rig, "a@one.test", "b@one.test")
    assert store.settlements == 1


# Notes.


async def test_notes_and_force_tls_of_hooks_are_there_at_the_next_attempt_after_a_restart() -> None:
    async def send_email(hmail: HMail) -> None:
        hmail.notes["seen"] = hmail.notes.get("seen", 0) + 1
        hmail.todo.notes["pool"] = {"name": "blue"}
        hmail.todo.force_tls = True

    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.plug(send_email=send_email)
    await one_attempt(rig)
    assert rig.attempter.started[0].force_tls, "it holds from the attempt on in which it was said"

    seen: list[HMail] = []

    async def later(hmail: HMail) -> None:
        seen.append(hmail)

    again = Rig(store=rig.memory)
    again.plug(send_email=later)
    again.engine.start()
    await again.store.change(Verb.FLUSH, Selection())
    await again.attempted(1)
    await again.engine.drain(1)
    (hmail,) = seen
    assert (hmail.notes, hmail.todo.notes) == ({"seen": 1}, {"pool": {"name": "blue"}})
    assert (hmail.todo.force_tls, hmail.num_failures) == (True, 1)


async def test_notes_of_the_deferred_hook_are_stored_too_and_without_change_nothing_is() -> None:
    async def deferred(hmail: HMail, _: DeferredInfo) -> None:
        hmail.notes["why"] = "grey"

    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.results |= {"one.test": Result.DEFERRED, "two.test": Result.DEFERRED}
    rig.plug(deferred=deferred)
    await one_attempt(rig)
    (left,) = await rig.left()
    assert left.noted is not None
    assert left.noted.notes == {"why": "grey"}
    assert left.noted.todo is None

    quiet = Rig(temp_fail_intervals=HOUR)
    quiet.attempter.results["one.test"] = Result.DEFERRED
    quiet.plug(deferred=says(None))
    await one_attempt(quiet)
    assert [entry.noted for entry in await quiet.left()] == [None]


async def test_what_is_no_json_is_not_stored_and_loses_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def send_email(hmail: HMail) -> None:
        hmail.notes.update(good=1, bad=object(), odd={1: 2})
        hmail.todo.notes = "no map"  # type: ignore[assignment]

    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.results["one.test"] = Result.DEFERRED
    rig.plug(send_email=send_email)
    await one_attempt(rig)
    (left,) = await rig.left()
    assert left.noted is not None
    assert (left.noted.notes, left.todo_notes) == ({"good": 1}, {})
    assert "hmail.notes['bad'] is not stored" in caplog.text


@pytest.mark.parametrize("end", ["delivered", "deferred", "bounced", "put off", "failed", "broken", "cancelled"])
async def test_a_plugin_can_learn_of_the_end_of_an_attempt_however_it_ends(end: str) -> None:
    over: list[str] = []

    async def send_email(hmail: HMail) -> Answer:
        hmail.when_over(lambda: 1 / 0)  # one that fails does not keep the others from it
        hmail.when_over(lambda: over.append(hmail.todo.domain))
        return (DELAY, 60) if end == "put off" else CONT

    rig = Rig(temp_fail_intervals=HOUR)
    rig.plug(send_email=send_email, **({"get_mx": _raise} if end == "failed" else {}))
    results: dict[str, Result | Exception] = {
        "deferred": Result.DEFERRED,
        "bounced": Result.BOUNCED,
        "broken": RuntimeError("a bug"),
    }
    rig.attempter.results["one.test"] = results.get(end, Result.DELIVERED)
    if end == "cancelled":
        rig.attempter.hang("one.test")
    rig.engine.start()
    await rig.accept("a@one.test")
    if end == "cancelled":
        await rig.until(lambda: rig.attempter.started)
        await rig.engine.drain(0.01)
    async with asyncio.timeout(5):
        while not over:  # noqa: ASYNC110 - told to nobody but the plugin
            await asyncio.sleep(0)
    assert over[0] == "one.test"
    await rig.engine.drain(1)


def test_what_is_over_already_is_told_at_once() -> None:
    from tests.support.facts import entry

    from mailboat.delivery.notes import PluginNotes

    over: list[int] = []
    hmail = PluginNotes(entry(), Rig.with_outbound()).hmail
    assert not hmail.is_over()
    hmail.when_over(lambda: over.append(1))
    assert (over, hmail.is_over()) == ([1], ())


# Hooks that misbehave.


@pytest.mark.parametrize("point", ["send_email", "deferred", "bounce", "delivered"])
async def test_a_hook_that_raises_is_counted_and_mail_flows(point: str) -> None:
    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.mixed = {"a@one.test": Result.DEFERRED, "b@one.test": Result.BOUNCED}
    rig.plug(**{point: _raise})
    report = await one_attempt(rig, "a@one.test", "b@one.test", "c@one.test")
    assert results(report) == [Result.DEFERRED, Result.BOUNCED, Result.DELIVERED]
    await rig.until(lambda: rig.observer.failures)
    assert rig.observer.failures[0] == (point, HookFailure.RAISED)


@pytest.mark.parametrize("point", ["send_email", "get_mx", "deferred", "delivered"])
async def test_a_slow_hook_holds_back_its_own_destination_only(point: str) -> None:
    gate = asyncio.Event()
    waiting: list[str] = []

    async def slow(hmail: HMail, *_: Any) -> None:
        if hmail.todo.domain == "one.test":
            waiting.append(hmail.filename)
            await gate.wait()

    rig = Rig(destination_concurrency_max=2, concurrency_max=4, temp_fail_intervals=HOUR)
    if point == "deferred":
        rig.attempter.results["one.test"] = Result.DEFERRED
    rig.plug(**{point: slow})
    rig.engine.start()
    for _ in range(6):
        await rig.accept("a@one.test")
    await rig.until(lambda: True)
    for _ in range(20):
        await rig.accept("b@two.test")
    await rig.until(lambda: len([a for a in rig.observer.attempts if a[0].domain == "two.test"]) == 20)
    assert len(waiting) <= 4, "no more than its places, and those that were on the way"
    gate.set()
    await rig.attempted(26)
    await rig.engine.drain(5)


# The end.


@pytest.mark.parametrize("point", ["send_email", "get_mx", "deferred", "bounce", "delivered"])
async def test_a_drain_does_not_wait_for_hooks_and_nobody_gets_it_twice(point: str) -> None:
    started = asyncio.Event()

    async def stuck(*_: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    rig = Rig(temp_fail_intervals=HOUR)
    rig.attempter.mixed = {"a@one.test": Result.DEFERRED, "b@one.test": Result.BOUNCED}
    rig.plug(**{point: stuck})
    rig.engine.start()
    await rig.accept("a@one.test", "b@one.test", "c@one.test")
    await started.wait()
    async with asyncio.timeout(5):
        await rig.engine.drain(0.05)
    await asyncio.sleep(0)  # the memory store commits at the next turn
    await asyncio.sleep(0)
    left = {str(r.address) for e in await rig.left() for r in e.recipients if e.domain == "one.test"}
    if point in ("send_email", "get_mx"):
        assert left == {"a@one.test", "b@one.test", "c@one.test"}
    else:
        assert left - {"b@one.test"} == {"a@one.test"}, "who has it is done, who was deferred is tried again"
        assert "b@one.test" in left or rig.bounces.written == 1


async def test_when_hooks_cannot_be_consulted_the_attempt_gives_its_place_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Consulted:
        times = 0

        def for_attempt(self, *_: Any) -> None:
            self.times += 1
            if self.times == 1:
                raise RuntimeError("a fault of the hooks")

    rig = Rig(destination_concurrency_max=1)
    engine = Engine(replace(rig.parts, hooks=Consulted()), rig.destination, rig.settings)  # type: ignore[arg-type]
    engine.start()
    await rig.accept("a@one.test")
    await rig.accept("b@one.test")
    await rig.attempted(1)
    await engine.drain(1)
    assert "could not be recorded" in caplog.text
    assert [entry.domain for entry in await rig.left()] == ["one.test"], "the first is tried again later"

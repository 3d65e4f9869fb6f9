"""The steps of one attempt: their order, what is recorded when one of them is cut off, and who is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.support.engine_rig import FakeAttempter, FakeBounces, Rig
from tests.support.memory_store import MemoryStore

from mailboat.config.settings import Settings
from mailboat.delivery.destination import HostAddress
from mailboat.delivery.gate import PutOff
from mailboat.delivery.hooks import DeliveryHooks
from mailboat.delivery.pipeline import RETRY_BOUNCE, DeliveryParts, Pipeline
from mailboat.delivery.places import Place
from mailboat.delivery.verdict import FaultKind, Trouble
from mailboat.hooks import DeferredInfo, HMail
from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Draft, Entry
from mailboat.model.observer import BounceResult, Observer
from mailboat.model.outcome import AttemptReport, Result, Stage
from mailboat.queue.entry import Transition
from mailboat.queue.store import AttemptRecord, StorageError

HOUR = (3600.0,)
MIXED = {"grey@one.test": Result.DEFERRED, "bad@one.test": Result.BOUNCED}


class Steps(MemoryStore, Observer):
    """A store, observer and scheduler that write down what is asked of them, in one list with attempts and hooks."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.steps: list[str] = []
        self.recorded_attempts: list[AttemptRecord] = []
        self.changed = asyncio.Event()

    def step(self, name: str) -> None:
        self.steps.append(name)
        self.changed.set()

    def record(self, entry: Entry, record: AttemptRecord) -> asyncio.Future[None]:
        self.step("record")
        self.recorded_attempts.append(record)
        return super().record(entry, record)

    def attempt_started(self, entry: Entry) -> None:
        self.step("started")

    def attempted(self, entry: Entry, report: AttemptReport, remaining: Entry | None, delay: float | None) -> None:
        self.step("attempted")

    def bounce_message(self, entry: Entry, result: BounceResult) -> None:
        self.step(f"bounce message {result}")

    def recorded(self, entry: Entry, remaining: Entry | None) -> None:
        self.step("recorded")

    def unrecorded(self, entry: Entry) -> None:
        self.step("unrecorded")

    def place_returned(self) -> None:
        self.step("place returned")


class SteppingAttempter(FakeAttempter):
    """Attempts that are steps."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(lambda: steps.step("attempt"))
        self.settings: list[Settings] = []

    async def attempt(self, entry: Entry, settings: Settings, *args: Any, **kwargs: Any) -> AttemptReport:
        self.settings.append(settings)
        return await super().attempt(entry, settings, *args, **kwargs)


class SteppingBounces(FakeBounces):
    """Bounces that are steps; with `hangs` they are never written."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.hangs = False
        self._steps = steps

    async def write(self, entry: Entry, change: Transition, settings: Settings) -> Draft:
        self._steps.step("write bounce")
        if self.hangs:
            await asyncio.Event().wait()
        return await super().write(entry, change, settings)


class Line:
    """A pipeline whose steps are written down; plugins stand at the points named."""

    def __init__(self, *points: str, **outbound: Any) -> None:
        self.rig = Rig(**{"temp_fail_intervals": HOUR} | outbound)
        self.log = Steps()
        self.attempter = SteppingAttempter(self.log)
        self.attempter.mixed = MIXED
        self.bounces = SteppingBounces(self.log)
        self.rig.plug(**{point: self._hook(point) for point in points})
        hooks = DeliveryHooks(lambda: self.rig.hooks, self.rig.hop_router, self.rig.clock)
        self.gate = self.rig.gate
        parts = DeliveryParts(
            *(self.log, self.attempter, self.bounces, self.log, self.rig.clock, self.gate, hooks), chance=lambda: 0.5
        )
        self.pipeline = Pipeline(parts, self.log, self.rig.settings)

    def _hook(self, point: str) -> Any:
        async def hook(hmail: HMail, *_: object) -> None:
            self.log.step(point)

        return hook

    async def entry(self, *people: str) -> Entry:
        """One in the store."""
        from tests.support.stores import draft

        return (await self.log.accept(draft(*people)))[0]

    def place(self, entry: Entry) -> Place:
        return self.gate.place_at(entry.domain, self.rig.clock.monotonic())

    async def run(self, entry: Entry, place: Place | PutOff | None = None) -> list[str]:
        """Run the pipeline and whatever follows the commit; the steps."""
        await self.pipeline.run(entry, place or self.place(entry))
        await self.until("attempted")
        while pending := self.pipeline.notifier.pending:
            await asyncio.wait(pending)
        return self.log.steps

    async def until(self, step: str) -> None:
        async with asyncio.timeout(30):
            while step not in self.log.steps:
                self.log.changed.clear()
                await self.log.changed.wait()


async def test_the_steps_of_a_delivery_come_in_their_order() -> None:
    """Before-hooks, attempt, transition, record; after the commit the schedule, observers, and plugins."""
    line = Line("send_email", "get_mx", "deferred", "bounce", "delivered")
    steps = await line.run(await line.entry("ok@one.test"))
    assert steps == [
        *("started", "send_email", "get_mx", "attempt", "record"),
        *("recorded", "attempted", "delivered"),
    ]


async def test_the_steps_of_a_mixed_attempt_come_in_their_order() -> None:
    """What was delivered is recorded, and told, before plugins are asked of the rest."""
    line = Line("send_email", "get_mx", "deferred", "bounce", "delivered")
    steps = await line.run(await line.entry("ok@one.test", "grey@one.test", "bad@one.test"))
    assert steps == [
        *("started", "send_email", "get_mx", "attempt"),
        *("record", "delivered", "deferred", "bounce", "write bounce", "record"),
        *("recorded", "attempted", "bounce message queued"),
    ]
    first, last = line.log.recorded_attempts
    assert [(first.remaining is not None, first.bounce), last.bounce is not None] == [(True, None), True]


async def test_without_plugins_an_attempt_is_one_record() -> None:
    line = Line()
    steps = await line.run(await line.entry("ok@one.test", "grey@one.test", "bad@one.test"))
    assert steps == [
        *("started", "attempt", "write bounce", "record"),
        *("recorded", "attempted", "bounce message queued"),
    ]


async def test_while_plugins_decide_no_room_is_reserved_at_a_host() -> None:
    line = Line("get_mx")
    entry = await line.entry("ok@one.test")
    place, address = line.place(entry), HostAddress()
    place.reserved, address.open = address, 1
    await line.run(entry, place)
    assert address.open == 0


async def test_what_is_put_off_is_recorded_without_an_attempt_and_asks_no_plugin() -> None:
    line = Line("send_email", "get_mx", "deferred")
    why = PutOff(line.rig.clock.monotonic() + 60, Trouble(Stage.CONNECT, FaultKind.CONNECT, "refused"), "mx.one.test")
    assert await line.run(await line.entry("ok@one.test"), why) == ["record", "recorded", "attempted"]
    (settled,) = line.log.recorded_attempts
    assert settled.remaining is not None
    assert (settled.remaining.attempts, settled.remaining.last_mx) == (0, "mx.one.test")


@pytest.mark.parametrize("cut", ["deferred", "bounce", "write bounce"])
async def test_cut_off_after_the_attempt_its_outcome_is_recorded_without_the_bounce(cut: str) -> None:
    line = Line("delivered", "deferred", "bounce")
    line.bounces.hangs = True
    if cut != "write bounce":

        async def stuck(*_: object) -> None:
            line.log.step(cut)
            await asyncio.Event().wait()

        line.rig.plug(**{cut: stuck})
    entry = await line.entry("ok@one.test", "grey@one.test", "bad@one.test")
    run = asyncio.create_task(line.pipeline.run(entry, line.place(entry)))
    await line.until(cut)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await line.until("attempted")
    remaining, bounce = line.log.recorded_attempts[-1].remaining, line.log.recorded_attempts[-1].bounce
    assert remaining is not None
    assert [str(recipient.address) for recipient in remaining.recipients] == ["grey@one.test", "bad@one.test"]
    assert bounce is None


async def test_cut_off_before_the_transition_nothing_is_recorded_and_the_place_is_the_callers() -> None:
    line = Line("send_email")
    line.attempter.hang("one.test")
    entry = await line.entry("ok@one.test")
    place = line.place(entry)
    run = asyncio.create_task(line.pipeline.run(entry, place))
    await line.until("attempt")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert line.log.recorded_attempts == []
    assert place in line.gate.places.held


async def test_a_commit_that_fails_is_told_to_the_schedule_and_to_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = Line("delivered")
    entry = await line.entry("ok@one.test")
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.set_exception(StorageError("no disk"))
    line.log.record = lambda *_: failed  # type: ignore[method-assign]
    await line.pipeline.run(entry, line.place(entry))
    await line.until("unrecorded")
    assert line.log.steps == ["started", "attempt", "unrecorded"]
    assert "could not be recorded" in caplog.text


async def test_what_plugins_noted_at_any_step_is_recorded_with_what_is_left() -> None:
    line = Line()

    async def send_email(hmail: HMail) -> None:
        hmail.notes["before"] = 1

    async def deferred(hmail: HMail, _: DeferredInfo) -> None:
        hmail.notes["after"] = 2

    line.rig.plug(send_email=send_email, deferred=deferred)
    await line.run(await line.entry("grey@one.test"))
    (attempted,), (settled,) = line.attempter.started, line.log.recorded_attempts
    assert attempted.noted is not None
    assert attempted.noted.notes == {"before": 1}
    assert settled.remaining is not None
    assert settled.remaining.noted is not None
    assert settled.remaining.noted.notes == {"before": 1, "after": 2}


async def test_an_attempt_keeps_the_settings_that_it_began_with() -> None:
    line = Line()
    newer = replace(line.rig.settings, me="newer.test")

    async def send_email(_: HMail) -> None:
        line.pipeline.configure(newer)

    line.rig.plug(send_email=send_email)
    await line.run(await line.entry("ok@one.test"))
    line.rig.plug()
    await line.run(await line.entry("ok@one.test"))
    assert line.attempter.settings == [line.rig.settings, newer]


async def test_a_delay_whose_report_cannot_be_written_is_not_recorded_as_reported() -> None:
    line = Line(delay_warning=60.0)
    line.bounces.failure = StorageError("the disk is full")
    entry = await line.entry("grey@one.test")
    old = replace(entry, message=replace(entry.message, queued_at=entry.message.queued_at - 60))
    await line.run(old)
    (record,) = line.log.recorded_attempts
    assert record.bounce is None
    assert record.remaining is not None
    assert not record.remaining.delay_reported


def who_ask(entry: Entry) -> Entry:
    """The entry if each recipient's delivery is to be reported."""
    return replace(entry, recipients=tuple(replace(r, parameters={"NOTIFY": "SUCCESS"}) for r in entry.recipients))


async def test_a_success_whose_report_cannot_be_written_is_reported_later_without_an_attempt() -> None:
    line = Line("send_email", "delivered")
    line.bounces.failure = StorageError("the disk is full")
    entry = who_ask(await line.entry("ok@one.test"))
    await line.run(entry)
    (record,) = line.log.recorded_attempts
    owing = record.remaining
    assert owing is not None
    assert (owing.recipients, [str(owed.recipient.address) for owed in owing.owed]) == ((), ["ok@one.test"])
    assert owing.next_attempt is not None
    assert 0 < owing.next_attempt - line.rig.clock.now() <= RETRY_BOUNCE
    for failure in (StorageError("the disk is full"), None):
        line.bounces.failure = failure
        line.log.steps.clear()
        assert await line.run(owing) == ["write bounce", "record", "recorded", "attempted"]
        record = line.log.recorded_attempts[-1]
        assert ((record.remaining and record.remaining.owed), record.bounce is None) == (
            (owing.owed, True) if failure else (None, False)
        )


@pytest.mark.parametrize("people", [("ok@one.test", "grey@one.test"), ("ok@one.test", "bad@one.test")])
async def test_a_success_beside_others_whose_report_cannot_be_written_is_reported_with_the_next_attempt(
    people: tuple[str, ...],
) -> None:
    line = Line()
    line.bounces.failure = StorageError("the disk is full")
    entry = who_ask(await line.entry(*people))
    entry = replace(entry, recipients=(entry.recipients[0], replace(entry.recipients[1], parameters={})))
    await line.run(entry)
    left = line.log.recorded_attempts[-1].remaining
    assert left is not None
    assert [str(recipient.address) for recipient in left.recipients] == [people[1]]
    assert [str(owed.recipient.address) for owed in left.owed] == ["ok@one.test"]
    line.bounces.failure = None
    line.log.steps.clear()
    await line.run(left)
    record = line.log.recorded_attempts[-1]
    assert record.bounce is not None
    assert record.remaining is None or not record.remaining.owed


async def test_what_is_recorded_before_plugins_are_asked_owes_the_report_of_what_is_delivered() -> None:
    line = Line("deferred")
    await line.run(who_ask(await line.entry("ok@one.test", "grey@one.test")))
    before, after = (record.remaining for record in line.log.recorded_attempts)
    assert before is not None
    assert after is not None
    assert ([len(before.recipients), len(before.owed)], len(after.owed)) == ([1, 1], 0)
    assert line.log.recorded_attempts[-1].bounce is not None


async def test_a_delay_is_recorded_as_reported_together_with_its_report() -> None:
    line = Line(delay_warning=60.0)
    entry = await line.entry("grey@one.test")
    old = replace(entry, message=replace(entry.message, queued_at=entry.message.queued_at - 60))
    await line.run(old)
    (record,) = line.log.recorded_attempts
    assert record.bounce is not None
    assert record.remaining is not None
    assert record.remaining.delay_reported

"""The reply to the final dot does not come: the peer may have the message, so nobody else is offered it."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import After, Answer, Drop, Held, Raw, ScriptedMx, Silence

from mailboat.model.outcome import Result, Stage

LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 64 * 4096 + b"\r\n"


@pytest.mark.parametrize("answer", [Drop(), Drop(reset=True), Silence(), Raw(b"what?\r\n"), Raw(b"250-2.0.0 ok\r\n")])
async def test_the_message_is_deferred_as_ambiguous_and_no_other_target_is_tried(answer: Answer) -> None:
    async with ScriptedMx.start() as mx, ScriptedMx.start() as other, delivery_rig() as rig:
        mx.on(".", answer)
        rig.outbound["dot_timeout"] = 0.3
        outcome = await rig.outcome(mx.target(), other.target())

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.4.2", Stage.DOT)
        assert outcome.ambiguous
        assert "may have been delivered" in outcome.reason
        assert (len(mx.mails), len(other.connections)) == (1, 0)


async def test_a_slow_reply_is_waited_for_longer_than_any_other() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(".", Held("250 2.0.0 at last"))
        rig.outbound |= dict.fromkeys(("helo_timeout", "mail_timeout", "rcpt_timeout", "data_timeout"), 0.1)
        attempt = asyncio.create_task(rig.outcome(mx.target()))
        await mx.wait_for(lambda mx: mx.mails)
        done, _ = await asyncio.wait([attempt], timeout=0.4)
        assert not done
        mx.release()

        assert (await attempt).result is Result.DELIVERED
        assert len(mx.mails) == 1


@pytest.mark.parametrize("answer", [Drop(), Drop(reset=True), Silence()])
async def test_a_message_of_which_the_end_never_left_is_no_risk_and_goes_to_the_next_target(answer: Drop) -> None:
    async with ScriptedMx.start() as mx, ScriptedMx.start() as other, delivery_rig() as rig:
        mx.on("BODY", After(1000, answer))
        if isinstance(answer, Silence):
            mx.on("DATA", Raw(b"354 go on\r\n"))
        rig.outbound["data_timeout"] = 0.3
        rig.bodies.body_of_all = LARGE * 5
        entry = make_entry(body=LARGE * 5)
        mx.stop_reading_after = 1000 if isinstance(answer, Silence) else None
        report = await rig.attempt(entry, mx.target("bad.test"), other.target("good.test"))

        assert (report.outcomes[0].result, report.outcomes[0].mx) == (Result.DELIVERED, "good.test")
        assert not report.outcomes[0].ambiguous
        assert other.bodies == [LARGE * 5]


async def test_a_refusal_before_the_end_of_the_message_is_its_verdict() -> None:
    async with ScriptedMx.start() as mx, ScriptedMx.start() as other, delivery_rig() as rig:
        mx.on("BODY", After(1000, Raw(b"552 5.3.4 too big after all\r\n")))
        mx.stop_reading_after = 1000
        rig.bodies.body_of_all = LARGE * 5
        report = await rig.attempt(make_entry(body=LARGE * 5), mx.target(), other.target())

        assert (report.outcomes[0].result, report.outcomes[0].status) == (Result.BOUNCED, "5.3.4")
        assert not other.connections


async def test_acceptance_before_the_end_of_the_message_is_not_believed() -> None:
    async with ScriptedMx.start() as mx, ScriptedMx.start() as other, delivery_rig() as rig:
        mx.on("BODY", After(1000, Raw(b"250 2.0.0 got it\r\n")))
        mx.stop_reading_after = 1000
        rig.bodies.body_of_all = LARGE * 5
        report = await rig.attempt(make_entry(body=LARGE * 5), mx.target("bad.test"), other.target("good.test"))

        assert (report.outcomes[0].result, report.outcomes[0].mx) == (Result.DELIVERED, "good.test")

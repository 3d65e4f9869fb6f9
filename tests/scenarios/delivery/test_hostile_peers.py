"""A peer that means harm, or has gone mad: memory and time stay bounded, the mail goes elsewhere or waits."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import Answer, Drip, Endless, Raw, ScriptedMx

from mailboat.model.outcome import Result

ANSWERS: list[Answer] = [
    Endless(b"250-and another thing\r\n"),
    Endless(b"250-\r\n"),
    Endless(b"x" * 4096),
    Endless(b"\x00" * 4096),
    Raw(b"099 hm\r\n"),
    Raw(b"199 hm\r\n"),
    Raw(b"600 hm\r\n"),
    Raw(b"\xff\xfe\xfd\r\n"),
    Raw(b"\r\n"),
    Raw(b"2500 hm\r\n"),
    Raw(b"250 ok\r\n" * 5),
    Drip(b"250-slow\r\n"),
]
CASES = [(verb, answer) for verb in ("CONNECT", "EHLO", "MAIL", "RCPT") for answer in ANSWERS]


@pytest.mark.parametrize(("verb", "answer"), CASES, ids=str)
async def test_the_mail_goes_to_the_next_target(verb: str, answer: Answer) -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        bad.on(verb, answer)
        rig.outbound |= dict.fromkeys(("helo_timeout", "mail_timeout", "rcpt_timeout", "data_timeout"), 0.3)
        outcome = await rig.outcome(bad.target("bad.test"), good.target("good.test"))
        alone = await rig.outcome(bad.target())

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "good.test")
        assert alone.result is Result.DEFERRED
        assert alone.status in ("4.4.1", "4.5.0")
        assert alone.reason.isprintable()
        assert len(alone.reason) < 5000


async def test_replies_that_come_before_their_commands_are_not_believed() -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        # All the answers to a whole transaction, given at MAIL.
        bad.on("MAIL", Raw(b"250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n"))
        bad.on("RCPT", Raw(b""))
        bad.on("DATA", Raw(b""))
        outcome = await rig.outcome(bad.target("bad.test"), good.target("good.test"))

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "good.test")


async def test_words_after_the_last_reply_end_the_connection_but_not_the_verdict() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(".", Raw(b"250 2.0.0 ok\r\n250 2.0.0 really\r\n"))
        first = await rig.outcome(mx.target())
        second = await rig.outcome(mx.target())

        assert (first.result, second.result) == (Result.DELIVERED, Result.DELIVERED)
        assert first.reason == "250 2.0.0 ok"
        assert len(mx.connections) == 2


async def test_a_peer_that_chatters_while_idle_is_hung_up_on() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(".", Raw(b"250 2.0.0 ok\r\n250-and"))
        outcomes = [await rig.outcome(mx.target(), entry=make_entry(row=row)) for row in range(2)]

        assert [o.result for o in outcomes] == [Result.DELIVERED] * 2


async def test_a_slow_peer_does_not_hold_back_another() -> None:
    async with ScriptedMx.start() as slow, ScriptedMx.start() as quick, delivery_rig() as rig:
        slow.on("MAIL", Drip(b"250-slow\r\n"))
        waiting = asyncio.create_task(rig.attempt(make_entry(row=1), slow.target()))
        await slow.wait_for(lambda mx: mx.connections and "MAIL" in mx.connections[0].verbs)
        outcome = await rig.outcome(quick.target(), entry=make_entry(row=2))

        assert outcome.result is Result.DELIVERED
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

"""Pipelined commands whose replies disappoint (RFC 2920 3.1)."""

from __future__ import annotations

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import ScriptedMx

from mailboat.model.outcome import Result


@pytest.mark.parametrize("reply", ["250 2.0.0 what a mail", "554 5.5.1 no valid recipients"])
async def test_a_peer_that_wants_a_message_for_nobody_gets_an_empty_one(reply: str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.sloppy = True
        mx.on("RCPT", "550 5.1.1 unknown", "550 5.1.1 unknown", "250 ok")
        mx.on(".", reply, "250 2.0.0 queued")
        report = await rig.attempt(make_entry("a@there.test", "b@there.test"), mx.target())
        after = await rig.outcome(mx.target(), entry=make_entry(row=2))

        assert [(o.result, o.status) for o in report.outcomes] == [(Result.BOUNCED, "5.1.1")] * 2
        assert mx.bodies[0] == b""
        assert after.result is Result.DELIVERED
        assert len(mx.connections) == 1


@pytest.mark.parametrize("reply", ["503 5.5.1 no valid recipients", "554 5.5.1 no valid recipients", "451 later"])
async def test_refused_data_after_refused_recipients_is_no_verdict(reply: str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.sloppy = True
        mx.on_rcpt("a@there.test", "450 4.2.1 later")
        mx.on_rcpt("b@there.test", "550 5.1.1 unknown")
        mx.on("DATA", reply)
        report = await rig.attempt(make_entry("a@there.test", "b@there.test"), mx.target())

        assert [(o.result, o.status) for o in report.outcomes] == [
            (Result.DEFERRED, "4.2.1"),
            (Result.BOUNCED, "5.1.1"),
        ]


async def test_after_a_refused_sender_the_verdicts_on_recipients_do_not_count() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.sloppy = True
        mx.on("MAIL", "451 4.7.1 later")
        mx.on("RCPT", "550 5.1.1 unknown")
        mx.on("DATA", "503 5.5.1 no")
        report = await rig.attempt(make_entry("a@there.test", "b@there.test"), mx.target())

        assert [(o.result, o.status) for o in report.outcomes] == [(Result.DEFERRED, "4.7.1")] * 2


async def test_a_sender_refused_and_a_message_asked_for_gets_an_empty_one() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.sloppy = True
        mx.on("MAIL", "550 5.7.1 no")
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.status) == (Result.BOUNCED, "5.7.1")
        assert mx.bodies == [b""]


async def test_an_address_can_never_become_a_command() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        entry = make_entry("a@there.test>\r\nRCPT TO:<evil@there.test")
        outcome = await rig.outcome(mx.target(), entry=entry)

        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.3.0")
        assert mx.connections[0].verbs == ["EHLO"]

"""A drain gives an attempt up: before the final dot nothing has happened, after it `past_dot` says so."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.attempts import BODY, delivery_rig, make_entry
from tests.support.scripted_mx import After, Held, ScriptedMx, Silence

from mailboat.model.outcome import Result


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_cancelled_before_the_dot_the_connection_is_dropped(verb: str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(verb, Silence())
        entry = make_entry()
        attempt = asyncio.create_task(rig.attempt(entry, mx.target()))
        await mx.wait_for(lambda mx: mx.connections and (verb == "CONNECT" or verb in mx.connections[0].verbs))

        assert not rig.attempter.past_dot(entry.key)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await rig.connections_become(0)
        assert not mx.mails


async def test_cancelled_within_the_body_the_message_is_never_complete() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        body = BODY + b"x" * 32_000_000 + b"\r\n"
        rig.bodies.body_of_all = body
        mx.on("BODY", After(1000, Silence()))
        attempt = asyncio.create_task(rig.attempt(make_entry(body=body), mx.target()))
        await mx.wait_for(lambda mx: mx.connections and len(mx.connections[0].reads) > 2)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        mx.release()
        await mx.wait_for(lambda mx: mx.connections[0].closed)

        assert not mx.mails


async def test_past_the_dot_the_attempt_says_so_until_the_reply_is_in() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(".", Held("250 2.0.0 queued"))
        entry = make_entry()
        attempt = asyncio.create_task(rig.attempt(entry, mx.target()))
        await mx.wait_for(lambda mx: mx.mails)

        assert rig.attempter.past_dot(entry.key)
        mx.release()
        assert (await attempt).outcomes[0].result is Result.DELIVERED
        assert not rig.attempter.past_dot(entry.key)

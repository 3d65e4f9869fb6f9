"""What one host cannot take now, or at all, is offered to the next one; its answer stands when no other takes it."""

from __future__ import annotations

import pytest
from tests.support.attempts import BODY, delivery_rig, make_entry
from tests.support.scripted_mx import Answer, Drop, ScriptedMx

from mailboat.model.outcome import Result, Stage
from mailboat.routing.answers import Target

LATER: list[Answer] = ["450 4.7.1 greylisted", "451 later", "452 4.2.2 full", "421 4.3.2 closing"]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("answer", LATER)
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_a_4yz_before_the_message_asks_the_next_host(verb: str, answer: Answer, pipelining: bool) -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second, delivery_rig() as rig:
        first.extensions = ["PIPELINING"] if pipelining else []
        first.on(verb, answer)
        outcome = await rig.outcome(first.target("first.test"), second.target("second.test"))

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "second.test")


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_the_reply_of_a_host_stands_when_no_later_one_can_be_reached(verb: str, gone: Target) -> None:
    async with ScriptedMx.start() as first, delivery_rig() as rig:
        first.on(verb, "450 4.7.1 greylisted")
        outcome = await rig.outcome(first.target("first.test"), gone)

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.1", Stage(verb.lower()))
        assert (outcome.reason, outcome.mx) == ("450 4.7.1 greylisted", "first.test")


async def test_a_later_host_that_refuses_for_good_to_take_any_mail_makes_no_bounce_of_it() -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second, delivery_rig() as rig:
        first.on("RCPT", "450 4.2.1 later")
        second.on("CONNECT", "554 5.7.1 no mail here")

        assert (await rig.outcome(first.target(), second.target())).result is Result.DEFERRED


async def test_a_later_host_that_knows_no_such_recipient_bounces_it() -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second, delivery_rig() as rig:
        first.on("RCPT", "450 4.2.1 later")
        second.on("RCPT", "550 5.1.1 unknown")

        assert (await rig.outcome(first.target(), second.target())).status == "5.1.1"


async def test_the_next_host_is_offered_only_those_that_are_not_settled() -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second, delivery_rig() as rig:
        first.on_rcpt("a@there.test", "450 4.2.1 later")
        first.on_rcpt("b@there.test", "550 5.1.1 unknown")
        second.on_rcpt("d@there.test", "451 4.3.0 later")
        first.on_rcpt("d@there.test", "450 4.7.1 later")
        entry = make_entry("a@there.test", "b@there.test", "c@there.test", "d@there.test")
        report = await rig.attempt(entry, first.target("first.test"), second.target("second.test"))

        assert [(o.result, o.status, o.mx) for o in report.outcomes] == [
            (Result.DELIVERED, "2.0.0", "second.test"),
            (Result.BOUNCED, "5.1.1", "first.test"),
            (Result.DELIVERED, "2.0.0", "first.test"),
            (Result.DEFERRED, "4.3.0", "second.test"),
        ]
        assert first.mails[0].recipients == ["c@there.test"]
        assert second.mails[0].recipients == ["a@there.test"]
        assert first.connections[0].verbs.count("MAIL") == 1


async def test_those_deferred_are_not_offered_again_beside_those_for_whom_there_was_no_room() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on_rcpt("a@there.test", "450 4.2.1 later")
        mx.on_rcpt("b@there.test", "452 4.5.3 too many recipients", "250 ok")
        report = await rig.attempt(make_entry("a@there.test", "b@there.test", "c@there.test"), mx.target())

        assert [o.result for o in report.outcomes] == [Result.DEFERRED, Result.DELIVERED, Result.DELIVERED]
        assert [mail.recipients for mail in mx.mails] == [["c@there.test"], ["b@there.test"]]


async def test_421_to_one_recipient_ends_the_session_and_keeps_what_was_said_to_the_others() -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second, delivery_rig() as rig:
        first.extensions = []
        first.on_rcpt("b@there.test", "550 5.1.1 unknown")
        first.on_rcpt("c@there.test", Drop("421 4.3.2 closing"))
        report = await rig.attempt(
            make_entry("a@there.test", "b@there.test", "c@there.test"),
            first.target("first.test"),
            second.target("second.test"),
        )

        assert [(o.result, o.mx) for o in report.outcomes] == [
            (Result.DELIVERED, "second.test"),
            (Result.BOUNCED, "first.test"),
            (Result.DELIVERED, "second.test"),
        ]
        assert not first.mails


async def test_a_message_larger_than_the_first_host_takes_goes_to_the_next() -> None:
    async with ScriptedMx.start() as small, ScriptedMx.start() as large, delivery_rig() as rig:
        small.extensions, large.extensions = ["SIZE 10"], ["SIZE 50000000"]
        outcome = await rig.outcome(small.target("small.test"), large.target("large.test"))

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "large.test")
        assert "MAIL" not in small.connections[0].verbs


async def test_a_message_that_no_host_is_large_enough_for_bounces() -> None:
    async with ScriptedMx.start() as one, ScriptedMx.start() as two, delivery_rig() as rig:
        one.extensions, two.extensions = ["SIZE 10"], [f"SIZE {len(BODY) - 1}"]
        outcome = await rig.outcome(one.target("one.test"), two.target("two.test"))

        assert (outcome.result, outcome.status) == (Result.BOUNCED, "5.3.4")


@pytest.mark.parametrize("extension", ["SIZE 10", "8BITMIME"])
async def test_what_one_host_can_never_take_waits_for_another_that_cannot_be_reached(
    extension: str, gone: Target
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = [extension]
        entry = make_entry("jürgen@there.test", parameters={"SMTPUTF8": ""})
        outcome = await rig.outcome(mx.target("mx.test"), gone, entry=entry)

        assert (outcome.result, outcome.status, outcome.mx) == (Result.DEFERRED, "4.4.1", "gone.test")


async def test_an_address_beyond_ascii_goes_to_the_host_that_has_smtputf8() -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second, delivery_rig() as rig:
        second.extensions = ["SMTPUTF8"]
        entry = make_entry("jürgen@there.test", parameters={"SMTPUTF8": ""})
        outcome = await rig.outcome(first.target("first.test"), second.target("second.test"), entry=entry)

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "second.test")

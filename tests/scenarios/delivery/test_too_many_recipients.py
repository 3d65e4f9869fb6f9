"""A peer takes only so many recipients in one transaction: the rest follow in another, on the same connection."""

from __future__ import annotations

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import ScriptedMx

from mailboat.model.outcome import Result, Stage

NAMES = [f"r{number}@there.test" for number in range(5)]


@pytest.mark.parametrize("full", ["452 4.5.3 too many recipients", "452 too many", "552 5.5.3 too many"])
async def test_those_that_found_no_room_are_offered_again_at_once(full: str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("RCPT", "250 ok", "250 ok", full, full, full, "250 ok", "250 ok", full, "250 ok")
        report = await rig.attempt(make_entry(*NAMES), mx.target())

        assert [o.result for o in report.outcomes] == [Result.DELIVERED] * 5
        assert [mail.recipients for mail in mx.mails] == [NAMES[:2], NAMES[2:4], NAMES[4:]]
        assert len(mx.connections) == 1


async def test_a_peer_with_no_room_for_anybody_is_asked_later() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("RCPT", "452 4.5.3 too many recipients")
        report = await rig.attempt(make_entry(*NAMES), mx.target())

        assert {(o.result, o.status, o.stage) for o in report.outcomes} == {(Result.DEFERRED, "4.5.3", Stage.RCPT)}
        assert mx.connections[0].verbs.count("MAIL") == 1


async def test_a_peer_is_offered_no_more_recipients_than_its_limits_allow() -> None:
    """RFC 9422: RCPTMAX a transaction, MAILMAX transactions a connection; nothing is refused on the way."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING", "LIMITS MAILMAX=2 RCPTMAX=2 RCPTDOMAINMAX=1"]
        report = await rig.attempt(make_entry(*NAMES), mx.target())

        assert [o.result for o in report.outcomes] == [Result.DELIVERED] * 5
        assert [mail.recipients for mail in mx.mails] == [NAMES[:2], NAMES[2:4], NAMES[4:]]
        assert [connection.verbs.count("MAIL") for connection in mx.connections] == [2, 1]


async def test_a_target_may_take_fewer_recipients_in_a_transaction_than_its_host() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["LIMITS RCPTMAX=4"]
        report = await rig.attempt(make_entry(*NAMES), mx.target(max_recipients=2))

        assert [o.result for o in report.outcomes] == [Result.DELIVERED] * 5
        assert [mail.recipients for mail in mx.mails] == [NAMES[:2], NAMES[2:4], NAMES[4:]]
        assert len(mx.connections) == 1


async def test_the_rest_is_deferred_where_a_peer_fails_after_its_first_share() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["LIMITS RCPTMAX=2"]
        mx.on("MAIL", "250 ok", "421 4.3.2 going down")
        report = await rig.attempt(make_entry(*NAMES), mx.target())

        assert [o.result for o in report.outcomes] == [Result.DELIVERED] * 2 + [Result.DEFERRED] * 3


async def test_no_room_in_a_mailbox_is_a_deferral_of_that_recipient() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on_rcpt(NAMES[0], "452 4.2.2 mailbox full")
        report = await rig.attempt(make_entry(*NAMES), mx.target())

        assert [o.result for o in report.outcomes] == [Result.DEFERRED] + [Result.DELIVERED] * 4
        assert len(mx.mails) == 1


async def test_very_many_recipients_share_one_transaction() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        names = [f"r{number}@there.test" for number in range(1000)]
        mx.on_rcpt(names[999], "550 5.1.1 unknown")
        report = await rig.attempt(make_entry(*names), mx.target())

        assert [o.result for o in report.outcomes] == [Result.DELIVERED] * 999 + [Result.BOUNCED]
        assert mx.mails[0].recipients == names[:999]

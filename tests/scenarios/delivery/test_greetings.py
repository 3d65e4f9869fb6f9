"""Before MAIL: greetings and replies to EHLO as hosts really give them."""

from __future__ import annotations

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import Raw, ScriptedMx

from mailboat.model.outcome import Result, Stage
from mailboat.routing.answers import Credentials

USER = Credentials("user", "secret", required=True)


async def test_an_empty_first_line_of_the_reply_to_ehlo_hides_no_extension() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("EHLO", "250-\n250-AUTH LOGIN PLAIN\n250 PIPELINING")
        report = await rig.attempt(make_entry(), mx.target(credentials=USER))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert report.peer.authenticated


@pytest.mark.parametrize(
    "answers",
    [
        {"CONNECT": Raw(b"220 proxy ready\r\n220 mx.test ESMTP\r\n")},
        {"CONNECT": Raw(b"220 proxy ready\r\n220-mx.test\r\n220 ESMTP\r\n")},
        {"EHLO": Raw(b"220 mx.test ESMTP\r\n250-mx.test\r\n250 8BITMIME\r\n")},
    ],
    ids=["at once", "of two lines", "later"],
)
async def test_a_second_greeting_is_passed_over(answers: dict[str, Raw]) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        for verb, answer in answers.items():
            mx.on(verb, answer)
        outcomes = [await rig.outcome(mx.target(), entry=make_entry(row=row)) for row in range(2)]

        assert [o.result for o in outcomes] == [Result.DELIVERED] * 2
        assert len(mx.connections) == 1


@pytest.mark.parametrize(
    ("verb", "octets"),
    [
        ("CONNECT", b"220 one\r\n220 two\r\n220 three\r\n"),
        ("CONNECT", b"220 one\r\n250 two\r\n"),
        ("EHLO", b"250 mx.test\r\n220 late\r\n"),
        ("MAIL", b"220 late\r\n250 ok\r\n"),
    ],
)
async def test_any_other_reply_that_nothing_asked_for_is_counted_for_no_command(verb: str, octets: bytes) -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        bad.extensions = []
        bad.on(verb, Raw(octets))
        outcome = await rig.outcome(bad.target("bad.test"), good.target("good.test"))

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "good.test")
        assert not bad.mails


async def test_wrong_credentials_for_login_are_told_by_the_reply_to_the_password() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH LOGIN"]
        mx.on("AUTH", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "535 5.7.8 no")
        outcome = await rig.outcome(mx.target(credentials=USER))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.8", Stage.AUTH)

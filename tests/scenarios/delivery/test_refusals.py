"""A peer refuses: at which stage decides for whom, the class of the reply decides for how long."""

from __future__ import annotations

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import Raw, ScriptedMx

from mailboat.model.outcome import Result, Stage

D, B, OK = Result.DEFERRED, Result.BOUNCED, Result.DELIVERED


@pytest.mark.parametrize(
    ("verb", "reply", "result", "status", "stage"),
    [
        ("MAIL", "500 5.0.0 no", B, "5.0.0", Stage.MAIL),
        ("MAIL", "300 3.0.0 what", D, "4.0.0", Stage.MAIL),
        ("MAIL", "450 4.1.8 no such domain", D, "4.1.8", Stage.MAIL),
        ("RCPT", "550 5.1.1 unknown", B, "5.1.1", Stage.RCPT),
        ("RCPT", "400 4.0.0 later", D, "4.0.0", Stage.RCPT),
        ("RCPT", "550 unknown", B, "5.0.0", Stage.RCPT),
        ("RCPT", "550 4.2.1 contradicts itself", B, "5.0.0", Stage.RCPT),
        ("RCPT", "552 5.2.2 full", D, "4.2.2", Stage.RCPT),
        ("RCPT", "552 too many", D, "4.0.0", Stage.RCPT),
        ("RCPT", "399 hm", D, "4.0.0", Stage.RCPT),
        ("DATA", "550 5.6.0 no", B, "5.6.0", Stage.DATA),
        ("DATA", "450 4.6.0 later", D, "4.6.0", Stage.DATA),
        ("DATA", "334 hm", D, "4.0.0", Stage.DATA),
        (".", "554 5.7.1 spam", B, "5.7.1", Stage.DOT),
        (".", "451 4.3.0 later", D, "4.3.0", Stage.DOT),
        (".", "421 4.3.2 closing", D, "4.3.2", Stage.DOT),
        (".", "550-5.7.26 a\n550 5.7.26 b", B, "5.7.26", Stage.DOT),
        (".", "354 go on", D, "4.0.0", Stage.DOT),
    ],
)
@pytest.mark.parametrize("pipelining", [True, False])
async def test_a_refusal_settles_the_recipient_and_is_reported(
    verb: str, reply: str, result: Result, status: str, stage: Stage, pipelining: bool
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING"] if pipelining else []
        mx.on(verb, reply)
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.status, outcome.stage) == (result, status, stage)
        assert outcome.reply is not None
        assert outcome.reply.code == int(reply[:3])
        assert outcome.mx == "mx.test"


@pytest.mark.parametrize("pipelining", [True, False])
async def test_each_recipient_has_its_own_verdict(pipelining: bool) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING"] if pipelining else []
        mx.on_rcpt("grey@there.test", "450 4.7.1 greylisted")
        mx.on_rcpt("bad@there.test", "550 5.1.1 unknown")
        entry = make_entry("grey@there.test", "bad@there.test", "one@there.test", "two@there.test")
        report = await rig.attempt(entry, mx.target())

        assert [(o.recipient, o.result) for o in report.outcomes] == [(1, D), (2, B), (3, OK), (4, OK)]
        assert mx.mails[0].recipients == ["one@there.test", "two@there.test"]


@pytest.mark.parametrize(
    ("first", "dot", "expected"),
    [
        ("450 4.2.1 later", "550 5.7.1 no", [(D, "4.2.1", Stage.RCPT), (B, "5.7.1", Stage.DOT)]),
        ("550 5.1.1 no", "450 4.3.0 later", [(B, "5.1.1", Stage.RCPT), (D, "4.3.0", Stage.DOT)]),
    ],
)
async def test_a_verdict_at_rcpt_stands_whatever_comes_of_the_message(
    first: str, dot: str, expected: list[tuple[Result, str, Stage]]
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on_rcpt("a@there.test", first)
        mx.on(".", dot)
        report = await rig.attempt(make_entry("a@there.test", "b@there.test"), mx.target())

        assert [(o.result, o.status, o.stage) for o in report.outcomes] == expected


@pytest.mark.parametrize("reply", ["251 2.1.5 will forward", "252 2.1.5 will try"])
async def test_other_positive_replies_to_rcpt_accept_the_recipient(reply: str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("RCPT", reply)

        assert (await rig.outcome(mx.target())).result is OK
        assert len(mx.mails) == 1


@pytest.mark.parametrize("octets", [b"250\r\n", b"250\n", b"250 \r\n", b"250-a\n250 b\n", b"250-a\r\n250\r\n"])
async def test_sloppy_but_clear_replies_are_understood(octets: bytes) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        for verb in ("MAIL", "RCPT", "."):
            mx.on(verb, Raw(octets))

        assert (await rig.outcome(mx.target())).result is OK


async def test_text_of_a_reply_is_made_printable() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(".", Raw(b"550 5.7.1 a\x00b\x1b[31m \xff\xfe \xc3\xbc\r\n"))
        outcome = await rig.outcome(mx.target())

        assert outcome.result is B
        assert outcome.reason.isprintable()
        assert "ü" in outcome.reason

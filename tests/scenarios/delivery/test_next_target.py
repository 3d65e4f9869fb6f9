"""A host that cannot be talked to says nothing about the mail: the next one is asked."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import Answer, Drop, Raw, ScriptedMx, Silence

from mailboat.model.outcome import Result, Stage
from mailboat.routing.answers import Target


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("CONNECT", "421 4.3.2 busy"),
        ("CONNECT", "450 busy"),
        ("CONNECT", "554 5.3.2 no mail here"),
        ("CONNECT", "250 hello?"),
        ("CONNECT", "nonsense"),
        ("CONNECT", Drop()),
        ("CONNECT", Drop(reset=True)),
        ("CONNECT", Silence()),
        ("EHLO", "421 4.3.2 busy"),
        ("EHLO", "450 4.3.2 busy"),
        ("EHLO", Drop()),
        ("EHLO", Silence()),
        ("EHLO", "999 nonsense"),
        ("MAIL", "421 4.3.2 closing"),
        ("MAIL", Drop("421 4.3.2 closing")),
        ("MAIL", Drop()),
        ("MAIL", Drop(reset=True)),
        ("MAIL", Silence()),
        ("MAIL", Raw(b"\x16\x03\x01 what\r\n")),
        ("RCPT", Drop()),
        ("RCPT", Silence()),
        ("DATA", Drop()),
        ("DATA", Drop("421 4.3.2 closing")),
        ("DATA", Silence()),
        ("DATA", "250 2.0.0 what"),
    ],
    ids=str,
)
@pytest.mark.parametrize("pipelining", [True, False])
async def test_the_next_target_gets_the_mail(verb: str, answer: Answer, pipelining: bool) -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        bad.extensions = ["PIPELINING"] if pipelining else []
        bad.on(verb, answer)
        rig.outbound |= dict.fromkeys(("helo_timeout", "mail_timeout", "rcpt_timeout", "data_timeout"), 0.3)
        outcome = await rig.outcome(bad.target("bad.test"), good.target("good.test"))

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "good.test")
        assert (len(bad.mails), len(good.mails)) == (0, 1)


async def test_ehlo_refused_for_good_is_tried_as_helo() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("EHLO", "502 5.5.1 what")
        outcome = await rig.outcome(mx.target())

        assert outcome.result is Result.DELIVERED
        assert mx.connections[0].verbs[:3] == ["EHLO", "HELO", "MAIL"]


async def test_when_all_were_tried_the_mail_is_deferred_with_the_last_error(gone: Target) -> None:
    async with delivery_rig() as rig:
        outcome = await rig.outcome(replace(gone, host="away.test"), gone)

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.4.1", Stage.CONNECT)
        assert f"gone.test[127.0.0.1]:{gone.port}: connection refused" in outcome.reason
        assert outcome.mx == "gone.test"


async def test_a_host_that_does_not_accept_connections_in_time_is_passed_over() -> None:
    # A full backlog: the kernel answers no further SYN.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        clients = [socket.socket() for _ in range(3)]
        try:
            for client in clients:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            async with ScriptedMx.start() as good, delivery_rig() as rig:
                rig.outbound["connect_timeout"] = 0.2
                report = await rig.attempt(make_entry(), Target("full.test", "127.0.0.1", port), good.target())
                alone = await rig.outcome(Target("full.test", "127.0.0.1", port))
        finally:
            for client in clients:
                client.close()

    assert report.outcomes[0].result is Result.DELIVERED
    assert (alone.result, alone.status) == (Result.DEFERRED, "4.4.1")
    assert "no connection within 0.2 s" in alone.reason


@pytest.mark.parametrize("greeting", ["554 5.7.1 we take no mail from you", "521 5.3.2 no mail here"])
async def test_the_mail_bounces_when_every_host_refuses_for_good_in_its_greeting(greeting: str) -> None:
    async with ScriptedMx.start() as one, ScriptedMx.start() as two, delivery_rig() as rig:
        one.on("CONNECT", "554 no")
        two.on("CONNECT", greeting)
        outcome = await rig.outcome(one.target("one.test"), two.target("two.test"))

        assert (outcome.result, outcome.stage) == (Result.BOUNCED, Stage.GREETING)
        assert outcome.status == greeting.split()[1]
        assert outcome.mx == "two.test"


async def test_the_mail_waits_when_only_some_hosts_refused_for_good(gone: Target) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("CONNECT", "554 5.7.1 no")
        outcome = await rig.outcome(gone, mx.target())

        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.7.1")


async def test_a_transient_greeting_everywhere_defers_with_its_status() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("CONNECT", "421 4.3.2 busy")
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.3.2", Stage.GREETING)
        assert outcome.reply is not None


async def test_recipients_that_were_settled_before_a_break_are_not_offered_again() -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        bad.on_rcpt("a@there.test", "550 5.1.1 unknown")
        bad.on_rcpt("b@there.test", "553 5.1.3 what")
        bad.on("DATA", Drop())
        entry = make_entry("a@there.test", "b@there.test", "c@there.test")
        report = await rig.attempt(entry, bad.target("bad.test"), good.target("good.test"))

        assert [(o.result, o.mx) for o in report.outcomes] == [
            (Result.BOUNCED, "bad.test"),
            (Result.BOUNCED, "bad.test"),
            (Result.DELIVERED, "good.test"),
        ]
        assert good.mails[0].recipients == ["c@there.test"]


@pytest.mark.parametrize("answers", [(Drop(reset=True), Silence()), (Silence(), Drop(reset=True)), (Silence(),)])
async def test_errors_and_timeouts_in_any_order_never_break_the_relay(answers: tuple[Answer, ...]) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("MAIL", *answers)
        rig.outbound["mail_timeout"] = 0.2
        for _ in range(2):
            outcome = await rig.outcome(mx.target(), mx.target())
            assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.4.1")


async def test_a_host_that_refuses_ehlo_and_hangs_up_has_refused() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("EHLO", Drop("554 5.7.1 we take no mail from you"))
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.status, outcome.stage) == (Result.BOUNCED, "5.7.1", Stage.EHLO)

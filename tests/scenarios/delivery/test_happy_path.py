"""A message is handed over: what the peer sees, and what the report says."""

from __future__ import annotations

from tests.support.attempts import BODY, delivery_rig, make_entry
from tests.support.scripted_mx import ScriptedMx

from mailboat.model.outcome import Result, Stage


async def test_a_message_arrives_octet_for_octet_and_the_reply_is_reported() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        report = await rig.attempt(make_entry("rcpt@there.test"), mx.target())

        [outcome] = report.outcomes
        assert (outcome.result, outcome.status, outcome.stage) == (Result.DELIVERED, "2.0.0", Stage.DOT)
        assert outcome.reason == "250 2.0.0 queued as 1"
        assert outcome.mx == "mx.test"
        assert report.peer is not None
        assert (report.peer.ip, report.peer.port, report.peer.source) == ("127.0.0.1", mx.port, "127.0.0.1")
        [mail] = mx.mails
        assert (mail.sender, mail.recipients, mail.body) == ("sender@here.test", ["rcpt@there.test"], BODY)
        assert mail.connection.names == ["relay.test"]


async def test_envelope_commands_go_out_in_one_write_where_pipelining_is_offered() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.attempt(make_entry("a@there.test", "b@there.test"), mx.target())

        reads = mx.connections[0].reads
        assert reads[1] == (
            b"MAIL FROM:<sender@here.test>\r\nRCPT TO:<a@there.test>\r\nRCPT TO:<b@there.test>\r\nDATA\r\n"
        )


async def test_each_command_waits_for_its_reply_where_pipelining_is_not_offered() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = []
        report = await rig.attempt(make_entry("a@there.test", "b@there.test"), mx.target())

        assert [o.result for o in report.outcomes] == [Result.DELIVERED] * 2
        assert [read.split(b" ")[0].strip() for read in mx.connections[0].reads[1:5]] == [
            b"MAIL",
            b"RCPT",
            b"RCPT",
            b"DATA",
        ]

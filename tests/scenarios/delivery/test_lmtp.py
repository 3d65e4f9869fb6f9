"""LMTP: LHLO, and after the message one reply for each recipient that was accepted, in order (RFC 2033)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.attempts import BODY, delivery_rig, make_entry
from tests.support.scripted_mx import Drop, ScriptedMx

from mailboat.model.outcome import Result, Stage

NAMES = [f"{letter}@there.test" for letter in "abcd"]


@pytest.mark.parametrize("pipelining", [True, False])
async def test_each_reply_belongs_to_its_recipient(pipelining: bool) -> None:
    async with ScriptedMx.start(lmtp=True) as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING"] if pipelining else []
        mx.on_rcpt(NAMES[1], "550 5.1.1 unknown")
        mx.on(".", "250 2.0.0 a", "550 5.2.2 full", "450 4.2.1 later")
        report = await rig.attempt(make_entry(*NAMES), mx.target())

        assert [(o.result, o.stage, o.reason) for o in report.outcomes] == [
            (Result.DELIVERED, Stage.DOT, "250 2.0.0 a"),
            (Result.BOUNCED, Stage.RCPT, "550 5.1.1 unknown"),
            (Result.BOUNCED, Stage.DOT, "550 5.2.2 full"),
            (Result.DEFERRED, Stage.DOT, "450 4.2.1 later"),
        ]
        assert mx.connections[0].verbs[0] == "LHLO"
        assert report.peer is not None
        assert report.peer.protocol == "LMTP"


async def test_replies_that_do_not_come_are_ambiguous_for_their_recipients_only() -> None:
    async with ScriptedMx.start(lmtp=True) as mx, delivery_rig() as rig:
        mx.on(".", "250 2.0.0 a", Drop())
        report = await rig.attempt(make_entry(*NAMES[:3]), mx.target())

        assert [(o.result, o.ambiguous) for o in report.outcomes] == [
            (Result.DELIVERED, False),
            (Result.DEFERRED, True),
            (Result.DEFERRED, True),
        ]


async def test_a_connection_is_used_again() -> None:
    async with ScriptedMx.start(lmtp=True) as mx, delivery_rig() as rig:
        for row in range(2):
            report = await rig.attempt(make_entry(*NAMES, row=row), mx.target())
            assert {o.result for o in report.outcomes} == {Result.DELIVERED}

        assert len(mx.connections) == 1


async def test_lhlo_refused_for_good_is_not_tried_as_helo() -> None:
    async with ScriptedMx.start(lmtp=True) as mx, delivery_rig() as rig:
        mx.on("LHLO", "500 5.5.1 what")
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.stage) == (Result.BOUNCED, Stage.EHLO)
        assert "HELO" not in mx.connections[0].verbs


async def test_nobody_accepted_and_yet_asked_for_the_message_ends_the_connection() -> None:
    async with ScriptedMx.start(lmtp=True) as mx, delivery_rig() as rig:
        mx.sloppy = True
        mx.on("RCPT", "550 5.1.1 unknown")
        report = await rig.attempt(make_entry(*NAMES[:2]), mx.target())
        await rig.connections_become(0)

        assert [o.result for o in report.outcomes] == [Result.BOUNCED] * 2
        assert not mx.mails


@pytest.mark.parametrize("lmtp", [True, False])
async def test_a_unix_socket_is_a_target_like_any_other(lmtp: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "mx.sock")
    async with ScriptedMx.start(lmtp=lmtp, path=path) as mx, delivery_rig() as rig:
        report = await rig.attempt(make_entry(), mx.target("mailbox.test"))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert (report.peer.ip, report.peer.source) == (path, "")
        assert mx.bodies == [BODY]


async def test_a_unix_socket_that_is_not_there_defers(tmp_path: Path) -> None:
    async with ScriptedMx.start(path=str(tmp_path / "mx.sock")) as mx, delivery_rig() as rig:
        mx.path = str(tmp_path / "other.sock")
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.4.1")
        assert "other.sock: no such file or directory" in outcome.reason

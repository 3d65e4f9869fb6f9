"""The message arrives as it was stored, however large and wherever it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import After, Drop, ScriptedMx

from mailboat.model.envelope import SpooledBody
from mailboat.model.outcome import Result, Stage
from mailboat.queue.store import StorageError

LARGE = (
    b"Subject: large\r\n\r\n" + b".dot\r\n..two\r\n" + b"x" * 65_500 + b"\r\n.\r\n" + b"y" * 200_000 + b"\r\n.end\r\n"
)
BODIES = [
    b"Subject: x\r\n\r\nhello\r\n",
    b".\r\n",
    b"..\r\n",
    b".leading\r\n\r\n.and again\r\n",
    b"a\r\n.\r\nRCPT TO:<evil@there.test>\r\n",
    b"\x00\xff\r\n",
    LARGE,
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("spooled", [False, True])
async def test_every_octet_arrives(body: bytes, spooled: bool, tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        if spooled:
            (tmp_path / "body").write_bytes(body)
            rig.bodies.body_of_all = SpooledBody(str(tmp_path / "body"), len(body))
        else:
            rig.bodies.body_of_all = body
        outcome = await rig.outcome(mx.target(), entry=make_entry(body=body))

        assert outcome.result is Result.DELIVERED
        assert mx.bodies == [body]


@pytest.mark.parametrize("spooled", [False, True])
async def test_a_message_that_does_not_end_in_crlf_gets_one(spooled: bool, tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        body = b"Subject: x\r\n\r\nno end"
        rig.bodies.body_of_all = body
        if spooled:
            (tmp_path / "body").write_bytes(body)
            rig.bodies.body_of_all = SpooledBody(str(tmp_path / "body"), len(body))
        await rig.outcome(mx.target(), entry=make_entry(body=body))

        assert mx.bodies == [body + b"\r\n"]


async def test_the_body_is_read_once_and_sent_from_its_beginning_to_each_target(tmp_path: Path) -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        body = LARGE * 40
        (tmp_path / "body").write_bytes(body)
        rig.bodies.body_of_all = SpooledBody(str(tmp_path / "body"), len(body))
        bad.on("BODY", After(100_000, Drop(reset=True)))
        report = await rig.attempt(make_entry(body=body), bad.target("bad.test"), good.target("good.test"))

        assert report.outcomes[0].mx == "good.test"
        assert good.bodies == [body]
        assert rig.bodies.reads == 1


async def test_a_body_that_the_store_cannot_read_defers(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.bodies.fault = StorageError("disk gone")
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.3.0", Stage.BODY)
        assert "MAIL" not in mx.connections[0].verbs
        assert "disk gone" in caplog.text


async def test_a_body_whose_file_is_short_is_never_sent_as_if_it_were_whole(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        (tmp_path / "body").write_bytes(LARGE)
        rig.bodies.body_of_all = SpooledBody(str(tmp_path / "body"), len(LARGE) + 1)
        outcome = await rig.outcome(mx.target(), entry=make_entry(body=LARGE))

        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.3.0")
        assert not outcome.ambiguous
        await rig.connections_become(0)
        assert not mx.mails


async def test_a_body_whose_file_is_missing_defers(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.bodies.body_of_all = SpooledBody(str(tmp_path / "missing"), 10)

        assert (await rig.outcome(mx.target())).status == "4.3.0"

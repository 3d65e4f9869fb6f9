"""nodemailer as the client: single connections and its pool, attachments, addresses beyond ASCII."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.support import programs
from tests.support.mails import added
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_relay import TlsRelay

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).parent / "nodemailer" / "send.js"


async def send(mails: list[dict[str, Any]], **transport: Any) -> list[bytes]:
    """Send mails as nodemailer composes them; the octets of each."""
    options = {"host": "127.0.0.1", "tls": {"rejectUnauthorized": False}, **transport}
    wanted = json.dumps({"transport": options, "mails": mails})
    assert (SCRIPT.parent / "node_modules").is_dir(), "nodemailer is missing: run tests/interop/setup"
    done = await programs.run(programs.find("node"), SCRIPT, stdin=wanted.encode())
    assert done.status == 0, done.output
    answers = json.loads(done.output)
    assert all(answer["response"].startswith("250") for answer in answers)
    return [base64.b64decode(answer["raw"]) for answer in answers]


def mail(number: int = 0, **more: Any) -> dict[str, Any]:
    """A mail as a program describes it to nodemailer."""
    return {
        "from": "Alice <alice@here.test>",
        "to": f"bob{number}@there.test",
        "subject": f"Number {number}",
        "text": ".\n..dots\n\nand a line of its own\n",
        "html": "<p>.</p>",
        **more,
    }


@pytest.mark.parametrize("ignore_tls", [False, True], ids=["tls", "plain"])
async def test_what_nodemailer_submits_arrives_as_it_was(ignore_tls: bool, relay: TlsRelay, sink: ScriptedMx) -> None:
    (sent,) = await send([mail()], port=relay.port, ignoreTLS=ignore_tls)
    await sink.wait_for(lambda mx: mx.mails)
    (got,) = sink.mails
    assert (got.sender, got.recipients) == ("alice@here.test", ["bob0@there.test"])
    assert set(added(got.body, sent)) == {"Received"}
    assert (await relay.event("received"))["protocol"] == ("ESMTP" if ignore_tls else "ESMTPS")


async def test_implicit_tls(relay: TlsRelay, sink: ScriptedMx) -> None:
    (sent,) = await send([mail()], port=relay.smtps_port, secure=True)
    await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, sent)


async def test_a_pool_reuses_its_connections(relay: TlsRelay, sink: ScriptedMx) -> None:
    sent = await send(
        [mail(n) for n in range(50)], port=relay.port, pool=True, maxConnections=3, maxMessages=10, ignoreTLS=True
    )
    await sink.wait_for(lambda mx: len(mx.mails) == 50)
    by_recipient = {got.recipients[0]: got.body for got in sink.mails}
    for number, octets in enumerate(sent):
        assert added(by_recipient[f"bob{number}@there.test"], octets)


async def test_an_attachment_of_one_mebibyte(relay: TlsRelay, sink: ScriptedMx) -> None:
    content = base64.b64encode(random.Random(1).randbytes(2**20)).decode()
    attachment = {"filename": "fil\u00e9.bin", "content": content, "encoding": "base64"}
    (sent,) = await send([mail(attachments=[attachment])], port=relay.port)
    assert len(sent) > 2**20
    await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, sent)


async def test_addresses_beyond_ascii(relay: TlsRelay, sink: ScriptedMx) -> None:
    (sent,) = await send([mail(to="bj\u00f8rn@there.test", subject="Gr\u00fc\u00dfe")], port=relay.port)
    await sink.wait_for(lambda mx: mx.mails)
    (got,) = sink.mails
    assert got.recipients == ["bj\u00f8rn@there.test"]
    assert "SMTPUTF8" in got.params
    assert added(got.body, sent)


async def test_several_recipients_with_some_in_copy_and_blind_copy(relay: TlsRelay, sink: ScriptedMx) -> None:
    people: dict[str, Any] = {
        "to": ["bob@there.test", "carol@there.test"],
        "cc": "dave@there.test",
        "bcc": "erin@there.test",
    }
    (sent,) = await send([mail(**people)], port=relay.port)
    await sink.wait_for(lambda mx: mx.mails)
    (got,) = sink.mails
    assert sorted(got.recipients) == ["bob@there.test", "carol@there.test", "dave@there.test", "erin@there.test"]
    assert added(got.body, sent)
    assert b"erin" not in got.body

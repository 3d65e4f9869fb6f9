"""What the peer offers decides what is said at MAIL, and whether the message fits at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.attempts import BODY, delivery_rig, make_entry
from tests.support.scripted_mx import ScriptedMx

from mailboat.model.address import Address
from mailboat.model.envelope import Entry, Recipient
from mailboat.model.outcome import Result, Stage

UTF8_BODY = "Subject: Grüße\r\n\r\nhello\r\n".encode()


def to(entry: Entry, *addresses: Address) -> Entry:
    """The entry with these recipients."""
    return replace(entry, recipients=tuple(Recipient(n, a) for n, a in enumerate(addresses, 1)))


@pytest.mark.parametrize(
    ("extensions", "message", "params"),
    [
        ([], {"parameters": {"BODY": "8BITMIME", "SMTPUTF8": ""}}, []),
        (["SIZE"], {}, [f"SIZE={len(BODY)}"]),
        (["SIZE 0"], {}, [f"SIZE={len(BODY)}"]),
        (["SIZE 1000", "8BITMIME"], {"parameters": {"BODY": "8BITMIME"}}, [f"SIZE={len(BODY)}", "BODY=8BITMIME"]),
        (["8BITMIME"], {}, []),
        (["SMTPUTF8", "8BITMIME"], {"parameters": {"SMTPUTF8": ""}}, ["SMTPUTF8"]),
        (["SMTPUTF8"], {}, []),
        (["SIZE many"], {}, [f"SIZE={len(BODY)}"]),
    ],
)
async def test_parameters_are_said_where_offered_and_needed(
    extensions: list[str], message: dict[str, Any], params: list[str]
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = extensions
        assert (await rig.outcome(mx.target(), entry=make_entry(**message))).result is Result.DELIVERED

        assert mx.mails[0].params == params


async def test_a_message_larger_than_the_peer_takes_bounces_unsaid() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["SIZE 10", "PIPELINING"]
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.status, outcome.stage) == (Result.BOUNCED, "5.3.4", Stage.MAIL)
        assert str(len(BODY)) in outcome.reason
        assert mx.connections[0].verbs == ["EHLO"]


@pytest.mark.parametrize("size", [10, len(BODY)])
async def test_a_message_as_large_as_the_peer_takes_is_sent(size: int) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = [f"SIZE {size}"]
        body = BODY[:size]
        rig.bodies.body_of_all = body

        assert (await rig.outcome(mx.target(), entry=make_entry(body=body))).result is Result.DELIVERED


async def test_a_header_beyond_ascii_bounces_where_smtputf8_is_lacking() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.bodies.body_of_all = UTF8_BODY
        outcome = await rig.outcome(mx.target(), entry=make_entry(body=UTF8_BODY, parameters={"SMTPUTF8": ""}))

        assert (outcome.result, outcome.status) == (Result.BOUNCED, "5.6.7")
        assert "MAIL" not in mx.connections[0].verbs


async def test_only_the_recipient_beyond_ascii_bounces_when_nothing_else_needs_smtputf8() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        plain = Address("rcpt", "bücher.test", "xn--bcher-kva.test")
        beyond = Address("jürgen", "bücher.test", "xn--bcher-kva.test")
        report = await rig.attempt(to(make_entry(parameters={"SMTPUTF8": ""}), beyond, plain), mx.target())

        assert [(o.result, o.status) for o in report.outcomes] == [
            (Result.BOUNCED, "5.6.7"),
            (Result.DELIVERED, "2.0.0"),
        ]
        assert mx.mails[0].recipients == ["rcpt@xn--bcher-kva.test"]


async def test_addresses_beyond_ascii_go_out_as_they_are_where_smtputf8_is_offered() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING", "SMTPUTF8", "8BITMIME"]
        rig.bodies.body_of_all = UTF8_BODY
        beyond = Address("jürgen", "bücher.test", "xn--bcher-kva.test")
        entry = to(make_entry(body=UTF8_BODY, parameters={"BODY": "8BITMIME", "SMTPUTF8": ""}), beyond)

        assert (await rig.outcome(mx.target(), entry=entry)).result is Result.DELIVERED
        assert mx.mails[0].recipients == ["jürgen@bücher.test"]
        assert mx.mails[0].params == ["BODY=8BITMIME", "SMTPUTF8"]


async def test_eight_bit_octets_go_to_a_peer_without_8bitmime_as_they_are() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING"]
        body = b"Subject: x\r\n\r\n\xff\xfe\r\n"
        rig.bodies.body_of_all = body

        assert (
            await rig.outcome(mx.target(), entry=make_entry(body=body, parameters={"BODY": "8BITMIME"}))
        ).result is Result.DELIVERED
        assert (mx.bodies, mx.mails[0].params) == ([body], [])


async def test_the_null_sender_is_an_empty_path() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.outcome(mx.target(), entry=make_entry(sender=""))

        assert "MAIL FROM:<>" in mx.connections[0].lines

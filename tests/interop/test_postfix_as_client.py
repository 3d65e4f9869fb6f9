"""Postfix as the client: Mailboat is its `relayhost`."""

from __future__ import annotations

import aiosmtplib
import pytest
from tests.support.mails import AWKWARD, added, mail
from tests.support.postfix import Postfix
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_relay import TlsRelay

pytestmark = pytest.mark.interop

ALICE, BOB = "alice@here.test", "bob@there.test"


async def submit(postfix: Postfix, body: bytes, *recipients: str) -> None:
    """Hand a mail to Postfix."""
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=postfix.plain_port, start_tls=False) as client:
        await client.sendmail(ALICE, list(recipients), body, mail_options=["BODY=8BITMIME"])


async def test_what_postfix_relays_arrives_as_it_was(relay: TlsRelay, sink: ScriptedMx) -> None:
    people = [BOB, "carol@there.test", "dave@elsewhere.test"]
    async with Postfix.start(relay.port) as postfix:
        await submit(postfix, mail(AWKWARD), *people)
        await sink.wait_for(lambda mx: len(mx.mails) == 2)
    assert (await relay.event("received"))["protocol"] == "ESMTPS"
    assert sorted(sorted(m.recipients) for m in sink.mails) == [people[:2], people[2:]]
    for got in sink.mails:
        assert got.sender == ALICE
        assert set(added(got.body, mail(AWKWARD))) == {"Received"}


async def test_many_mails_at_once_all_arrive(relay: TlsRelay, sink: ScriptedMx) -> None:
    async with Postfix.start(relay.port) as postfix:
        for number in range(40):
            await submit(postfix, mail(AWKWARD, subject=f"number {number}"), f"bob{number}@there.test")
        await sink.wait_for(lambda mx: len(mx.mails) == 40)
    by_recipient = {m.recipients[0]: m.body for m in sink.mails}
    for number in range(40):
        assert added(by_recipient[f"bob{number}@there.test"], mail(AWKWARD, subject=f"number {number}"))


async def test_a_mail_of_one_mebibyte_arrives_as_it_was(relay: TlsRelay, sink: ScriptedMx) -> None:
    async with Postfix.start(relay.port) as postfix:
        await submit(postfix, mail(size=2**20), BOB)
        await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, mail(size=2**20))

"""Postfix as the next hop: what it takes, refuses, defers and limits, and what Mailboat makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest
from tests.support.mails import AWKWARD, added, mail
from tests.support.postfix import Postfix
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_relay import TlsRelay, route

pytestmark = pytest.mark.interop

ALICE, BOB = "alice@here.test", "bob@there.test"


@pytest.fixture
async def postfix(sink: ScriptedMx) -> AsyncIterator[Postfix]:
    """Hands on what it takes to the sink."""
    async with Postfix.start(sink.port) as running:
        yield running


@contextlib.asynccontextmanager
async def relay_to(
    port: int, sink: ScriptedMx, tmp_path: Path, *more: str, files: dict[str, str] | None = None
) -> AsyncIterator[TlsRelay]:
    """A relay whose mail for there.test goes to a port of Postfix, and all other, its bounces too, to the sink."""
    outbound = route(port, *more, domains="there.test") + route(sink.port)
    async with TlsRelay.start(tmp_path / "relay", outbound, files) as relay:
        yield relay


async def submit(relay: TlsRelay, body: bytes, *recipients: str, sender: str = ALICE, utf8: bool = False) -> None:
    """Hand a mail to the relay; it must be taken."""
    options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else ["BODY=8BITMIME"]
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=relay.port, start_tls=False) as client:
        await client.mail(sender, options=options, encoding="utf-8")
        for recipient in recipients or (BOB,):
            await client.rcpt(recipient, encoding="utf-8")
        await client.data(body)


async def test_mail_goes_through_postfix_over_starttls_as_it_was(
    postfix: Postfix, sink: ScriptedMx, tmp_path: Path
) -> None:
    async with relay_to(postfix.port, sink, tmp_path) as relay:
        await submit(relay, mail(AWKWARD), BOB, "carol@there.test")
        delivered = await relay.event("delivered")
        await sink.wait_for(lambda mx: mx.mails)
    assert delivered["tls"] == "TLSv1.3"
    assert delivered["verified"] is False
    assert delivered["enhanced"] == "2.0.0"
    assert len(sink.mails) == 1, f"{[(m.recipients, m.body[:600]) for m in sink.mails]}\n{postfix.log()}"
    (got,) = sink.mails
    assert (got.sender, sorted(got.recipients)) == (ALICE, [BOB, "carol@there.test"])
    assert set(added(got.body, mail(AWKWARD))) == {"Received"}


async def test_a_mail_of_one_mebibyte_goes_through(postfix: Postfix, sink: ScriptedMx, tmp_path: Path) -> None:
    async with relay_to(postfix.port, sink, tmp_path) as relay:
        await submit(relay, mail(size=2**20))
        await relay.event("delivered")
        await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, mail(size=2**20))


@pytest.mark.parametrize("trusted", [True, False])
async def test_its_certificate_is_verified_where_tls_is_required(
    trusted: bool, postfix: Postfix, sink: ScriptedMx, tmp_path: Path
) -> None:
    trust = {"tls.ini": "[outbound]\nca=postfix.pem\n", "postfix.pem": postfix.certificate.read_text()}
    outbound = f"[route:postfix]\ndomains=there.test\nhosts=localhost:{postfix.port}\ntls=required\n"
    async with TlsRelay.start(tmp_path / "relay", outbound, trust if trusted else None) as relay:
        await submit(relay, mail())
        if trusted:
            assert (await relay.event("delivered"))["verified"] is True
            await sink.wait_for(lambda mx: mx.mails)
        else:
            deferred = await relay.event("deferred")
            assert (deferred["stage"], deferred["enhanced"]) == ("tls", "4.7.5")
            assert sink.mails == []


async def test_a_host_that_insists_on_starttls_gets_it(postfix: Postfix, sink: ScriptedMx, tmp_path: Path) -> None:
    async with relay_to(postfix.strict_port, sink, tmp_path) as relay:
        await submit(relay, mail())
        assert (await relay.event("delivered"))["tls"]
        await sink.wait_for(lambda mx: mx.mails)


async def test_without_tls_a_host_that_insists_on_it_bounces_the_mail(
    postfix: Postfix, sink: ScriptedMx, tmp_path: Path
) -> None:
    async with relay_to(postfix.strict_port, sink, tmp_path, "tls=disabled") as relay:
        await submit(relay, mail())
        bounced = await relay.event("bounced")
    assert (bounced["code"], bounced["enhanced"], bounced["stage"]) == (530, "5.7.0", "mail")


async def test_tls_that_is_required_and_not_offered_defers(postfix: Postfix, sink: ScriptedMx, tmp_path: Path) -> None:
    async with relay_to(postfix.plain_port, sink, tmp_path, "tls=required") as relay:
        await submit(relay, mail())
        deferred = await relay.event("deferred")
    assert deferred["enhanced"] == "4.7.4"
    assert sink.mails == []


async def test_each_recipient_has_its_own_outcome_and_the_sender_one_bounce(
    postfix: Postfix, sink: ScriptedMx, tmp_path: Path
) -> None:
    people = ("nobody@there.test", BOB, "busy@there.test", "full@there.test")
    async with relay_to(postfix.port, sink, tmp_path) as relay:
        await submit(relay, mail(AWKWARD), *people)
        bounced = await relay.event("bounced", recipients=["nobody@there.test"])
        deferred = await relay.event("deferred", recipients=["busy@there.test"])
        full = await relay.event("deferred", recipients=["full@there.test"])
        await relay.event("delivered", recipients=[BOB])
        await sink.wait_for(lambda mx: len(mx.mails) == 2)
    assert (bounced["code"], bounced["enhanced"], bounced["stage"]) == (550, "5.1.1", "rcpt")
    assert (deferred["code"], deferred["enhanced"], deferred["stage"]) == (450, "4.2.1", "rcpt")
    # RFC 5321 4.5.3.1.10: 552 to RCPT is no final answer.
    assert (full["code"], full["enhanced"]) == (552, "4.2.2")
    report = next(m for m in sink.mails if m.sender == "")
    assert report.recipients == [ALICE]
    assert b"Diagnostic-Code: smtp; 550 5.1.1" in report.body
    assert b"Final-Recipient: rfc822; nobody@there.test" in report.body
    passed = next(m for m in sink.mails if m.sender == ALICE)
    assert passed.recipients == [BOB]
    assert added(passed.body, mail(AWKWARD))


async def test_a_mail_over_its_announced_size_bounces_without_being_sent(
    postfix: Postfix, sink: ScriptedMx, tmp_path: Path
) -> None:
    async with relay_to(postfix.port, sink, tmp_path) as relay:
        await submit(relay, mail(size=2_100_000))
        bounced = await relay.event("bounced")
        await sink.wait_for(lambda mx: mx.mails)
    assert bounced["enhanced"] == "5.3.4"
    assert sink.mails[0].sender == ""
    assert "message size" not in postfix.log()


async def test_addresses_beyond_ascii_go_through(postfix: Postfix, sink: ScriptedMx, tmp_path: Path) -> None:
    sent = mail(AWKWARD, subject="Gr\u00fc\u00dfe")
    async with relay_to(postfix.port, sink, tmp_path) as relay:
        await submit(relay, sent, "bj\u00f8rn@there.test", utf8=True)
        await relay.event("delivered")
        await sink.wait_for(lambda mx: mx.mails)
    (got,) = sink.mails
    assert got.recipients == ["bj\u00f8rn@there.test"]
    assert "SMTPUTF8" in got.params
    assert added(got.body, sent)


async def test_addresses_beyond_ascii_bounce_where_they_are_not_understood(
    postfix: Postfix, sink: ScriptedMx, tmp_path: Path
) -> None:
    async with relay_to(postfix.plain_port, sink, tmp_path) as relay:
        await submit(relay, mail(), "bj\u00f8rn@there.test", utf8=True)
        assert (await relay.event("bounced"))["enhanced"] == "5.6.7"


async def test_many_mails_share_connections(postfix: Postfix, sink: ScriptedMx, tmp_path: Path) -> None:
    async with relay_to(postfix.port, sink, tmp_path) as relay:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=relay.port, start_tls=False) as client:
            for number in range(60):
                await client.sendmail(ALICE, [f"bob{number}@there.test"], mail(subject=f"number {number}"))
        await sink.wait_for(lambda mx: len(mx.mails) == 60)
    assert {m.recipients[0] for m in sink.mails} == {f"bob{number}@there.test" for number in range(60)}

"""Python's smtplib as the client: what it submits arrives at the next hop octet for octet."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8

import pytest
from tests.support.mails import AWKWARD, added, mail
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_relay import TlsRelay

pytestmark = pytest.mark.interop

RECIPIENTS = ["bob@there.test", "carol@there.test", "dave@elsewhere.test"]


def trusting() -> ssl.SSLContext:
    """The relay's certificate is self-signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def with_client(relay: TlsRelay, use: Callable[[smtplib.SMTP], object]) -> None:
    """Run a blocking client while this loop serves the sink."""

    def session() -> None:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
            use(client)

    await asyncio.to_thread(session)


async def test_a_mail_with_dots_blanks_and_8bit_text_arrives_as_it_was(relay: TlsRelay, sink: ScriptedMx) -> None:
    sent = mail(AWKWARD)
    await with_client(relay, lambda c: c.sendmail("alice@here.test", ["bob@there.test"], sent))
    await sink.wait_for(lambda mx: mx.mails)
    (got,) = sink.mails
    assert (got.sender, got.recipients) == ("alice@here.test", ["bob@there.test"])
    assert set(added(got.body, sent)) == {"Received"}


async def test_recipients_of_a_domain_share_a_mail_and_each_domain_has_its_own(
    relay: TlsRelay, sink: ScriptedMx
) -> None:
    message = EmailMessage(policy=SMTP)
    message["From"] = "alice@here.test"
    message["To"] = ", ".join(RECIPIENTS)
    message["Date"] = "Sun, 01 Mar 2026 09:30:00 +0000"
    message["Message-ID"] = "<several@here.test>"
    message.set_content("Good day to all.\n")
    await with_client(relay, lambda c: c.send_message(message))
    await sink.wait_for(lambda mx: len(mx.mails) == 2)
    assert sorted(m.recipients for m in sink.mails) == [RECIPIENTS[:2], RECIPIENTS[2:]]
    for got in sink.mails:
        assert added(got.body, message.as_bytes())


async def test_a_mail_of_one_mebibyte_arrives_as_it_was(relay: TlsRelay, sink: ScriptedMx) -> None:
    sent = mail(size=2**20)
    await with_client(relay, lambda c: c.sendmail("alice@here.test", ["bob@there.test"], sent))
    await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, sent)


async def test_starttls_is_taken_and_said_in_the_trace(relay: TlsRelay, sink: ScriptedMx) -> None:
    sent = mail(AWKWARD)

    def use(client: smtplib.SMTP) -> None:
        client.starttls(context=trusting())
        client.sendmail("alice@here.test", ["bob@there.test"], sent)

    await with_client(relay, use)
    assert (await relay.event("received"))["protocol"] == "ESMTPS"
    await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, sent)
    assert b"with ESMTPS" in sink.mails[0].body


async def test_implicit_tls_is_taken(relay: TlsRelay, sink: ScriptedMx) -> None:
    sent = mail(AWKWARD)

    def session() -> None:
        with smtplib.SMTP_SSL("127.0.0.1", relay.smtps_port, timeout=20, context=trusting()) as client:
            client.sendmail("alice@here.test", ["bob@there.test"], sent)

    await asyncio.to_thread(session)
    await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, sent)


async def test_addresses_beyond_ascii_go_through(relay: TlsRelay, sink: ScriptedMx) -> None:
    message = EmailMessage(policy=SMTPUTF8)
    message["From"] = "jürgen@here.test"
    message["To"] = "bjørn@there.test"
    message["Date"] = "Sun, 01 Mar 2026 09:30:00 +0000"
    message["Message-ID"] = "<utf8@here.test>"
    message["Subject"] = "Grüße"
    message.set_content("Guten Tag.\n")
    await with_client(relay, lambda c: c.send_message(message))
    await sink.wait_for(lambda mx: mx.mails)
    (got,) = sink.mails
    assert (got.sender, got.recipients) == ("jürgen@here.test", ["bjørn@there.test"])
    assert "SMTPUTF8" in got.params
    assert added(got.body, message.as_bytes())


async def test_several_mails_of_one_session_all_arrive(relay: TlsRelay, sink: ScriptedMx) -> None:
    def use(client: smtplib.SMTP) -> None:
        for number in range(20):
            client.sendmail("alice@here.test", [f"bob{number}@there.test"], mail(subject=f"number {number}"))

    await with_client(relay, use)
    await sink.wait_for(lambda mx: len(mx.mails) == 20)
    assert {m.recipients[0] for m in sink.mails} == {f"bob{number}@there.test" for number in range(20)}


async def test_a_refused_recipient_is_told_and_the_rest_goes_on(relay: TlsRelay, sink: ScriptedMx) -> None:
    refused: dict[str, tuple[int, bytes]] = {}

    def use(client: smtplib.SMTP) -> None:
        refused.update(client.sendmail("alice@here.test", ["not an address", "bob@there.test"], mail()))

    await with_client(relay, use)
    assert refused["not an address"][0] in (501, 553)
    await sink.wait_for(lambda mx: mx.mails)
    assert sink.mails[0].recipients == ["bob@there.test"]

"""TLS for clients: STARTTLS (RFC 3207) and TLS from the first octet (RFC 8314), and whatever goes wrong in it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.ingress import Rig, serving
from tests.support.pem import self_signed
from tests.support.smtp_client import PATIENCE, TEXT, Client
from tests.support.stores import until

from mailboat.config.settings import TlsSettings
from mailboat.ingress.connection import HANDSHAKE_TIMEOUT
from mailboat.model.observer import RejectReason

MAIL = b"MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n" + TEXT + b".\r\n"


class Authority:
    """Certificates for relay.test in a directory, and what a client needs to check them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = TlsSettings(key=str(directory / "key.pem"), cert=str(directory / "cert.pem"))
        self.issue()

    def issue(self) -> None:
        """Put a new key and a new certificate in place."""
        key, cert = self_signed("relay.test")
        (self.directory / "key.pem").write_bytes(key)
        (self.directory / "cert.pem").write_bytes(cert)

    def client(self, **changes: Any) -> ssl.SSLContext:
        """A client's context that trusts the present certificate only."""
        context = ssl.create_default_context(cafile=str(self.directory / "cert.pem"))
        for name, value in changes.items():
            setattr(context, name, value)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def secure(authority: Authority, **changes: Any) -> AsyncIterator[Rig]:
    async with serving(tls=authority.settings, smtps=True, **changes) as rig:
        yield rig


async def upgraded(rig: Rig, context: ssl.SSLContext) -> Client:
    """A client after STARTTLS, before its second EHLO."""
    client = await rig.greeted()
    assert (await client.ask("STARTTLS")).startswith("220 2.0.0 ")
    await client.start_tls(context)
    return client


async def test_starttls_is_offered_and_mail_goes_over_it(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await rig.client()
        assert "STARTTLS" in await client.ehlo()
        assert (await client.ask("STARTTLS")).startswith("220 2.0.0 ")
        await client.start_tls(authority.client())
        assert "STARTTLS" not in await client.ehlo()
        assert (await client.mail()).startswith("250 2.0.0 ")
        assert (await client.ask("STARTTLS")).startswith("502 5.5.1 ")
        await client.quit()
        [mail] = await rig.mails()
        assert b"with ESMTPS\r\n\t(TLSv1.3 TLS_" in mail.received
        assert [fact.protocol for fact in rig.facts.mails] == ["ESMTPS"]


async def test_implicit_tls_is_tls_from_the_first_octet(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await rig.client(implicit_tls=True, tls=authority.client())
        assert "STARTTLS" not in await client.ehlo()
        for _ in range(3):
            assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert {fact.protocol for fact in rig.facts.mails} == {"ESMTPS"}


async def test_a_large_message_comes_through_tls_octet_for_octet(authority: Authority) -> None:
    body = TEXT + b"".join(b"%d " % n * 9 + b"\r\n.\r\n" for n in range(30_000)).replace(b"\r\n.\r\n", b"\r\n..\r\n")
    async with secure(authority) as rig:
        client = await rig.greeted(implicit_tls=True, tls=authority.client())
        assert (await client.mail(body)).startswith("250 2.0.0 ")
        await client.quit()
        [mail] = await rig.mails()
        assert mail.body.endswith(body.replace(b"\r\n..", b"\r\n."))


async def test_after_starttls_a_new_ehlo_is_needed(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await upgraded(rig, authority.client())
        assert (await client.ask("MAIL FROM:<alice@sender.test>")).startswith("503 5.5.1 ")
        assert (await client.ask("STARTTLS")).startswith("503 5.5.1 ")
        await client.ehlo()
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()


async def test_what_comes_in_the_clear_behind_starttls_is_dropped(authority: Authority) -> None:
    """Command injection (CVE-2011-0411): such octets were not said inside TLS, by whoever said them."""
    async with secure(authority) as rig:
        client = await rig.greeted()
        client.send(b"STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@sender.test>\r\n")
        assert (await client.reply()).startswith("220 2.0.0 ")
        await client.start_tls(authority.client())
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("503 5.5.1 MAIL first")
        await client.quit()
        assert rig.facts.reasons == [RejectReason.SEQUENCE]


async def test_what_comes_in_one_flight_with_the_end_of_the_handshake_is_heard(authority: Authority) -> None:
    """TLS 1.3 lets a client finish and speak at once, before our loop has said that the handshake is over."""
    async with secure(authority) as rig:
        for implicit in (False, True):
            client = await rig.stranger(implicit_tls=True) if implicit else await rig.greeted()
            if not implicit:
                await client.ask("STARTTLS")
            heard = await speak_at_once(client, authority.client(), b"EHLO c\r\n" + MAIL + b"QUIT\r\n")
            replies = heard.decode().splitlines()
            assert [line[:9] for line in replies if line[:4] not in ("220 ", "250-", "250 ")] == [
                "354 End d",
                "221 2.0.0",
            ]
            assert replies[-2].startswith("250 2.0.0 Message Queued (")
            assert replies[0].startswith("220 " if implicit else "250-")
        assert len(await rig.mails()) == 2


async def speak_at_once(client: Client, context: ssl.SSLContext, octets: bytes) -> bytes:
    """Shake hands by hand, and send `octets` in one piece with the last of it; all that the relay says in reply."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="relay.test")
    heard, done = b"", False
    async with asyncio.timeout(PATIENCE):
        while not (done and heard.endswith(b"closing connection\r\n")):
            try:
                if not done:
                    tls.do_handshake()
                    tls.write(octets)
                    done = True
                heard += tls.read()
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(await client.reader.read(65_536))
    client.close()
    return heard


async def test_starttls_within_a_transaction_is_refused(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await rig.greeted()
        await client.ask("MAIL FROM:<alice@sender.test>")
        assert (await client.ask("STARTTLS")).startswith("503 5.5.1 ")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("250 2.1.5 ")
        await client.quit()


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 1000, b"EHLO client.test\r\n", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff", bytes(range(256))],
    ids=["NULs", "plain text", "a short record", "a huge record", "anything"],
)
async def test_tls_garbage_ends_that_connection_only(authority: Authority, garbage: bytes, implicit: bool) -> None:
    async with secure(authority, max_connections=1) as rig:
        client = await rig.stranger(implicit_tls=True) if implicit else await rig.greeted()
        if not implicit:
            await client.ask("STARTTLS")
        client.send(garbage)
        client.half_close()
        heard = await client.rest()
        assert b"250" not in heard
        client.close()
        await rig.facts.until(lambda facts: facts.here == 0)
        await (await upgraded(rig, authority.client())).quit()


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["never begun", "never finished"])
async def test_a_handshake_that_is_not_finished_times_out(authority: Authority, implicit: bool, sent: bytes) -> None:
    async with secure(authority, max_connections=1) as rig:
        client = await rig.stranger(implicit_tls=True) if implicit else await rig.greeted()
        if not implicit:
            await client.ask("STARTTLS")
        client.send(sent)
        await until(lambda: any(connection._upgrade for connection in rig.connections))
        rig.later(HANDSHAKE_TIMEOUT - 1)
        assert rig.facts.here == 1
        rig.later(2)
        assert await client.rest() == b""
        client.close()
        await rig.facts.until(lambda facts: facts.here == 0)
        assert rig.facts.reasons == [RejectReason.TIMEOUT]
        await (await rig.greeted(implicit_tls=True, tls=authority.client())).quit()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
async def test_a_client_that_leaves_in_its_handshake_leaves_no_trace(
    authority: Authority, implicit: bool, how: str
) -> None:
    async with secure(authority, max_connections=1) as rig:
        for _ in range(3):
            client = await rig.stranger(implicit_tls=True) if implicit else await rig.greeted()
            if not implicit:
                await client.ask("STARTTLS")
            client.send(b"\x16\x03\x01\x02")
            await until(lambda: any(connection._upgrade for connection in rig.connections))
            getattr(client, how)()
            await rig.facts.until(lambda facts: facts.here == 0)


async def test_a_client_that_does_not_trust_us_leaves_and_may_come_back(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await rig.greeted()
        await client.ask("STARTTLS")
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.start_tls(ssl.create_default_context())
        client.close()
        await rig.facts.until(lambda facts: facts.here == 0)
        await (await upgraded(rig, authority.client())).quit()


async def test_a_client_with_versions_too_old_is_refused(authority: Authority) -> None:
    async with secure(authority) as rig:
        rig.configure(tls=replace(authority.settings, min_version="TLSv1.3"))
        client = await rig.greeted()
        await client.ask("STARTTLS")
        with pytest.raises(OSError):
            await client.start_tls(authority.client(maximum_version=ssl.TLSVersion.TLSv1_2))
        client.close()
        await rig.facts.until(lambda facts: RejectReason.TLS in facts.reasons)


async def test_a_renewed_certificate_is_shown_to_the_next_session(authority: Authority) -> None:
    async with secure(authority) as rig:
        before = authority.client()
        old = await upgraded(rig, before)
        authority.issue()
        rig.configure(tls=replace(authority.settings, digest="another"))
        await (await upgraded(rig, authority.client())).quit()
        await (await rig.greeted(implicit_tls=True, tls=authority.client())).quit()
        old.close()
        client = await rig.greeted()
        await client.ask("STARTTLS")
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.start_tls(before)
        client.close()


async def test_a_session_inside_tls_ends_its_transaction_when_tls_was_replaced_and_is_told_421_then(
    authority: Authority,
) -> None:
    async with secure(authority) as rig:
        plain, old = await rig.greeted(), await upgraded(rig, authority.client())
        await old.ehlo()
        await old.begin()
        rig.configure(tls=replace(authority.settings, digest="another"))
        new = await upgraded(rig, authority.client())
        rig.later(1)
        old.send(TEXT + b".\r\n")
        assert (await old.reply()).startswith("250 2.0.0 ")
        rig.later(1)
        assert await old.reply() == "421 4.3.2 TLS settings have changed, connect again"
        assert await old.rest() == b""
        old.close()
        await plain.quit()
        await new.quit()


async def test_a_certificate_that_was_taken_away_meanwhile_is_454(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await rig.greeted()
        rig.configure(tls=TlsSettings(key="", cert=""))
        assert (await client.ask("STARTTLS")).startswith("454 4.7.0 ")
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        other = await rig.client()
        assert "STARTTLS" not in await other.ehlo()
        await other.quit()


async def test_a_message_that_breaks_off_with_its_tls_is_no_message(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await rig.greeted(implicit_tls=True, tls=authority.client())
        await client.begin()
        client.send(TEXT)
        client.writer.transport.abort()
        await rig.facts.until(lambda facts: facts.here == 0)
        assert await rig.mails() == []


async def test_garbage_inside_the_stream_ends_that_connection_only(authority: Authority) -> None:
    async with secure(authority) as rig:
        client = await rig.greeted(implicit_tls=True, tls=authority.client())
        sock = client.writer.get_extra_info("socket")
        os.write(sock.fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await rig.facts.until(lambda facts: facts.here == 0)
        client.writer.transport.abort()

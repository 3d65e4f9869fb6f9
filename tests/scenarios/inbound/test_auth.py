"""AUTH through real sockets: what is offered, each exchange, who may relay then, and how guessing is slowed down."""

from __future__ import annotations

import asyncio
import base64
import hmac
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import argon2
import pytest
from tests.support.ingress import Rig, serving
from tests.support.pem import self_signed
from tests.support.plugins import Gate, chain, loaded
from tests.support.smtp_client import TEXT, Client
from tests.support.stores import until

from mailboat.config.settings import TlsSettings
from mailboat.hooks import DENY, DENYDISCONNECT, DENYSOFT, DENYSOFTDISCONNECT, OK, AuthAttempt, Code, Connection, Point
from mailboat.ingress.authenticator import MAX_FAILURES
from mailboat.model.observer import HookFailure, RejectReason

FILE = "[core]\nmethods=PLAIN, LOGIN, CRAM-MD5\n{core}\n[users]\nanna@example.com=sesame\nbert=0123\n"
SENDER = "anna@example.com"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PLAIN = "AUTH PLAIN " + b64(f"\0{SENDER}\0sesame")
WRONG = "AUTH PLAIN " + b64(f"\0{SENDER}\0wrong")


@pytest.fixture
def tls(tmp_path: Path) -> TlsSettings:
    key, cert = self_signed("relay.test")
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "cert.pem").write_bytes(cert)
    return TlsSettings(key=str(tmp_path / "key.pem"), cert=str(tmp_path / "cert.pem"))


def trusting(settings: TlsSettings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.cert)


@asynccontextmanager
async def relay(directory: Path, core: str = "", **changes: Any) -> AsyncIterator[Rig]:
    """A relay with users, on which nobody may relay without AUTH."""
    (directory / "auth_flat_file.ini").write_text(FILE.format(core=core))
    async with serving(acl=(), hooks=loaded(directory, "auth_flat_file"), **changes) as rig:
        yield rig


async def wrong(rig: Rig, client: Client, command: str, seconds: float) -> str:
    """The reply to wrong credentials, which comes after so many seconds and not before."""
    client.send(command.encode() + b"\r\n")
    [connection] = rig.connections
    await until(lambda: connection.held and connection.policy.authenticator._held_back is not None)
    rig.later(seconds - 0.5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.readexactly(1), 0.02)
    rig.later(0.5)
    return await client.reply()


# Real clients.


def by_plain(client: smtplib.SMTP) -> None:
    client.user, client.password = SENDER, "sesame"
    assert client.auth("PLAIN", client.auth_plain)[0] == 235


def by_plain_in_two_steps(client: smtplib.SMTP) -> None:
    client.user, client.password = SENDER, "sesame"
    assert client.auth("PLAIN", client.auth_plain, initial_response_ok=False)[0] == 235


def by_login(client: smtplib.SMTP) -> None:
    client.user, client.password = SENDER, "sesame"
    assert client.auth("LOGIN", client.auth_login)[0] == 235


def by_login_in_three_steps(client: smtplib.SMTP) -> None:
    client.user, client.password = SENDER, "sesame"
    assert client.auth("LOGIN", client.auth_login, initial_response_ok=False)[0] == 235


def by_cram_md5(client: smtplib.SMTP) -> None:
    client.user, client.password = SENDER, "sesame"
    assert client.auth("CRAM-MD5", client.auth_cram_md5)[0] == 235


def by_whatever_is_best(client: smtplib.SMTP) -> None:
    assert client.login(SENDER, "sesame")[0] == 235


@pytest.mark.parametrize(
    "authenticate",
    [by_plain, by_plain_in_two_steps, by_login, by_login_in_three_steps, by_cram_md5, by_whatever_is_best],
)
@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
async def test_smtplib_authenticates_and_relays(
    authenticate: Callable[[smtplib.SMTP], None], secure: bool, tmp_path: Path, tls: TlsSettings
) -> None:
    async with relay(tmp_path, tls=tls) as rig:

        def session() -> None:
            with smtplib.SMTP("127.0.0.1", rig.listener.ports[0], timeout=20) as client:
                if secure:
                    context = trusting(tls)
                    context.check_hostname = False
                    client.starttls(context=context)
                client.ehlo()
                authenticate(client)
                client.sendmail(SENDER, ["bob@there.test"], TEXT)

        await asyncio.to_thread(session)
        [mail] = await rig.mails()
        assert mail.recipients == ["bob@there.test"]
        assert (b"with ESMTPSA" if secure else b"with ESMTPA") in mail.received
        assert rig.facts.mails[0].protocol == ("ESMTPSA" if secure else "ESMTPA")
        assert rig.facts.refusals == []


async def test_smtplib_hears_of_wrong_credentials(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:

        def session() -> int:
            with smtplib.SMTP("127.0.0.1", rig.listener.ports[0], timeout=20) as client:
                client.ehlo()
                client.user, client.password = SENDER, "wrong"
                with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
                    client.auth("PLAIN", client.auth_plain)
                return caught.value.smtp_code

        asked = asyncio.create_task(asyncio.to_thread(session))
        while not asked.done():
            await asyncio.sleep(0.01)
            rig.later(1)
        assert await asked == 535


# What is offered.


async def test_auth_is_offered_inside_tls_and_on_loopback(tmp_path: Path, tls: TlsSettings) -> None:
    async with relay(tmp_path, tls=tls) as rig:
        client = await rig.client()
        assert "AUTH PLAIN LOGIN CRAM-MD5" in await client.ehlo()
        assert (await client.ask("STARTTLS")).startswith("220 ")
        await client.start_tls(trusting(tls))
        assert (await client.ask(PLAIN)).startswith("503 5.5.1 ")
        assert "AUTH PLAIN LOGIN CRAM-MD5" in await client.ehlo()
        await client.quit()


def strangers(offer: tuple[str, ...]) -> Callable[[Connection], tuple[str, ...]]:
    """An offer for TLS only, as for clients from far away."""
    return lambda connection: offer if connection.tls else ()


async def test_plain_text_mechanisms_wait_for_tls(tls: TlsSettings) -> None:
    async def yes(*_: object) -> Code:
        return OK

    hooks = chain({Point.AUTH: yes}, offers=strangers(("PLAIN", "CRAM-MD5", "XOAUTH2")))
    async with serving(acl=(), tls=tls, hooks=hooks) as rig:
        client = await rig.client()
        assert not [keyword for keyword in await client.ehlo() if keyword.startswith("AUTH")]
        assert (await client.ask(PLAIN)).startswith("538 5.7.11 ")
        assert (await client.ask("AUTH CRAM-MD5")).startswith("504 5.5.4 ")
        await client.ask("MAIL FROM:<>")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("530 5.7.0 ")
        await client.ask("RSET")
        await client.ask("STARTTLS")
        await client.start_tls(trusting(tls))
        assert "AUTH PLAIN CRAM-MD5" in await client.ehlo()
        assert (await client.ask(PLAIN)).startswith("235 2.7.0 ")
        await client.quit()


# The transcript of each case.


@pytest.mark.parametrize(
    ("lines", "reply", "reason"),
    [
        (["AUTH"], "501 5.5.4", RejectReason.AUTH),
        (["AUTH PLAIN %"], "501 5.5.2", RejectReason.AUTH),
        (["AUTH PLAIN ="], "501 5.5.2", RejectReason.AUTH),
        (["AUTH PLAIN", "*"], "501 5.7.0", RejectReason.AUTH),
        (["AUTH LOGIN", "*"], "501 5.7.0", RejectReason.AUTH),
        (["AUTH LOGIN", b64(SENDER), "*"], "501 5.7.0", RejectReason.AUTH),
        (["AUTH LOGIN", ""], "501 5.5.2", RejectReason.AUTH),
        (["AUTH CRAM-MD5", "*"], "501 5.7.0", RejectReason.AUTH),
        (["AUTH CRAM-MD5 " + b64(SENDER)], "501 5.7.0", RejectReason.AUTH),
        (["AUTH DIGEST-MD5"], "504 5.5.4", RejectReason.AUTH),
        (["AUTH PLAIN", "A" * 12_300], "500 5.5.6", RejectReason.AUTH),
        (["MAIL FROM:<>", PLAIN], "503 5.5.1", RejectReason.SEQUENCE),
        ([PLAIN, PLAIN], "503 5.5.1", RejectReason.SEQUENCE),
    ],
)
async def test_what_is_wrong_is_said_clearly_and_the_session_goes_on(
    lines: list[str], reply: str, reason: RejectReason, tmp_path: Path
) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        said = ""
        for line in lines:
            client.send(line.encode() + b"\r\n")
            said = await client.reply(enhanced=False)
        assert said.startswith(reply + " ")
        assert rig.facts.reasons == [reason]
        assert "sesame" not in str(rig.facts.refusals)
        assert (await client.ask("NOOP")).startswith("250 2.0.0 ")
        await client.quit()


@pytest.mark.parametrize(
    "exchange",
    [
        [WRONG],
        ["AUTH PLAIN " + b64("\0nobody\0sesame")],
        ["AUTH PLAIN " + b64(f"bert\0{SENDER}\0sesame")],
        ["AUTH LOGIN", b64(SENDER), b64("wrong")],
        ["AUTH CRAM-MD5", b64(f"{SENDER} {'0' * 32}")],
    ],
    ids=["password", "user", "as somebody else", "login", "cram-md5"],
)
async def test_wrong_credentials_are_535_after_a_second_and_may_be_corrected(
    exchange: list[str], tmp_path: Path
) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        for line in exchange[:-1]:
            client.send(line.encode() + b"\r\n")
            assert (await client.reply(enhanced=False)).startswith("334 ")
        assert (await wrong(rig, client, exchange[-1], 1.0)).startswith("535 5.7.8 ")
        assert rig.facts.reasons == [RejectReason.AUTH]
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("530 5.7.0 ")
        await client.ask("RSET")
        assert (await client.ask(PLAIN)).startswith("235 2.7.0 ")
        await client.quit()


async def test_each_failure_waits_longer_and_the_last_one_closes(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        for failure in range(1, MAX_FAILURES):
            assert (await wrong(rig, client, WRONG, 2.0 ** (failure - 1))).startswith("535 5.7.8 ")
        assert (await wrong(rig, client, WRONG, 16.0)).startswith("421 4.7.0 ")
        assert await client.rest() == b""
        client.close()
        assert rig.facts.reasons == [RejectReason.AUTH] * MAX_FAILURES


async def test_while_one_client_waits_others_are_served(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        slow = await rig.greeted()
        slow.send(WRONG.encode() + b"\r\nNOOP\r\n")
        await until(lambda: any(c.held for c in rig.connections))
        other = await rig.greeted()
        assert (await other.ask(PLAIN)).startswith("235 2.7.0 ")
        await other.quit()
        rig.later(1)
        assert (await slow.reply()).startswith("535 5.7.8 ")
        assert (await slow.reply()).startswith("250 2.0.0 ")
        await slow.quit()


async def test_a_client_that_leaves_while_it_waits_leaves_nothing(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        client.send(WRONG.encode() + b"\r\n")
        await until(lambda: any(c.held for c in rig.connections))
        client.reset()
        await rig.facts.until(lambda facts: facts.here == 0)
        rig.later(1)
        assert rig.facts.reasons == []


async def test_commands_behind_the_credentials_are_answered_after_them(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        client.send(
            f"{PLAIN}\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<bob@there.test>\r\nDATA\r\n".encode() + TEXT + b".\r\n"
        )
        assert [reply[:3] for reply in await client.replies(5)] == ["235", "250", "250", "354", "250"]
        client.send(b"AUTH LOGIN\r\n")
        assert (await client.reply()).startswith("503 5.5.1 ")
        await client.quit()


async def test_a_whole_login_may_come_in_one_piece(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        client.send(f"AUTH LOGIN\r\n{b64('bert')}\r\n{b64('0123')}\r\nNOOP\r\n".encode())
        assert [(await client.reply(enhanced=False))[:3] for _ in range(4)] == ["334", "334", "235", "250"]
        await client.quit()


async def test_each_cram_md5_challenge_is_new(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        seen = set()
        for _ in range(3):
            client.send(b"AUTH CRAM-MD5\r\n")
            challenge = base64.b64decode((await client.reply(enhanced=False))[4:])
            assert challenge.startswith(b"<")
            assert challenge.endswith(b"@relay.test>")
            seen.add(challenge)
            await client.ask("*")
        assert len(seen) == 3
        client.send(b"AUTH CRAM-MD5\r\n")
        challenge = base64.b64decode((await client.reply(enhanced=False))[4:])
        digest = hmac.new(b"0123", challenge, "md5").hexdigest()
        assert (await client.ask(b64(f"bert {digest}"))).startswith("235 2.7.0 ")
        await client.quit()


# Who must authenticate.


@pytest.mark.parametrize("implicit_tls", [False, True], ids=["smtp", "submissions"])
async def test_without_auth_mail_is_refused_where_only_our_clients_come_and_recipients_elsewhere(
    implicit_tls: bool, tmp_path: Path, tls: TlsSettings
) -> None:
    async with relay(tmp_path, tls=tls, smtps=True) as rig:
        client = await rig.client(implicit_tls=implicit_tls, tls=trusting(tls) if implicit_tls else None)
        await client.ehlo()
        said = await client.ask(f"MAIL FROM:<{SENDER}>")
        if implicit_tls:
            assert said == "530 5.7.0 Authentication required"
            assert rig.facts.reasons == [RejectReason.AUTH]
        else:
            assert said.startswith("250 ")
            assert (await client.ask("RCPT TO:<bob@there.test>")) == "530 5.7.0 Authentication required"
            assert rig.facts.reasons == [RejectReason.RELAY_DENIED]
            await client.ask("RSET")
        assert (await client.ask(PLAIN)).startswith("235 ")
        assert (await client.mail(sender=SENDER)).startswith("250 2.0.0 ")
        await client.quit()


async def test_submission_listen_is_for_those_who_authenticate_or_relay_by_address(tmp_path: Path) -> None:
    async with relay(tmp_path, submission=True) as rig:
        port, submission = rig.listener.ports
        for where, reply in ((port, "250 2.1.0 "), (submission, "530 5.7.0 ")):
            client = await Client.connect(where)
            await client.reply(enhanced=False)
            await client.ehlo()
            assert (await client.ask(f"MAIL FROM:<{SENDER}>")).startswith(reply)
            await client.ask("RSET")
            assert (await client.ask(PLAIN)).startswith("235 ")
            assert (await client.mail(sender=SENDER)).startswith("250 2.0.0 ")
            await client.quit()
        rig.configure(relay_acl=(ip_network("127.0.0.0/8"),))
        client = await Client.connect(submission)
        await client.reply(enhanced=False)
        await client.ehlo()
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()


async def test_without_a_plugin_for_auth_submission_listen_takes_who_relays_by_address() -> None:
    async with serving(submission=True) as rig:
        client = await Client.connect(rig.listener.ports[1])
        await client.reply(enhanced=False)
        await client.ehlo()
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()


async def test_the_fact_of_a_received_message_names_the_user(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        client = await rig.greeted()
        assert (await client.ask(PLAIN)).startswith("235 ")
        assert (await client.mail(sender=SENDER)).startswith("250 2.0.0 ")
        await client.quit()
        assert [(fact.user, fact.protocol) for fact in rig.facts.mails] == [(SENDER, "ESMTPA")]


async def test_users_are_not_held_to_senders_allow(tmp_path: Path) -> None:
    async with relay(tmp_path, senders=frozenset({"elsewhere.test"})) as rig:
        client = await rig.greeted()
        assert (await client.ask(PLAIN)).startswith("235 ")
        assert (await client.mail(sender=SENDER)).startswith("250 2.0.0 ")
        await client.quit()


async def test_the_submission_port_is_for_those_who_authenticate(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        rig.context.submission_port = rig.listener.ports[0]
        client = await rig.greeted()
        assert (await client.ask("MAIL FROM:<>")) == "530 5.7.0 Authentication required"
        assert (await client.ask(PLAIN)).startswith("235 ")
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        await client.quit()
        rig.configure(relay_acl=(ip_network("127.0.0.0/8"),))
        client = await rig.greeted()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        await client.quit()


async def test_relaying_that_a_plugin_sets_without_saying_ok_does_not_last() -> None:
    async def auth(connection: Connection, _: object) -> Code:
        connection.relaying = True
        return DENYSOFT

    async with serving(acl=(), hooks=chain({Point.AUTH: auth}, offers=lambda _: ("PLAIN",))) as rig:
        client = await rig.greeted()
        assert (await client.ask(PLAIN)).startswith("454 ")
        await client.ask("MAIL FROM:<>")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("530 ")
        await client.quit()


async def test_where_nobody_can_authenticate_nobody_is_asked_to(tls: TlsSettings) -> None:
    async with serving(acl=(), tls=tls, smtps=True) as rig:
        client = await rig.client(implicit_tls=True, tls=trusting(tls))
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("550 5.7.1 ")
        await client.quit()


async def test_starttls_takes_the_authentication_away(tmp_path: Path, tls: TlsSettings) -> None:
    async with relay(tmp_path, tls=tls) as rig:
        client = await rig.greeted()
        assert (await client.ask(PLAIN)).startswith("235 ")
        await client.ask("STARTTLS")
        await client.start_tls(trusting(tls))
        await client.ehlo()
        await client.ask("MAIL FROM:<>")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("530 ")
        await client.quit()


@pytest.mark.parametrize(
    ("user", "sender", "core", "reply"),
    [
        (SENDER, "<bert@mail.example.com>", "", "250 2.1.0 "),
        (SENDER, "<bert@other.com>", "", "550 5.7.1 "),
        (SENDER, "<bert@other.com>", "constrain_sender=false", "250 2.1.0 "),
        (SENDER, "<>", "", "250 2.1.0 "),
        ("bert", "<bert@other.com>", "", "250 2.1.0 "),
    ],
)
async def test_senders_are_held_to_the_users_organisation(
    user: str, sender: str, core: str, reply: str, tmp_path: Path
) -> None:
    async with relay(tmp_path, core) as rig:
        client = await rig.greeted()
        password = "0123" if user == "bert" else "sesame"
        assert (await client.ask("AUTH PLAIN " + b64(f"\0{user}\0{password}"))).startswith("235 ")
        assert (await client.ask(f"MAIL FROM:{sender}")).startswith(reply)
        await client.quit()


async def test_a_hashed_password_is_checked_and_cram_md5_not_offered(tmp_path: Path) -> None:
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("sesame")
    async with relay(tmp_path, f"[users]\ncarla={hashed}") as rig:
        client = await rig.client()
        assert "AUTH PLAIN LOGIN" in await client.ehlo()
        assert (await client.ask("AUTH PLAIN " + b64("\0carla\0sesame"))).startswith("235 ")
        await client.quit()


# What plugins say.


@pytest.mark.parametrize(
    ("answer", "reply", "held", "closes"),
    [
        (OK, "235 2.7.0 ", False, False),
        (None, "535 5.7.8 Authentication credentials invalid", True, False),
        (DENY, "535 5.7.8 ", True, False),
        ((DENY, "5.7.13 account disabled"), "535 5.7.13 account disabled", True, False),
        (DENYDISCONNECT, "535 5.7.8 ", True, True),
        (DENYSOFT, "454 4.7.0 ", False, False),
        ((DENYSOFT, "4.7.0 directory is down"), "454 4.7.0 directory is down", False, False),
        (DENYSOFTDISCONNECT, "454 4.7.0 ", False, True),
    ],
    ids=str,
)
async def test_each_answer_of_an_auth_plugin(answer: object, reply: str, held: bool, closes: bool) -> None:
    async def auth(*_: object) -> object:
        return answer

    async with serving(acl=(), hooks=chain({Point.AUTH: auth}, offers=lambda _: ("PLAIN",))) as rig:
        client = await rig.greeted()
        said = await wrong(rig, client, PLAIN, 1.0) if held else await client.ask(PLAIN)
        assert said.startswith(reply)
        if closes:
            assert await client.rest() == b""
            client.close()
        else:
            await client.quit()
        assert rig.facts.reasons == ([] if answer is OK else [RejectReason.AUTH])


async def test_plugins_get_what_the_client_gave() -> None:
    attempts: list[AuthAttempt] = []

    async def auth(connection: Connection, attempt: AuthAttempt) -> Code:
        attempts.append(attempt)
        assert connection.auth_user is None
        return OK

    users = []

    async def mail(connection: Connection, *_: object) -> None:
        users.append((connection.auth_user, connection.relaying))

    hooks = chain({Point.AUTH: auth, Point.MAIL: mail}, offers=lambda _: ("plain",))
    async with serving(acl=(), hooks=hooks) as rig:
        client = await rig.greeted()
        assert (await client.ask(PLAIN)).startswith("235 ")
        await client.ask("MAIL FROM:<>")
        client.close()
    [attempt] = attempts
    assert (attempt.method, attempt.user, attempt.password) == ("PLAIN", SENDER, "sesame")
    assert "sesame" not in repr(attempt)
    assert users == [(SENDER, True)]


async def test_a_plugin_that_fails_authenticates_nobody() -> None:
    async def auth(*_: object) -> Code:
        raise RuntimeError("no directory")

    async with serving(acl=(), hooks=chain({Point.AUTH: auth}, offers=lambda _: ("PLAIN",))) as rig:
        client = await rig.greeted()
        assert (await client.ask(PLAIN)).startswith("454 4.7.0 ")
        await client.quit()
        assert rig.facts.failures == [("auth", "auth", HookFailure.RAISED)]


async def test_a_client_that_leaves_cancels_its_check() -> None:
    gate = Gate(OK)
    async with serving(acl=(), hooks=chain({Point.AUTH: gate.hook}, offers=lambda _: ("PLAIN",))) as rig:
        client = await rig.greeted()
        client.send(PLAIN.encode() + b"\r\n")
        await until(lambda: gate.waiting == 1)
        client.reset()
        await until(lambda: gate.cancelled == 1)

"""AUTH in the session: every exchange, whole, octet by octet and with commands behind it (RFC 4954)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable

import pytest

from mailboat.smtp import events
from mailboat.smtp.extensions import Offers
from mailboat.smtp.lines import MAX_AUTH_LINE
from mailboat.smtp.session import ServerSession, SessionLimits
from mailboat.smtp.states import SessionState

TICKET = b"<1.2@mx.example>"
ALL = ("PLAIN", "LOGIN", "CRAM-MD5")


def b64(text: str | bytes) -> bytes:
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


def session(auth: tuple[str, ...] | None = ALL, *, starttls: bool = False) -> ServerSession:
    offers = Offers(1000, starttls=starttls, auth=auth)
    return ServerSession("mx.example", SessionLimits(), offers, ticket=lambda: TICKET)


def talk(server: ServerSession, pieces: Iterable[bytes], *, accept: bool = True) -> tuple[list[events.Event], str]:
    """Feed octets and answer every event; what was asked, and what was said."""
    asked: list[events.Event] = []
    for piece in pieces:
        server.feed(piece)
        while (event := server.next_event()) is not None:
            asked.append(event)
            if isinstance(event, events.Hello):
                server.answer(server.ehlo(), accepted=True)
            elif isinstance(event, events.Auth):
                server.answer(b"235 2.7.0 yes\r\n" if accept else b"535 5.7.8 no\r\n", accepted=accept)
            elif isinstance(event, events.Mail):
                server.answer(b"250 2.1.0 OK\r\n", accepted=True)
    return asked, server.data_to_send().decode()


def greeted(auth: tuple[str, ...] | None = ALL, *, starttls: bool = False) -> ServerSession:
    server = session(auth, starttls=starttls)
    talk(server, [b"EHLO c\r\n"])
    return server


DIGEST = hmac.new(b"sesame", TICKET, "md5").hexdigest()
EXCHANGES = {
    "PLAIN with an initial response": b"AUTH PLAIN " + b64("\0anna\0sesame") + b"\r\n",
    "PLAIN without": b"AUTH PLAIN\r\n" + b64("\0anna\0sesame") + b"\r\n",
    "PLAIN in small letters": b"auth plain " + b64("anna\0anna\0sesame") + b"\r\n",
    "LOGIN": b"AUTH LOGIN\r\n" + b64("anna") + b"\r\n" + b64("sesame") + b"\r\n",
    "LOGIN with the name": b"AUTH LOGIN " + b64("anna") + b"\r\n" + b64("sesame") + b"\r\n",
    "CRAM-MD5": b"AUTH CRAM-MD5\r\n" + b64(f"anna {DIGEST}") + b"\r\n",
    "CRAM-MD5 in capitals": b"AUTH CRAM-MD5\r\n" + b64(f"anna {DIGEST.upper()}") + b"\r\n",
}


@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
@pytest.mark.parametrize("cut", ["whole", "octets", "tail"])
def test_each_exchange_gives_the_same_credentials_however_it_is_cut(exchange: bytes, cut: str) -> None:
    server = greeted()
    tail = b"MAIL FROM:<>\r\n" if cut == "tail" else b""
    octets = exchange + tail
    pieces = [octets[at : at + 1] for at in range(len(octets))] if cut == "octets" else [octets]
    asked, said = talk(server, pieces)
    (auth,) = (event for event in asked if isinstance(event, events.Auth))
    assert auth.credentials.user == "anna"
    assert auth.credentials.matches("sesame")
    assert not auth.credentials.matches("Sesame")
    assert "sesame" not in repr(auth)
    assert server.authenticated
    assert server.state is (SessionState.MAIL if tail else SessionState.READY)
    assert "235 2.7.0 " in said
    assert isinstance(asked[-1], events.Mail if tail else events.Auth)


@pytest.mark.parametrize("password", ["pa55w", "pa55wo", "pa55wor"])
def test_base64_may_lack_its_padding(password: str) -> None:
    bare = b64(f"\0user\0{password}").rstrip(b"=")
    for said in (b"AUTH PLAIN " + bare, b"AUTH PLAIN\r\n" + bare):
        told, _ = talk(greeted(), [said + b"\r\n"])
        assert [event.credentials.password for event in told if isinstance(event, events.Auth)] == [password]


def test_challenges_are_base64_and_that_of_plain_is_empty() -> None:
    assert talk(greeted(), [b"AUTH PLAIN\r\n"])[1] == "334 \r\n"
    assert talk(greeted(), [b"AUTH CRAM-MD5\r\n"])[1] == f"334 {b64(TICKET).decode()}\r\n"
    server = greeted()
    assert talk(server, [b"AUTH LOGIN\r\n"])[1] == "334 VXNlcm5hbWU6\r\n"
    assert talk(server, [b64("anna") + b"\r\n"])[1] == "334 UGFzc3dvcmQ6\r\n"


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (b"AUTH", "501 5.5.4"),
        (b"AUTH ", "501 5.5.4"),
        (b"AUTH PLAIN x y", "501 5.5.4"),
        (b"AUTH PLAIN !", "501 5.5.2"),
        (b"AUTH PLAIN YQ", "501 5.5.2"),
        (b"AUTH PLAIN YQ==YQ==", "501 5.5.2"),
        (b"AUTH PLAIN \xff", "501 5.5.4"),
        (b"AUTH PLAIN =", "501 5.5.2"),
        (b"AUTH PLAIN " + b64("anna\0sesame"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64("\0anna\0ses\0ame"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64("\0\0sesame"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64("\0anna\0"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64("\0an\nna\0sesame"), "501 5.5.2"),
        (b"AUTH PLAIN " + b64(b"\0anna\0\xff"), "501 5.5.2"),
        (b"AUTH PLAIN\r\n", "501 5.5.2"),
        (b"AUTH PLAIN\r\n*", "501 5.7.0"),
        (b"AUTH PLAIN\r\n=", "501 5.5.2"),
        (b"AUTH PLAIN\r\nx\ny", "500 5.5.2"),
        (b"AUTH LOGIN =", "501 5.5.2"),
        (b"AUTH LOGIN\r\n*", "501 5.7.0"),
        (b"AUTH LOGIN\r\n" + b64("anna") + b"\r\n*", "501 5.7.0"),
        (b"AUTH LOGIN\r\n" + b64("anna") + b"\r\n", "501 5.5.2"),
        (b"AUTH LOGIN\r\n" + b64("anna") + b"\r\n" + b64("ses\0ame"), "501 5.5.2"),
        (b"AUTH CRAM-MD5 " + b64("anna"), "501 5.7.0"),
        (b"AUTH CRAM-MD5 =", "501 5.7.0"),
        (b"AUTH CRAM-MD5\r\n*", "501 5.7.0"),
        (b"AUTH CRAM-MD5\r\n" + b64("anna"), "501 5.5.2"),
        (b"AUTH CRAM-MD5\r\n" + b64("anna xyz"), "501 5.5.2"),
        (b"AUTH CRAM-MD5\r\n" + b64(DIGEST), "501 5.5.2"),
        (b"AUTH SCRAM-SHA-256", "504 5.5.4"),
        (b"AUTH PLAIN\r\n" + b"A" * (MAX_AUTH_LINE + 1), "500 5.5.6"),
        (b"AUTH PLAIN " + b"A" * (MAX_AUTH_LINE + 1), "500 5.5.2"),
    ],
)
@pytest.mark.parametrize("cut", ["whole", "octets"])
def test_whatever_is_wrong_ends_the_exchange_with_a_clear_reply(lines: bytes, reply: str, cut: str) -> None:
    server = greeted()
    octets = lines + b"\r\nNOOP\r\n"
    pieces = [octets[at : at + 1] for at in range(len(octets))] if cut == "octets" else [octets]
    asked, said = talk(server, pieces)
    *_, last, noop = said.splitlines()
    assert last.startswith(reply)
    assert isinstance(asked[-2], events.RejectedCommand)
    assert noop == "250 2.0.0 OK"
    assert server.state is SessionState.READY
    assert not server.authenticated


def test_an_initial_response_may_be_longer_than_a_command() -> None:
    password = "x" * 8000
    asked, _ = talk(greeted(), [b"AUTH PLAIN " + b64(f"\0anna\0{password}") + b"\r\n"])
    assert isinstance(asked[0], events.Auth)
    assert asked[0].credentials.password == password


def test_only_what_is_offered_is_taken() -> None:
    plain = b"AUTH PLAIN " + b64("\0anna\0sesame") + b"\r\n"
    assert talk(greeted(None), [plain])[1].startswith("502 5.5.1 ")
    assert talk(greeted(("CRAM-MD5",)), [plain])[1].startswith("504 5.5.4 ")
    assert talk(greeted(()), [plain])[1].startswith("504 5.5.4 ")
    assert talk(greeted((), starttls=True), [plain])[1].startswith("538 5.7.11 ")
    assert talk(greeted((), starttls=True), [b"AUTH CRAM-MD5\r\n"])[1].startswith("504 5.5.4 ")


def test_ehlo_offers_auth_where_somebody_could_authenticate() -> None:
    assert "250-AUTH PLAIN LOGIN CRAM-MD5\r\n" in talk(session(), [b"EHLO c\r\n"])[1]
    assert "AUTH" not in talk(session(()), [b"EHLO c\r\n"])[1]
    assert "AUTH" not in talk(session(None), [b"EHLO c\r\n"])[1]


@pytest.mark.parametrize(
    ("before", "accept"),
    [
        (b"", True),
        (b"HELO c\r\n", True),
        (b"EHLO c\r\nMAIL FROM:<>\r\n", True),
        (b"EHLO c\r\nAUTH PLAIN " + b64("\0anna\0sesame") + b"\r\n", True),
    ],
    ids=["before EHLO", "after HELO", "in a transaction", "authenticated"],
)
def test_auth_out_of_its_place_is_503(before: bytes, accept: bool) -> None:
    server = session()
    talk(server, [before], accept=accept)
    assert talk(server, [b"AUTH CRAM-MD5\r\n"])[1].startswith("503 5.5.1 ")


def test_after_a_failure_the_client_may_try_again() -> None:
    server = greeted()
    talk(server, [EXCHANGES["PLAIN without"]], accept=False)
    assert not server.authenticated
    assert talk(server, [EXCHANGES["LOGIN"]])[1].endswith("235 2.7.0 yes\r\n")


def test_commands_behind_credentials_wait_for_the_answer() -> None:
    server = greeted()
    server.feed(EXCHANGES["PLAIN with an initial response"] + b"NOOP\r\n")
    assert isinstance(server.next_event(), events.Auth)
    assert server.next_event() is None
    server.answer(b"535 5.7.8 no\r\n", accepted=False)
    assert isinstance(server.next_event(), events.NoOp)


def test_tls_takes_the_authentication_away() -> None:
    server = greeted(starttls=True)
    talk(server, [EXCHANGES["CRAM-MD5"]])
    server.restart(Offers(1000, auth=ALL))
    assert not server.authenticated


@pytest.mark.parametrize("value", ["<>", "anna@example.org", "e+3Dmc2@example.com"])
def test_mail_takes_the_auth_parameter_where_auth_is_offered(value: str) -> None:
    line = f"MAIL FROM:<a@example.org> AUTH={value}\r\n".encode()
    assert talk(greeted(), [line])[1].startswith("250 ")
    assert talk(greeted(None), [line])[1].startswith("555 5.5.4 ")


@pytest.mark.parametrize("value", ["", "a+b", "a+3d", "a=b"])
def test_an_auth_parameter_that_is_no_xtext_is_501(value: str) -> None:
    assert talk(greeted(), [f"MAIL FROM:<> AUTH={value}\r\n".encode()])[1].startswith("501 5.5.4 ")

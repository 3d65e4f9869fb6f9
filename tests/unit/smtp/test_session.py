"""The session's table: every command in every state, replies with enhanced codes, and what the owner is asked."""

from __future__ import annotations

import re

import pytest

from mailboat.smtp import events
from mailboat.smtp.extensions import Offers
from mailboat.smtp.session import COMMANDS, ServerSession, SessionLimits
from mailboat.smtp.states import SessionState

OK = b"250 2.0.0 OK\r\n"


def session(*, starttls: bool = True) -> ServerSession:
    return ServerSession("mx.example", SessionLimits(), Offers(1000, starttls=starttls))


def talk(server: ServerSession, raw: bytes, *, accept: bool = True) -> tuple[list[events.Event], str]:
    """Feed octets and answer every event; what was asked, and what was said."""
    server.feed(raw)
    asked = []
    while (event := server.next_event()) is not None:
        asked.append(event)
        if isinstance(event, events.Hello):
            server.answer(server.ehlo(), accepted=True)
        elif not isinstance(event, events.Chunk | events.Reset | events.NoOp | events.Quit | events.RejectedCommand):
            server.answer(b"354 go\r\n" if isinstance(event, events.Data) else OK, accepted=accept)
    return asked, server.data_to_send().decode()


def test_a_pipelined_transaction_is_answered_in_one_piece() -> None:
    server = session()
    asked, said = talk(
        server,
        b"EHLO client.example\r\nMAIL FROM:<a@example.org> SIZE=5 BODY=8BITMIME\r\n"
        b"RCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
    )
    assert [type(event).__name__ for event in asked] == [
        "Hello", "Mail", "Rcpt", "Rcpt", "Data", "EndOfData", "Quit",
    ]  # fmt: skip
    assert asked[5].octets == b"x\r\n"  # type: ignore[union-attr]
    assert said.endswith("354 go\r\n250 2.0.0 OK\r\n221 2.0.0 mx.example closing connection\r\n")
    assert server.is_closing


def test_ehlo_offers_each_extension_and_starttls_only_where_it_works() -> None:
    _, said = talk(session(), b"EHLO client.example\r\n")
    keywords = [line[4:].split()[0] for line in said.splitlines()[1:]]
    assert keywords == ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "STARTTLS", "HELP"]
    assert "250-SIZE 1000\r\n" in said
    assert "STARTTLS" not in talk(session(starttls=False), b"EHLO client.example\r\n")[1]
    assert talk(session(), b"HELO client.example\r\n")[1] == "250 mx.example\r\n"


PREPARE = {
    SessionState.NEW: b"",
    SessionState.READY: b"EHLO c\r\n",
    SessionState.MAIL: b"EHLO c\r\nMAIL FROM:<>\r\n",
    SessionState.RCPT: b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\n",
}
ARGUMENTS = {
    b"AUTH": b" PLAIN",
    b"EHLO": b" c",
    b"HELO": b" c",
    b"MAIL": b" FROM:<>",
    b"RCPT": b" TO:<b@example.com>",
    b"VRFY": b" x",
}


@pytest.mark.parametrize("verb", COMMANDS, ids=bytes.decode)
@pytest.mark.parametrize("state", PREPARE, ids=lambda s: s.name)
def test_each_command_is_taken_where_the_table_allows_it_and_is_503_elsewhere(verb: bytes, state: SessionState) -> None:
    server = session()
    talk(server, PREPARE[state])
    assert server.state is state
    _, said = talk(server, verb + ARGUMENTS.get(verb, b"") + b"\r\n")
    if state in COMMANDS[verb].allowed:
        assert said[0] in ("5" if verb in (b"EXPN", b"AUTH") else "23")
    else:
        assert said.startswith("503 5.5.1 ")
        assert server.state is state


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"NONSENSE", "500 5.5.2"),
        (b"", "500 5.5.2"),
        (b"\x00\x01\x02", "500 5.5.2"),
        (b"MAIL", "501 5.5.4"),
        (b"MAIL FROM:a@example.org", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org> FOO=1", "555 5.5.4"),
        (b"MAIL FROM:<a@example.org> SIZE=x", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org> BODY=BINARYMIME", "501 5.5.4"),
        (b"MAIL FROM:<a@example.org> SMTPUTF8=1", "501 5.5.4"),
        (b"MAIL FROM:<nobody>", "501 5.1.7"),
        ("MAIL FROM:<ü@example.org>".encode(), "553 5.6.7"),
        (b"MAIL FROM:<\xff@example.org>", "501 5.5.4"),
        (b"EHLO", "501 5.5.4"),
        (b"EHLO a b", "501 5.5.4"),
        (b"STARTTLS now", "501 5.5.4"),
        (b"VRFY", "501 5.5.4"),
    ],
)
def test_bad_commands_get_a_clear_reply_and_change_nothing(line: bytes, reply: str) -> None:
    server = session()
    talk(server, b"EHLO c\r\n")
    asked, said = talk(server, line + b"\r\n")
    assert said.startswith(reply)
    assert isinstance(asked[0], events.RejectedCommand)
    assert server.state is SessionState.READY


def test_smtputf8_lets_addresses_of_any_script_in_for_this_transaction_only() -> None:
    server = session()
    asked, _ = talk(server, "EHLO c\r\nMAIL FROM:<ü@example.org> SMTPUTF8\r\nRCPT TO:<δ@example.com>\r\n".encode())
    assert isinstance(asked[1], events.Mail)
    assert asked[1].parameters == {"SMTPUTF8": ""}
    assert isinstance(asked[2], events.Rcpt)
    _, said = talk(server, "RSET\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<δ@example.com>\r\n".encode())
    assert said.splitlines()[-1].startswith("553 5.6.7")


def test_a_refused_recipient_leaves_no_way_to_data() -> None:
    server = session()
    talk(server, b"EHLO c\r\nMAIL FROM:<>\r\n")
    talk(server, b"RCPT TO:<b@example.com>\r\n", accept=False)
    assert talk(server, b"DATA\r\n")[1].startswith("503 5.5.1")


def test_state_is_clean_after_a_message_whatever_its_end() -> None:
    server = session()
    talk(server, PREPARE[SessionState.RCPT] + b"DATA\r\na\nb\r\n.\r\n", accept=False)
    talk(server, PREPARE[SessionState.RCPT] + b"DATA\r\na\nb\r\n.\r\n")
    assert server.state is SessionState.READY
    assert talk(server, b"RCPT TO:<b@example.com>\r\n")[1].startswith("503 5.5.1 MAIL first")
    assert talk(server, b"DATA\r\n")[1].startswith("503")


def test_commands_behind_a_false_end_of_data_are_never_read() -> None:
    server = session()
    asked, said = talk(server, PREPARE[SessionState.RCPT] + b"DATA\r\nx\n.\nMAIL FROM:<evil@example.org>\r\n")
    assert isinstance(asked[-1], events.EndOfData)
    assert said.count("250 2.0.0 OK") == 3
    assert server.is_closing
    assert talk(server, b"\r\n.\r\nMAIL FROM:<evil@example.org>\r\n") == ([], "")


def test_what_comes_in_the_clear_behind_starttls_is_dropped() -> None:
    server = session()
    asked, _ = talk(server, b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
    assert [type(event) for event in asked] == [events.Hello, events.StartTls]
    server.restart(Offers(1000))
    assert talk(server, b"MAIL FROM:<>\r\n")[1].startswith("503 5.5.1")
    assert "STARTTLS" not in talk(server, b"EHLO c\r\n")[1]


def test_pipelined_commands_wait_for_the_answer_to_the_one_before() -> None:
    server = session()
    server.feed(b"EHLO c\r\nMAIL FROM:<>\r\n")
    assert isinstance(server.next_event(), events.Hello)
    assert server.next_event() is None
    server.answer(server.ehlo(), accepted=True)
    assert isinstance(server.next_event(), events.Mail)


def test_every_reply_of_the_table_has_an_enhanced_code() -> None:
    for command in COMMANDS.values():
        assert re.fullmatch(r"503 5\.5\.1 .+", command.otherwise)

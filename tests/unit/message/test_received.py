"""`mailboat.message.received`: trace fields."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.message.received import Origin, client_trace, outbound_trace, protocol, rfc5322_date

DATE = b"Mon, 1 Jan 2024 00:00:00 +0000"


def test_a_client_over_tls_with_one_recipient() -> None:
    origin = Origin("app.example", "192.0.2.7", "host.example", True, True, "TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert client_trace(origin, me="me.example", id="q1", date=DATE, recipient="bob@example.net") == (
        b"Received: from app.example (host.example [192.0.2.7])\r\n"
        b"\tby me.example (Mailboat) with ESMTPSA\r\n"
        b"\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tid q1\r\n"
        b"\tfor <bob@example.net>; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    )


def test_a_client_without_a_name_of_its_address_and_several_recipients() -> None:
    assert client_trace(Origin("[IPv6:::1]", "::1"), me="me.example", id="q1", date=DATE) == (
        b"Received: from [IPv6:::1] ([IPv6:::1])\r\n\tby me.example (Mailboat) with ESMTP\r\n"
        b"\tid q1; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    )


def test_a_client_on_a_unix_socket_that_gave_no_name() -> None:
    assert client_trace(Origin("", ""), me="me", id="q1", date=DATE).startswith(b"Received: from unknown\r\n\tby me ")


@pytest.mark.parametrize(
    ("extended", "tls", "authenticated", "smtputf8", "word"),
    [
        (False, False, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, False, True, False, "ESMTPA"),
        (True, True, False, False, "ESMTPS"),
        (True, True, True, False, "ESMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_protocol_words(extended: bool, tls: bool, authenticated: bool, smtputf8: bool, word: str) -> None:
    assert protocol(extended=extended, tls=tls, authenticated=authenticated, smtputf8=smtputf8) == word


def test_names_are_written_as_a_labels_and_utf8_stands_only_where_the_recipient_needs_it() -> None:
    origin = Origin("b\u00fccher.example", "192.0.2.7")
    plain = client_trace(origin, me="me", id="q1", date=DATE, recipient="\u00fc@example.net")
    assert b"from xn--bcher-kva.example" in plain
    no_name = client_trace(Origin("b\u00fccher!", "192.0.2.7"), me="me", id="q1", date=DATE, smtputf8=True)
    assert b"from b?cher?" in no_name
    assert b"for <" not in plain
    utf8 = client_trace(origin, me="me", id="q1", date=DATE, recipient="\u00fc@example.net", smtputf8=True)
    assert b"from xn--bcher-kva.example" in utf8
    assert "for <\u00fc@example.net>".encode() in utf8


@given(st.text(), st.text(), st.text(max_size=2000), st.booleans())
def test_nothing_a_client_says_ends_a_line_opens_a_comment_or_grows(
    ehlo: str, rdns: str, recipient: str, smtputf8: bool
) -> None:
    origin = Origin(ehlo, "192.0.2.7", rdns)
    field = client_trace(origin, me="me.example", id="q1", date=DATE, recipient=recipient, smtputf8=smtputf8)
    assert field.isascii() or (smtputf8 and not recipient.isascii())
    lines = field.removesuffix(b"\r\n").split(b"\r\n")
    assert lines[0].startswith(b"Received: from ")
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert all(len(line) <= 998 for line in lines)
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", field)
    from_line = lines[0].decode()
    assert from_line.count("(") == from_line.count(")") == 1


@given(st.text(min_size=1, max_size=400))
def test_hostile_recipients_cannot_forge_a_date(recipient: str) -> None:
    field = client_trace(Origin("a", "192.0.2.7"), me="me", id="q1", date=DATE, recipient=recipient + "\r\nX-Evil: 1")
    assert b"X-Evil" not in field


def test_outbound_trace() -> None:
    assert outbound_trace("Mailboat outbound", DATE) == b"Received: (Mailboat outbound); " + DATE + b"\r\n"
    assert outbound_trace("a (b) \\\r\nc", DATE) == b"Received: (a \\(b\\) \\\\ c); " + DATE + b"\r\n"


@pytest.mark.parametrize("text", ["disabled", "", "  ", "\r\n"])
def test_no_outbound_trace_where_it_is_switched_off(text: str) -> None:
    assert outbound_trace(text, DATE) == b""


@given(st.integers(min_value=0, max_value=250_000_000_000))
def test_dates_read_back_as_the_same_second(second: int) -> None:
    date = rfc5322_date(second + 0.75).decode()
    assert date.endswith(" +0000")
    assert parsedate_to_datetime(date) == datetime.fromtimestamp(second, UTC)

"""`mailboat.message.headers`: what is read from a header, and what is added to one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.message.headers import SCAN_LIMIT, complete, scan, separator_as_field

DATE = b"Mon, 1 Jan 2024 00:00:00 +0000"
ADDED_ID = b"Message-ID: <q1@me.example>\r\n"
ADDED_DATE = b"Date: " + DATE + b"\r\n"


def completed(data: bytes, *, whole: bool = True) -> bytes:
    return b"".join(complete(data, scan(data, whole=whole), id="q1", me="me.example", date=DATE))


def test_facts_of_a_usual_header() -> None:
    data = (
        b"Received: from a\r\n\tby b; date\r\nRECEIVED: from c\r\nDate: now\r\nMessage-Id: <x@y>\r\n"
        b"Subject: one\r\n two\r\nFrom: a@b\r\n\r\nReceived: not a header\r\n"
    )
    facts = scan(data)
    assert facts.has_date
    assert facts.has_message_id
    assert facts.received_count == 2
    assert facts.header_end == data.index(b"\r\n\r\n") + 2
    assert facts.subject == b"one two"
    assert facts.message_id == b"<x@y>"


@pytest.mark.parametrize(
    ("fields", "is_no"),
    [
        (b"TLS-Required: No\r\n", True),
        (b"tls-required :\tNO \r\n", True),
        (b"TLS-Required:\r\n no\r\n", True),
        (b"", False),
        (b"TLS-Required: Yes\r\n", False),
        (b"TLS-Required:\r\n", False),
        (b"TLS-Required: No (really)\r\n", False),
        (b"TLS-Required: No\r\nTLS-Required: No\r\n", False),
        (b"X-TLS-Required: No\r\n", False),
    ],
)
def test_tls_is_not_required_where_one_field_says_so_and_nothing_else(fields: bytes, is_no: bool) -> None:
    assert scan(b"Subject: x\r\n" + fields + b"\r\nTLS-Required: No\r\n").tls_required_no == is_no


@pytest.mark.parametrize("name", [b"message-id", b"Message-ID", b"MESSAGE-ID", b"Message-Id \t"])
def test_field_names_know_no_case_and_may_have_blanks_before_the_colon(name: bytes) -> None:
    assert scan(name + b": <x@y>\r\n\r\n").has_message_id


@pytest.mark.parametrize("value", [b"", b" ", b" <>", b"<>", b" < > ", b"\r\n <>", b" \r\n\t"])
def test_an_empty_message_id_counts_as_missing_and_is_replaced(value: bytes) -> None:
    data = b"From: a@b\r\nMessage-Id:" + value + b"\r\nDate: d\r\nTo: c@d\r\n\r\ntext\r\n"
    assert not scan(data).has_message_id
    assert completed(data) == ADDED_ID + b"From: a@b\r\nDate: d\r\nTo: c@d\r\n\r\ntext\r\n"


def test_an_empty_date_is_replaced() -> None:
    assert completed(b"Message-ID: <x@y>\r\nDate: \r\n\r\n") == ADDED_DATE + b"Message-ID: <x@y>\r\n\r\n"


def test_a_later_message_id_makes_up_for_an_empty_one() -> None:
    facts = scan(b"Message-ID: <>\r\nMessage-ID: <x@y>\r\n\r\n")
    assert facts.has_message_id
    assert facts.message_id == b"<x@y>"


def test_nothing_is_copied_when_nothing_is_missing() -> None:
    data = b"Date: d\r\nMessage-ID: <x@y>\r\n\r\ntext\r\n"
    assert complete(data, scan(data), id="q1", me="me.example", date=DATE)[0] is data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"From: a@b\r\n\r\ntext\r\n", ADDED_ID + ADDED_DATE + b"From: a@b\r\n\r\ntext\r\n"),
        (b"From: a@b\n\ntext\n", ADDED_ID + ADDED_DATE + b"From: a@b\n\ntext\n"),
        (b"From: a@b\r\n", ADDED_ID + ADDED_DATE + b"From: a@b\r\n"),
        (b"From: a@b", ADDED_ID + ADDED_DATE + b"From: a@b"),
        (b"\r\ntext\r\n", ADDED_ID + ADDED_DATE + b"\r\ntext\r\n"),
        (b"just text\r\n", ADDED_ID + ADDED_DATE + b"\r\njust text\r\n"),
        (b" folded: text\r\n", ADDED_ID + ADDED_DATE + b"\r\n folded: text\r\n"),
        (b"From: a@b\r\ntext at once\r\n", ADDED_ID + ADDED_DATE + b"From: a@b\r\ntext at once\r\n"),
        (b"", ADDED_ID + ADDED_DATE),
        (b"\r\n", ADDED_ID + ADDED_DATE + b"\r\n"),
    ],
    ids=[
        "usual",
        "bare-lf",
        "no-text",
        "no-line-end",
        "no-header",
        "text-only",
        "blank-first",
        "no-blank-line",
        "empty",
        "crlf",
    ],
)
def test_missing_fields_go_to_the_top_of_the_header_and_the_text_stays_text(data: bytes, expected: bytes) -> None:
    assert completed(data) == expected


def test_what_looks_like_a_field_in_the_text_is_text() -> None:
    facts = scan(b"From: a@b\r\n\r\nDate: d\r\nMessage-ID: <x@y>\r\n")
    assert not facts.has_date
    assert not facts.has_message_id


@pytest.mark.parametrize("cut", range(60))
def test_a_header_that_is_cut_anywhere_is_left_alone_until_its_end_is_seen(cut: int) -> None:
    data = b"Subject: hello\r\n world\r\nReceived: from a; d\r\n\r\ntext is here, some of it\r\n"
    piece = data[:cut]
    end = data.index(b"\r\n\r\n") + 2
    facts = scan(piece, whole=False)
    if cut >= end + 2:
        assert facts.header_end == end
    else:
        assert facts.header_end == -1
        assert completed(piece, whole=False) == piece


def test_names_and_octets_of_any_kind_are_only_octets() -> None:
    data = b"__proto__: x\r\nconstructor: y\r\nX-\x00: z\r\n"
    assert scan(data + b"\r\n").header_end == len(data)
    assert scan(data).header_end == data.index(b"X-\x00")


def test_a_line_without_a_colon_ends_no_header_and_nothing_is_put_around_it() -> None:
    data = b"From: a@b\r\nX-Mailer PHP/5.2\r\nTo: c@d\r\nSubject: Order 17\r\n\r\n<p>hello\r\n"
    facts = scan(data)
    assert (facts.header_end, facts.subject) == (data.index(b"\r\n<p>"), b"Order 17")
    assert completed(data) == ADDED_ID + ADDED_DATE + data


def test_what_stands_behind_a_line_without_a_colon_is_not_added_again() -> None:
    data = b"From: a@b\r\nodd\r\nDate: d\r\nMessage-ID: <x@y>\r\n\r\ntext\r\n"
    assert completed(data) == data


@pytest.mark.parametrize("quotes", [b"", b">", b">>"])
def test_an_mbox_separator_in_front_of_a_header_becomes_a_field(quotes: bytes) -> None:
    line, header = quotes + b"From a@b Mon Nov 23 01:02:03 2026\r\n", b"From: a@b\r\n\r\ntext\r\n"
    assert separator_as_field(line + header) == b"X-Mailbox-Line: " + line + header


@pytest.mark.parametrize(
    "data",
    [
        b"From now on:\r\nno header\r\n",
        b"From a@b Mon\r\n\r\nNote: text\r\n",
        b"From a@b Mon\r\n folded: text\r\n",
        b"From: a@b\r\nFrom a@b Mon\r\nTo: c@d\r\n\r\nFrom here on\r\n",
        b"From",
        b"",
    ],
    ids=["text", "blank-line", "folded", "further-down", "cut", "empty"],
)
def test_any_other_line_with_from_stays_what_it_is(data: bytes) -> None:
    assert separator_as_field(data) is data


@pytest.mark.parametrize(
    "data",
    [
        b"a" * 1_000_000,
        b"a" * 1_000_000 + b": x\r\n\r\n",
        b"Subject:" + b" x\r\n" * 300_000,
        b"a:\r\n" * 300_000,
        b"Received: x\r\n" * 100_000,
        b" \t" * 500_000,
        b"\0" * 1_000_000,
        b"Subject" + b" " * 1_000_000 + b":",
    ],
    ids=["long-word", "long-name", "many-folds", "many-fields", "many-hops", "blanks", "nuls", "blanks-in-name"],
)
def test_huge_headers_take_linear_time(data: bytes) -> None:
    facts = scan(data)
    assert facts.received_count <= SCAN_LIMIT // len(b"Received: x\r\n") + 1
    assert completed(data).endswith(data)


def test_an_identifier_of_odd_names_stays_one_token() -> None:
    data = b"From: a@b\r\nDate: d\r\n\r\n"
    added = b"".join(complete(data, scan(data), id="a b>\r\nX: y", me="m\u00fc\u3042.example", date=DATE))
    assert added == b"Message-ID: <abX:y@m??.example>\r\n" + data


LINE = st.one_of(
    st.sampled_from(
        [b"Date: d", b"Message-ID: <>", b"message-id: <a@b>", b"Subject: s", b" fold", b"", b"Received: r", b"x"]
    ),
    st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")),
)


@given(st.lists(LINE, max_size=12))
def test_completing_adds_what_is_missing_once_and_keeps_the_text(lines: list[bytes]) -> None:
    data = b"".join(line + b"\r\n" for line in lines)
    before = scan(data)
    after_data = completed(data)
    after = scan(after_data)
    assert after.has_date
    assert after.has_message_id
    assert after.received_count == before.received_count
    assert after_data.endswith(data[before.header_end :])
    assert completed(after_data) == after_data

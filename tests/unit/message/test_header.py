"""A header that plugins change: fields are found by name, octets stay, and no value escapes its field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.message.header import MessageHeader

OCTETS = (
    b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\nSubject : Hello\r\nX-Tag: one\r\nx-tag:two\r\n"
    b"X-Raw: \xff\xfe\r\n"
)


def test_fields_are_found_in_any_case_and_unfolded() -> None:
    header = MessageHeader(OCTETS)
    assert header.get("received") == "from a by b;\tMon, 1 Jan 2024 00:00:00 +0000"
    assert header.get("SUBJECT") == "Hello"
    assert header.get_all("X-TAG") == ["one", "two"]
    assert header.get("Nothing") is None
    assert header.get_all("Nothing") == []


def test_what_is_not_touched_stays_octet_for_octet() -> None:
    header = MessageHeader(OCTETS)
    assert header.octets() == OCTETS
    assert not header.changed
    assert header.remove("Nothing") == 0
    assert not header.changed
    header.add("X-New", "1")
    header.add_leading("X-First", "2")
    assert header.remove("x-tag") == 2
    assert header.changed
    rest = OCTETS.replace(b"X-Tag: one\r\nx-tag:two\r\n", b"")
    assert header.octets() == b"X-First: 2\r\n" + rest + b"X-New: 1\r\n"


def test_octets_that_are_no_utf8_survive_a_round_trip() -> None:
    header = MessageHeader(OCTETS)
    header.add("X-Copy", header.get("X-Raw") or "")
    assert header.octets().endswith(b"X-Copy: \xff\xfe\r\n")


def test_text_is_encoded_unless_the_message_may_hold_utf8() -> None:
    header = MessageHeader(b"")
    header.add("X-Name", "Grüße")
    assert header.octets() == b"X-Name: =?utf-8?B?R3LDvMOfZQ==?=\r\n"
    header = MessageHeader(b"", utf8=True)
    header.add("X-Name", "Grüße")
    assert header.octets() == "X-Name: Grüße\r\n".encode()


def test_a_folded_value_stays_folded() -> None:
    header = MessageHeader(b"")
    header.add("DKIM-Signature", "v=1;\n b=abc\r\n\tdef")
    assert header.octets() == b"DKIM-Signature: v=1;\r\n b=abc\r\n\tdef\r\n"
    assert header.get("dkim-signature") == "v=1; b=abc\tdef"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nBcc: everybody@example.org"),
        ("X-A", "a\nBcc: everybody@example.org"),
        ("X-A", "a\rBcc: everybody@example.org"),
        ("X-A", "a\r\n \r\nbody"),
        ("X-A", "a\n\nbody"),
        ("X-A", "a\n \n b"),
        ("X-A", "a\0b"),
        ("X-A", "ü\r\nBcc: x"),
        ("X-A", "\udcff\r\nBcc: x"),
        ("X-A: b\r\nX-C", "d"),
        ("X A", "b"),
        ("", "b"),
        ("Ü", "b"),
        ("X-A", "a" * 1000),
        ("X-A", "ü" * 9000),
    ],
)
def test_what_would_not_be_one_field_is_refused_and_changes_nothing(name: str, value: str) -> None:
    header = MessageHeader(OCTETS)
    for add in (header.add, header.add_leading):
        with pytest.raises(ValueError, match=r"\S"):
            add(name, value)
    assert header.octets() == OCTETS
    assert not header.changed


def test_a_header_that_is_cut_can_be_read_and_not_changed() -> None:
    header = MessageHeader(OCTETS, whole=False)
    assert header.get("Subject") == "Hello"
    with pytest.raises(ValueError, match="too large"):
        header.add("X-A", "b")
    with pytest.raises(ValueError, match="too large"):
        header.remove("Subject")
    assert header.octets() == OCTETS


@given(st.text(), st.booleans())
def test_whatever_is_added_is_one_field_or_refused(value: str, utf8: bool) -> None:
    header = MessageHeader(b"Subject: x\r\n", utf8=utf8)
    try:
        header.add("X-A", value)
    except (ValueError, UnicodeEncodeError):
        return
    octets = header.octets()
    assert octets.startswith(b"Subject: x\r\nX-A:")
    assert octets.endswith(b"\r\n")
    lines = octets[12:-2].split(b"\r\n")
    assert all(line.startswith((b" ", b"\t")) and line.strip() for line in lines[1:])
    assert not any(c in line for line in lines for c in (b"\r", b"\n", b"\0"))

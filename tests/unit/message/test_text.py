"""`mailboat.message.text`: foreign text as header lines and MIME content."""

from __future__ import annotations

import email.header
import email.parser
import email.policy
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.message.text import crlf, decode_words, encode_binary, encode_text, header_field, one_line, wrapped


def assert_sendable(data: bytes) -> None:
    """Lines of at most 998 octets, no CR or LF alone, a line end at the end."""
    assert data.endswith(b"\r\n")
    for line in data.split(b"\r\n"):
        assert b"\r" not in line
        assert b"\n" not in line
        assert len(line) <= 998


def test_line_ends_and_controls_become_one_blank() -> None:
    assert one_line(" a\r\nb\x00\x1b[31mc\u2028d\ud800 ") == "a b [31mc d?"


def test_a_short_field_stays_as_it_is() -> None:
    assert header_field("X-A", 'rfc822; "a  b"@c') == b'X-A: rfc822; "a  b"@c\r\n'


def test_a_long_field_is_folded_at_blanks() -> None:
    field = header_field("Diagnostic-Code", "smtp; 550 " + "word " * 40)
    assert_sendable(field)
    assert all(len(line) <= 76 for line in field.split(b"\r\n"))
    assert field.replace(b"\r\n", b"").count(b"word") == 40


@given(st.text(max_size=3000), st.booleans())
def test_no_value_makes_a_second_field(value: str, utf8: bool) -> None:
    field = header_field("X-Any", value, utf8=utf8)
    assert_sendable(field)
    assert field.isascii() or utf8
    first, *rest = field.removesuffix(b"\r\n").split(b"\r\n")
    assert first.startswith(b"X-Any:")
    assert all(line.startswith(b" ") for line in rest)


@given(st.text(st.characters(min_codepoint=32, blacklist_categories=["C", "Z"]), min_size=1, max_size=300))
def test_encoded_words_read_back(word: str) -> None:
    value = f"\u00fc{word}"
    field = header_field("Subject", value)
    assert all(len(line) <= 76 for line in field.split(b"\r\n"))
    assert decode_words(field.removeprefix(b"Subject:").replace(b"\r\n", b"")) == value
    assert str(email.header.make_header(email.header.decode_header(field.decode()[8:].strip()))) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?Q?Gr=C3=BC=C3=9Fe_an?= you", "Gr\u00fc\u00dfe an you"),
        (b"=?UTF-8?b?w7w?=", "\u00fc"),
        (b"=?iso-8859-1*de?q?=FC?=\t =?utf-8?q?b?=", "\u00fcb"),
        (b"=?unicode_escape?q?x?=", "=?unicode_escape?q?x?="),
        (b"=?zlib?b?x?=", "=?zlib?b?x?="),
        (b"=?utf-8?b?!!!?=", ""),
        (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"=?utf-8?q?" * 3, "=?utf-8?q?=?utf-8?q?=?utf-8?q?"),
    ],
)
def test_subjects_are_decoded_for_people(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@given(st.text(max_size=2500))
def test_text_content_reads_back(text: str) -> None:
    encoding, content = encode_text(text)
    assert_sendable(content)
    assert content.isascii()
    decoded = quopri.decodestring(content) if encoding == "quoted-printable" else content
    expected = crlf(text.encode("utf-8", "replace"))
    assert decoded == (expected if expected.endswith(b"\r\n") else expected + b"\r\n")


def test_ascii_text_is_not_encoded() -> None:
    assert encode_text("a = b\n") == ("7bit", b"a = b\r\n")


@given(st.binary(max_size=400), st.integers(0, 30))
def test_any_message_becomes_sendable(data: bytes, times: int) -> None:
    result = wrapped(data * times)
    if result:
        assert_sendable(result)
    assert b"\0" not in result


@pytest.mark.parametrize("length", [0, 1, 997, 998])
def test_lines_that_fit_are_not_touched(length: int) -> None:
    data = b"x" * length + b"\r\n"
    assert wrapped(data) == data


@pytest.mark.parametrize("data", [b"x" * 999, "\u00fc".encode() * 3000, b"\x80" * 5000, b"x" * 200_000])
def test_long_lines_go_on_behind_a_blank(data: bytes) -> None:
    result = wrapped(data)
    assert_sendable(result)
    assert result.replace(b"\r\n ", b"") == data + b"\r\n"


def test_characters_are_not_broken() -> None:
    for line in wrapped("\u3042".encode() * 3000).split(b"\r\n"):
        line.decode()


def test_binary_content_is_base64() -> None:
    assert encode_binary(b"\0" * 60) == b"A" * 76 + b"\r\n" + b"A" * 4 + b"\r\n"

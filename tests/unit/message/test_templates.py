"""`mailboat.message.templates`: the texts of a bounce."""

from __future__ import annotations

import base64

import pytest

from mailboat.message.templates import DEFAULT_TEXT, fill, fill_html, fill_line, image_part, parse

HARAKA_STYLE = """\
Received: (Mail {pid} invoked for bounce); {date}
Date: {date}
From: MAILER-DAEMON@{me}
To: {to}
Subject: failure
 notice
Message-Id: <{msgid}>
Content-Type: text/plain
X-Team: {me}

Hi. {reason}
"""


def test_a_template_with_header_lines_sets_what_a_report_does_not_set_itself() -> None:
    parsed = parse(HARAKA_STYLE)
    assert parsed.fields == (
        ("Received", "(Mail {pid} invoked for bounce); {date}"),
        ("From", "MAILER-DAEMON@{me}"),
        ("Subject", "failure notice"),
        ("X-Team", "{me}"),
    )
    assert parsed.body == "Hi. {reason}\n"


def test_line_ends_and_a_byte_order_mark_do_not_matter() -> None:
    assert parse("\ufeff" + HARAKA_STYLE.replace("\n", "\r\n")) == parse(HARAKA_STYLE)


@pytest.mark.parametrize(
    "text", ["Sorry.\n", "Hello {from},\n\nno.\n", "Sorry: it failed\n\nmore\n", "\nFrom: here on\n"]
)
def test_a_template_without_header_lines_is_text(text: str) -> None:
    parsed = parse(text)
    assert parsed.fields == ()
    assert parsed.body == text


@pytest.mark.parametrize("text", [None, "", " \n\n"])
def test_a_missing_template_is_the_default(text: str | None) -> None:
    assert parse(text).body == DEFAULT_TEXT


def test_header_lines_alone_keep_the_default_text() -> None:
    parsed = parse("From: postmaster@x.example\nSubject: no\n")
    assert parsed.fields == (("From", "postmaster@x.example"), ("Subject", "no"))
    assert parsed.body == DEFAULT_TEXT


def test_unknown_placeholders_are_question_marks_and_values_are_not_filled_again() -> None:
    assert fill("{a} {b} {nope} {} {a b} { a }", {"a": "{b}", "b": "2"}) == "{b} 2 ? {} {a b} { a }"


def test_css_survives() -> None:
    assert fill("p {color: red}", {}) == "p {color: red}"


def test_a_value_in_a_header_line_is_one_line() -> None:
    assert fill_line("{x}", {"x": "a\r\nBcc: b"}) == "a Bcc: b"


def test_a_value_in_html_is_only_text() -> None:
    assert fill_html('<p title="{x}">', {"x": "<b>\"&'\r\n"}) == '<p title="&lt;b&gt;&quot;&amp;&#x27;&#13;&#10;">'


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def test_an_image_file_becomes_a_part() -> None:
    image = image_part(PNG)
    assert image.content_type == "image/png"
    assert image.content_id == "bounce-image"
    assert base64.b64decode(image.base64) == PNG


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mime_part_keeps_its_type_and_id(end: str) -> None:
    header = [
        "Content-Type: image/png;",
        ' name="a.png"',
        "Content-ID: <logo@x>",
        "Content-Transfer-Encoding: BASE64",
        "",
        "",
    ]
    image = image_part(end.join(header).encode() + base64.encodebytes(PNG))
    assert image.content_type == 'image/png; name="a.png"'
    assert image.content_id == "logo@x"
    assert base64.b64decode(image.base64) == PNG


def test_an_unencoded_mime_part_is_encoded() -> None:
    image = image_part(b"Content-Type: image/x\n\n\x00\xff\r")
    assert base64.b64decode(image.base64) == b"\x00\xff\r"


@pytest.mark.parametrize("data", [b"", b"\n\n", b"junk", b"Content-Type: a\x00b\r\n\r\n", b": \n\nx"])
def test_odd_images_do_no_harm(data: bytes) -> None:
    image = image_part(data)
    assert image.content_type.isascii()
    assert "\0" not in image.content_type

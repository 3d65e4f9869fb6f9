"""Whatever text a plugin refuses with, the client gets a reply that is one (RFC 5321 4.2)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.hooks import DENY, DENYDISCONNECT, DENYSOFT, DENYSOFTDISCONNECT, Code, Decision, Point
from mailboat.ingress.policy_replies import accepted, denial


@pytest.mark.parametrize(
    ("point", "code", "text", "reply"),
    [
        (Point.MAIL, DENY, None, b"550 5.7.1 Refused by policy\r\n"),
        (Point.MAIL, DENYSOFT, None, b"450 4.7.1 Refused by policy for now\r\n"),
        (Point.RCPT, DENYDISCONNECT, "no", b"550 5.7.1 no\r\n"),
        (Point.RCPT, DENYSOFTDISCONNECT, "no", b"450 4.7.1 no\r\n"),
        (Point.CONNECT, DENY, "no", b"554 5.7.1 no\r\n"),
        (Point.CONNECT, DENYSOFT, "no", b"421 4.7.1 no\r\n"),
        (Point.AUTH, DENY, None, b"535 5.7.8 Authentication credentials invalid\r\n"),
        (Point.AUTH, DENYSOFT, None, b"454 4.7.0 Temporary authentication failure\r\n"),
        (Point.RCPT, DENY, "5.1.1 no such user", b"550 5.1.1 no such user\r\n"),
        (Point.RCPT, DENY, "5.1.1 no\nsuch user", b"550-5.1.1 no\r\n550 5.1.1 such user\r\n"),
        (Point.RCPT, DENY, "4.1.1 wrong class", b"550 5.7.1 4.1.1 wrong class\r\n"),
        (Point.RCPT, DENYSOFT, "4.1.1 later", b"450 4.1.1 later\r\n"),
        (Point.RCPT, DENY, "a\r\n250 2.0.0 injected\r\n", b"550-5.7.1 a\r\n550 5.7.1 250 2.0.0 injected\r\n"),
        (Point.RCPT, DENY, "Grüße\x00\x7f", b"550 5.7.1 Gr?e?\r\n"),
        (Point.RCPT, DENY, " \r\n ", b"550 5.7.1 Refused\r\n"),
    ],
)
def test_codes_go_by_the_point_and_text_is_made_harmless(
    point: Point, code: Code, text: str | None, reply: bytes
) -> None:
    assert denial(point, Decision(code, text, "plugin")) == reply


def test_a_plugins_words_of_success_are_made_harmless_too() -> None:
    assert (
        accepted(b"250", "2.0.0", "taken\r\n550 5.0.0 x (ID)") == b"250-2.0.0 taken\r\n250 2.0.0 550 5.0.0 x (ID)\r\n"
    )


REPLY = re.compile(rb"(?:(\d{3})-[45]\.\d{1,3}\.\d{1,3} [ -~]+\r\n){0,19}\d{3} [45]\.\d{1,3}\.\d{1,3} [ -~]+\r\n")


@given(
    st.sampled_from([Point.CONNECT, Point.AUTH, Point.MAIL, Point.QUEUE_OUTBOUND]),
    st.sampled_from([DENY, DENYSOFT]),
    st.one_of(
        st.text(max_size=3000), st.lists(st.sampled_from(["5.1.1 ", "\r", "\n", "a", "4.0.0 ", "\0"])).map("".join)
    ),
)
def test_any_text_makes_a_reply_of_short_lines_with_one_code(point: Point, code: Code, text: str) -> None:
    reply = denial(point, Decision(code, text, "plugin"))
    assert REPLY.fullmatch(reply)
    lines = reply.split(b"\r\n")[:-1]
    assert len({line[:3] for line in lines}) == 1
    assert all(len(line) <= 510 for line in lines)
    assert all(line[:1] == line[4:5] for line in lines)


def test_half_of_a_surrogate_pair_in_a_plugins_text_becomes_a_question_mark() -> None:
    assert denial(Point.RCPT, Decision(Code.DENY, "no \ud800")) == b"550 5.7.1 no ?\r\n"

"""Each line of a reply to EHLO counts, but the first."""

from __future__ import annotations

import pytest

from mailboat.delivery.offers import PeerOffers, offers_of
from mailboat.smtp.extensions import AUTH, EXTENSIONS
from mailboat.smtp.extensions.auth import mechanisms_of


@pytest.mark.parametrize(
    ("reply", "values"),
    [
        (b"250 mx.test", {}),
        (b"250-mx.test\r\n250-PIPELINING\r\n250 8BITMIME\r", {"PIPELINING": "", "8BITMIME": ""}),
        (b"250-mx.test\r\n250-pipelining \r\n250 SmtpUtf8\r", {"PIPELINING": "", "SMTPUTF8": ""}),
        (b"250-\r\n250-AUTH PLAIN\r\n250 STARTTLS\r", {"AUTH": "PLAIN", "STARTTLS": ""}),
        (b"250-PIPELINING\r\n250 HELP\r", {"HELP": ""}),
        (b"250-mx\r\n250 SIZE 1000\r", {"SIZE": "1000"}),
        (b"250-mx\r\n250 SIZE many\r", {"SIZE": "MANY"}),
        (b"250-mx\r\n250 \xff\xfe\r", {"\ufffd\ufffd": ""}),
    ],
)
def test_what_is_offered(reply: bytes, values: dict[str, str]) -> None:
    offers = offers_of(reply.split(b"\n"))
    assert offers == PeerOffers(values)
    assert [e.keyword for e in EXTENSIONS if e in offers] == [e.keyword for e in EXTENSIONS if e.keyword in values]


@pytest.mark.parametrize(
    ("reply", "mechanisms"),
    [
        (b"250-mx\r\n250-AUTH LOGIN  plain\r\n250 AUTH=CRAM-MD5\r", {"LOGIN", "PLAIN", "CRAM-MD5"}),
        (b"250-mx\r\n250 AUTH=LOGIN PLAIN\r", {"LOGIN", "PLAIN"}),
    ],
)
def test_the_mechanisms_of_each_line_count(reply: bytes, mechanisms: set[str]) -> None:
    assert mechanisms_of(offers_of(reply.split(b"\n")).value(AUTH) or "") == mechanisms

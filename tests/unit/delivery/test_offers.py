"""Each line of a reply to EHLO counts, but the first."""

from __future__ import annotations

from typing import Any

import pytest

from mailboat.delivery.offers import PeerOffers, offers_of


@pytest.mark.parametrize(
    ("reply", "offers"),
    [
        (b"250 mx.test", {}),
        (b"250-mx.test\r\n250-PIPELINING\r\n250 8BITMIME\r", {"pipelining": True, "eightbit": True}),
        (b"250-mx.test\r\n250-pipelining \r\n250 SmtpUtf8\r", {"pipelining": True, "smtputf8": True}),
        (b"250-\r\n250-AUTH PLAIN\r\n250 STARTTLS\r", {"auth": frozenset({"PLAIN"}), "starttls": True}),
        (b"250-PIPELINING\r\n250 HELP\r", {}),
        (b"250-mx\r\n250-AUTH LOGIN  plain\r\n250 AUTH=CRAM-MD5\r", {"auth": {"LOGIN", "PLAIN", "CRAM-MD5"}}),
        (b"250-mx\r\n250 AUTH=LOGIN PLAIN\r", {"auth": {"LOGIN", "PLAIN"}}),
        (b"250-mx\r\n250 SIZE 1000\r", {"size": 1000, "announces_size": True}),
        (b"250-mx\r\n250 SIZE 0\r", {"announces_size": True}),
        (b"250-mx\r\n250 SIZE many\r", {"announces_size": True}),
        (b"250-mx\r\n250 SIZE " + b"9" * 30 + b"\r", {"announces_size": True}),
        (b"250-mx\r\n250 \xff\xfe\r", {}),
    ],
)
def test_what_is_offered(reply: bytes, offers: dict[str, Any]) -> None:
    assert offers_of(reply.split(b"\n")) == PeerOffers(**offers)

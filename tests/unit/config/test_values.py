"""Each kind of value: what it accepts, and what it refuses with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mailboat.config import values
from mailboat.config.nouns import CPUS, ROUTE_TLS_LEVELS, InetPrefer, TlsLevel

ACCEPTED: list[tuple[Callable[[str], Any], str, Any]] = [
    *((values.boolean, word, True) for word in ("true", "YES", "ok", "Enabled", "on", "1")),
    *((values.boolean, word, False) for word in ("false", "No", "disabled", "OFF", "0")),
    (values.integer(1, 10), "10", 10),
    (values.integer(-5, 10), "-5", -5),
    (values.integer(0, 10), "007", 7),
    (values.seconds(1, 3600), "30", 30.0),
    (values.seconds(1, 3600), "0.5m", 30.0),
    (values.seconds(1, 3600), "1H", 3600.0),
    (values.size(1, 2**40), "26214400", 26214400),
    (values.size(1, 2**40), "25M", 26214400),
    (values.size(1, 2**40), "1 g", 2**30),
    (values.size_limit(1024, 2**40), "0", 2**40),
    (values.size_limit(1024, 2**40), "1k", 1024),
    (values.text, "0123", "0123"),
    (values.header_text, "Mailboat (outbound) relay", "Mailboat (outbound) relay"),
    (values.path, "a/b c", "a/b c"),
    (values.path, "", ""),
    (values.choice(ROUTE_TLS_LEVELS), "Required", TlsLevel.REQUIRED),
    (values.inet_prefer, "default", InetPrefer.BOTH),
    (values.inet_prefer, "V6", InetPrefer.V6),
    (values.nodes, "0", 0),
    (values.nodes, "CPUS", CPUS),
    (values.auth_type, "cram-md5", "CRAM-MD5"),
    (values.auth_type, "", ""),
    (values.ciphers, "ECDHE+AESGCM:!DES:@SECLEVEL=2", "ECDHE+AESGCM:!DES:@SECLEVEL=2"),
    (values.tls_version, "tlsv1.2", "TLSv1.2"),
    (values.tls_version, "TLSv1.0", "TLSv1"),
]
REFUSED: list[tuple[Callable[[str], Any], str, str]] = [
    (values.boolean, "", "neither true"),
    (values.boolean, "maybe", "is neither true"),
    (values.integer(1, 10), "11", "is not between 1 and 10"),
    (values.integer(1, 10), "0", "not between"),
    (values.integer(1, 10), "", "not a whole number"),
    (values.integer(1, 10), "1.5", "not a whole number"),
    (values.integer(1, 10), "0x1", "not a whole number"),
    (values.integer(1, 10), "1_0", "not a whole number"),
    (values.integer(1, 10), "٣", "not a whole number"),
    (values.integer(1, 10), "9" * 10_000, "not a whole number"),
    (values.seconds(1, 60), "61", "not between 1 and 60"),
    (values.seconds(1, 60), "nan", "not a time"),
    (values.seconds(1, 60), "inf", "not a time"),
    (values.seconds(1, 60), "", "not a time"),
    (values.size(1024, 2048), "1", "not between 1024 and 2048"),
    (values.size(1, 2048), "1T", "not a size"),
    (values.size_limit(1024, 2048), "1023", "not between 1024 and 2048"),
    (values.size(1, 2048), "9" * 5000, "not a size"),
    (values.header_text, "", "remove the key"),
    (values.header_text, "a\nX-Evil: 1", "not printable ASCII"),
    (values.header_text, "é", "not printable ASCII"),
    (values.header_text, "a)b(", "lone parenthesis"),
    (values.header_text, "(a", "lone parenthesis"),
    (values.header_text, "a\\", "backslash"),
    (values.header_text, "x" * 201, "longer than 200"),
    (values.path, "a\0b", "NUL"),
    (values.choice(ROUTE_TLS_LEVELS), "tls", "not one of disabled, opportunistic, required, implicit"),
    (values.inet_prefer, "ipv6", "not one of v4, v6, both"),
    (values.nodes, "-1", "neither a number"),
    (values.nodes, "", "neither a number"),
    (values.nodes, "257", "not between 0 and 256"),
    (values.auth_type, "XOAUTH2", "not one of PLAIN"),
    (values.ciphers, "a;b", "not an OpenSSL cipher list"),
    (values.tls_version, "SSLv3", "not one of TLSv1"),
    (values.tls_version, "", "not one of TLSv1"),
]


@pytest.mark.parametrize(("parse", "text", "value"), ACCEPTED)
def test_accepted(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "reason"), REFUSED)
def test_refused_with_a_reason(parse: Callable[[str], Any], text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300

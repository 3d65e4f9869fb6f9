"""What names a next hop: strings, URLs, dictionaries and objects, and what is refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from mailboat.hooks import Mx, TlsLevel


@pytest.mark.parametrize(
    ("text", "exchange", "port", "given"),
    [
        ("mx.example.com", "mx.example.com", 25, False),
        ("MX.Example.COM.", "mx.example.com", 25, False),
        ("mx.example.com:2525", "mx.example.com", 2525, True),
        ("192.0.2.1", "192.0.2.1", 25, False),
        ("192.0.2.1:25", "192.0.2.1", 25, True),
        ("[2001:db8::1]", "2001:db8::1", 25, False),
        ("[2001:db8::1]:26", "2001:db8::1", 26, True),
        ("2001:db8::1", "2001:db8::1", 25, False),
        ("2001:db8::1:25", "2001:db8::1:25", 25, False),
        ("smtp://mx.example.com", "mx.example.com", 25, False),
        ("smtp://mx.example.com:26/", "mx.example.com", 26, True),
        ("smtp://[2001:db8::1]", "2001:db8::1", 25, False),
        ("smtp://[2001:db8::1]:26", "2001:db8::1", 26, True),
        ("SMTP://mx.example.com", "mx.example.com", 25, False),
        ("lmtp://mx.example.com", "mx.example.com", 24, False),
        ("smtps://mx.example.com", "mx.example.com", 465, False),
        ("smtps://mx.example.com:465", "mx.example.com", 465, True),
        ("smtp://über.example", "xn--ber-goa.example", 25, False),
        ("  mx.example.com\n", "mx.example.com", 25, False),
    ],
)
def test_a_string_or_url_names_host_and_port(text: str, exchange: str, port: int, given: bool) -> None:
    mx = Mx.of(text)
    assert (mx.exchange, mx.port, mx.port_given) == (exchange, port, given)
    assert mx.using_lmtp == text.startswith("lmtp")
    assert mx.tls is (TlsLevel.IMPLICIT if text.startswith("smtps") else None)


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("smtp://u:p@h.test", "u", "p"),
        ("smtp://u%40x.test:p%3Aw%2F@h.test:26", "u@x.test", "p:w/"),
        ("smtp://u:p:q@h.test", "u", "p:q"),
        ("smtp://u:p@q@h.test", "u", "p@q"),
        ("smtp://u@h.test", "u", ""),
        ("smtps://%C3%BC:%20@[::1]:465", "ü", " "),
    ],
)
def test_user_and_password_of_a_url_are_percent_decoded(url: str, user: str, password: str) -> None:
    mx = Mx.of(url)
    assert (mx.auth_user, mx.auth_pass) == (user, password)
    assert repr(mx) == f"Mx({str(mx)!r})"
    assert password == "" or f":{password}@" not in str(mx)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "not a host and port"),
        ("a b", "not a domain name"),
        ("h.test:0", "not one from 1"),
        ("h.test:70000", "not one from 1"),
        ("h.test:x", "not one from 1"),
        ("h.test/10", "not a domain name"),
        ("[192.0.2.1]", "only an IPv6 address"),
        ("http://h.test", "not one of smtp, smtps, lmtp"),
        ("smtp://", "not a host and port"),
        ("smtp://h.test/path", "must not have a path or a query"),
        ("smtp://h.test?x", "must not have a path or a query"),
        ("smtp://%ff:x@h.test", "not UTF-8"),
        ("smtp://a%00:x@h.test", "control character"),
        ("smtp://a:x%0d%0a@h.test", "control character"),
        ("smtp://a\ud800:x@h.test", "surrogate"),
        ({"exchange": "h.test", "auth_user": "a", "auth_pass": "\udcff"}, "surrogate"),
        ({"path": "/run/\udc80"}, "surrogate"),
        ({}, "either an exchange or the path"),
        ({"exchange": "h.test", "path": "/x"}, "either an exchange or the path"),
        ({"exchange": "h.test", "prot": 25}, "no such field"),
        ({"exchange": "h.test", "port": 0}, "not one from 1"),
        ({"exchange": "h.test", "port": 65536}, "not one from 1"),
        ({"exchange": "h.test", "port": True}, "not a whole number"),
        ({"exchange": "h.test", "port": 25.5}, "not a whole number"),
        ({"exchange": "h.test:26"}, "the port has its own field"),
        ({"exchange": 5}, "not a string"),
        ({"exchange": "h.test", "tls": "maybe"}, "not one of disabled"),
        ({"exchange": "h.test", "bind": "not-an-address"}, "not an address"),
        ({"exchange": "h.test", "bind_helo": "a.test", "bind_ehlo": "b.test"}, "differ"),
        ({"exchange": "h.test", "bind_helo": "a b"}, "not a domain name"),
        ({"exchange": "h.test", "auth_type": "GSSAPI"}, "not one of"),
        ({"exchange": "h.test", "using_lmtp": "yes"}, "neither true nor false"),
        ({"path": "relative/socket"}, "not absolute"),
        (5, "does not name an MX"),
        (None, "does not name an MX"),
        (object(), "does not name an MX"),
        (b"h.test", "does not name an MX"),
    ],
)
def test_what_names_no_next_hop_is_refused_with_the_reason(source: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Mx.of(source)


def test_a_password_never_stands_in_a_refusal() -> None:
    for text in ("u:s3cret@h.test", "u:s3cret@h.test:26", "smtp://u:s3cret@h test", "smtp://u:s3cret@h.test:0"):
        with pytest.raises(ValueError) as caught:
            Mx.of(text)
        assert "s3cret" not in str(caught.value)


def test_a_dictionary_and_an_object_have_the_fields_by_name() -> None:
    fields = {
        "exchange": "h.test",
        "port": "2525",
        "priority": 5,
        "bind": "192.0.2.7",
        "bind_ehlo": "me.test",
        "auth_user": "u",
        "auth_pass": "p",
        "auth_type": "cram-md5",
        "tls": "required",
        "from_dns": "d.test",
    }
    mx = Mx.of(fields)
    assert mx == Mx.of(SimpleNamespace(**fields, more="is ignored"))
    assert (mx.port, mx.priority, mx.bind, mx.bind_helo, mx.bind_ehlo) == (2525, 5, "192.0.2.7", "me.test", "me.test")
    assert (mx.auth_type, mx.tls, mx.from_dns) == ("CRAM-MD5", TlsLevel.REQUIRED, "d.test")


def test_bind_helo_and_bind_ehlo_are_one_field() -> None:
    assert Mx("h.test", bind_helo="a.test") == Mx("h.test", bind_ehlo="A.test")


def test_a_path_is_a_unix_socket() -> None:
    assert Mx.of("/run/lmtp.sock") == Mx(path="/run/lmtp.sock")
    assert Mx.of({"path": "/run/x", "using_lmtp": True}).port == 24


def test_an_mx_is_itself_and_a_parsed_url_is_read() -> None:
    mx = Mx("h.test", port=26)
    assert Mx.of(mx) is mx
    assert Mx.of(urlsplit("smtp://u%40x:p@h.test:26")) == replace(mx, auth_user="u@x", auth_pass="p")

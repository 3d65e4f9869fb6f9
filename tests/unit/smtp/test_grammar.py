"""Addresses and parameters: what is taken, how it is normalised, and how the rest is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.model.address import NULL_SENDER
from mailboat.smtp.grammar import GrammarError, parse_address, parse_parameters, parse_sender, split_path


@pytest.mark.parametrize(
    ("path", "local", "domain", "normal"),
    [
        ("user@example.com", "user", "example.com", "example.com"),
        ("User@Example.COM", "User", "Example.COM", "example.com"),
        ("a.b+c=d@example.com.", "a.b+c=d", "example.com.", "example.com"),
        ('"a b"@example.com', '"a b"', "example.com", "example.com"),
        ('"a@b"@example.com', '"a@b"', "example.com", "example.com"),
        ('"a\\"b>"@example.com', '"a\\"b>"', "example.com", "example.com"),
        ("@relay.example,@other.example:user@example.com", "user", "example.com", "example.com"),
        ("user@[192.0.2.1]", "user", "[192.0.2.1]", "[192.0.2.1]"),
        ("user@[IPv6:2001:DB8:0::1]", "user", "[IPv6:2001:DB8:0::1]", "[IPv6:2001:db8::1]"),
        ("user@über.example", "user", "über.example", "xn--ber-goa.example"),
        ("δοκιμή@example.com", "δοκιμή", "example.com", "example.com"),
        ("a" * 242 + "@example.com", "a" * 242, "example.com", "example.com"),
        ("user@under_score.example", "user", "under_score.example", "under_score.example"),
    ],
)
def test_addresses_that_real_mail_has_are_parsed(path: str, local: str, domain: str, normal: str) -> None:
    address = parse_address(path)
    assert (address.local, address.domain, address.ascii_domain) == (local, domain, normal)
    assert str(address) == f"{local}@{domain}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "user",
        "@example.com",
        "user@",
        "us er@example.com",
        "user@exa mple.com",
        "user@-example.com",
        "user@example..com",
        "user@[192.0.2.300]",
        "user@[192.0.2.1",
        "user@[IPv6:xyz]",
        '"open@example.com',
        "a\x00b@example.com",
        "a\rb@example.com",
        "a" * 255 + "@example.com",
        "a" * 243 + "@example.com",
        "a\u0085b@example.com",
        "a\u2028b@example.com",
        '"a\u2029b"@example.com',
        '"a\u009b31m"@example.com',
        "\ud800@example.com",
        "user@" + "a" * 64 + ".example",
        "user@" + "a.b" * 100,
        "user@\ud800.example",
        "<user@example.com",
    ],
)
def test_what_is_no_address_is_refused_with_501(path: str) -> None:
    with pytest.raises(GrammarError) as refused:
        parse_address(path)
    assert refused.value.reply.startswith("501 5.1.3 ")
    assert "\r" not in refused.value.reply


@pytest.mark.parametrize("half", [chr(0xD800), chr(0xDC80), chr(0xDFFF)])
@pytest.mark.parametrize("path", ["a{}@b.test", '"{}"@b.test', "a@b{}.test", "a@[{}]", "{}", "{}@"])
def test_half_of_a_surrogate_pair_is_no_part_of_an_address(path: str, half: str) -> None:
    """JSON and plugins can bring one; no octets stand for it."""
    for parse in (parse_address, parse_sender):
        with pytest.raises(GrammarError, match=r"^501 5"):
            parse(path.format(half))


def test_the_null_sender_is_a_sender_and_a_bad_one_is_5_1_7() -> None:
    assert parse_sender("") is NULL_SENDER
    with pytest.raises(GrammarError, match=r"501 5\.1\.7"):
        parse_sender("nobody")


@pytest.mark.parametrize(
    ("argument", "path", "rest"),
    [
        ("<a@b>", "a@b", ""),
        (" <a@b> SIZE=1", "a@b", "SIZE=1"),
        ('<"a>b"@c> X', '"a>b"@c', "X"),
        ("<>", "", ""),
    ],
)
def test_a_path_and_its_parameters_are_split(argument: str, path: str, rest: str) -> None:
    assert split_path(argument) == (path, rest)


@pytest.mark.parametrize("argument", ["", "a@b", "<a@b", "<a@b>X", '<"a@b>'])
def test_a_path_without_its_brackets_is_refused(argument: str) -> None:
    with pytest.raises(GrammarError, match=r"^501 5\.5\.4"):
        split_path(argument)


def test_parameters_are_upper_case_and_single() -> None:
    assert parse_parameters("size=10 BODY=8bitmime SMTPUTF8") == {"SIZE": "10", "BODY": "8bitmime", "SMTPUTF8": ""}
    for bad in ("SIZE=1 size=2", "=x", "a_b=1"):
        with pytest.raises(GrammarError):
            parse_parameters(bad)


@given(st.text(max_size=80))
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    for parse in (parse_address, parse_sender, split_path, parse_parameters):
        with suppress(GrammarError):
            parse(text)

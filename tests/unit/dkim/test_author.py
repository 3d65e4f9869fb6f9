"""The domain that a message is from (RFC 5322 3.4): no display name, comment or local part passes for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.dkim.author import author_domain

ATOMS = st.text("abcdefXYZ019-_+!#", min_size=1, max_size=8)
INSIDE = st.text('ab@<>,;:. ü"\\()', max_size=12)
LABELS = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def comment(text: str) -> str:
    return "(" + "".join(f"\\{c}" if c in "\\()" else c for c in text) + ")"


def author(value: str | bytes) -> str:
    octets = value if isinstance(value, bytes) else value.encode()
    return author_domain([b"Subject: x\r\n", b"From:" + octets + b"\r\n"])


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (" joe@example.com", "example.com"),
        (" Joe <joe@Example.COM>", "example.com"),
        (" John Q. Public <j@example.com>", "example.com"),
        (' "a@evil.example" <x@good.example>', "good.example"),
        (" x@good.example (c@evil.example)", "good.example"),
        (" x(a)@(b(c)\\)d)good.example", "good.example"),
        (' "a@b <c>"@good.example', "good.example"),
        (" =?utf-8?q?a=40evil.example?= <x@good.example>", "good.example"),
        (" a\r\n\t<x@good.example>", "good.example"),
        (" a@one.example, b@two.example", "one.example"),
        (" Team: a@one.example, b@two.example;", "one.example"),
        (" ü <ü@bücher.example>", "xn--bcher-kva.example"),
        (" joe", ""),
        (" <>", ""),
        ("", ""),
        (" joe@", ""),
        (" @example.com", ""),
        (" joe@example..com", ""),
        (" joe@[192.0.2.1]", ""),
        (" joe@example.com extra", ""),
        (" joe@evil.example <x@good.example>", ""),
        (" <joe@example.com", ""),
        (" (joe@example.com", ""),
        (' "joe@example.com', ""),
        (b" \xff <x@good.example>", ""),
    ],
)
def test_the_domain_is_that_of_the_first_mailbox(value: str | bytes, domain: str) -> None:
    assert author(value) == domain


def test_no_from_and_two_are_nobodys() -> None:
    assert author_domain([b"Subject: x\r\n"]) == ""
    assert author_domain([b"From: a@example.com\r\n", b"FROM : a@example.com\r\n"]) == ""


@given(name=INSIDE, note=INSIDE, local=INSIDE, labels=st.lists(LABELS, min_size=1, max_size=3))
def test_whatever_stands_beside_it_the_domain_is_found(name: str, note: str, local: str, labels: list[str]) -> None:
    domain = ".".join(labels)
    assert author(f" {quoted(name)} {comment(note)} <{quoted(local)}@{domain}> {comment(note)}") == domain
    assert author(f" {comment(note)} {quoted(local)}@{domain}{comment(note)}, b@other.example") == domain


@given(st.binary(max_size=80))
def test_any_octets_are_a_domain_or_none(value: bytes) -> None:
    domain = author(value.replace(b"\n", b""))
    assert domain == domain.lower()
    assert domain.isascii()
    assert "@" not in domain

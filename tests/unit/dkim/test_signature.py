"""Signatures as the RFCs print them, and as verifiers that nobody here wrote judge them."""

from __future__ import annotations

import base64
import re

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailboat.dkim.canonical import Canonicalization, body_hash
from mailboat.dkim.coverage import Coverage
from mailboat.dkim.keys import Algorithm, SigningKey, make_key, parse_key
from mailboat.dkim.signature import SignatureForm, header_digest, signatures
from mailboat.dkim.verify import SignatureVerdict, verify

NOW = 1_700_000_000
KEYS = {algorithm: SigningKey("example.com", "s1", make_key(algorithm)) for algorithm in Algorithm}
FORMS = [SignatureForm(header, body) for header in Canonicalization for body in Canonicalization]
FIELDS = [
    b"From: Joe <joe@example.com>\r\n",
    b"Subject: a  folded\r\n\tsubject \r\n",
    b"subject: another\r\n",
    b"To: a@example.org,\r\n b@example.org\r\n",
    b"Message-ID: <1@example.com>\r\n",
    b"X-Empty:\r\n",
]
BODY = b"Hello  there \t\r\n\r\n.dot\r\nlast line\r\n\r\n\r\n"


def sign(key: SigningKey, fields: list[bytes], body: bytes, form: SignatureForm) -> bytes:
    digest = body_hash(form.body)
    digest.update(body)
    return signatures([key], fields, digest.digest(), form, NOW)


def dkimpy_passes(key: SigningKey, message: bytes) -> bool:
    return bool(dkim.verify(message, dnsfunc=lambda *_, **__: key.record.encode()))


def test_rfc_8463_appendix_a_comes_out_octet_for_octet() -> None:
    """Ed25519 has one signature for one message: the RFC's."""
    key = SigningKey("football.example.com", "brisbane", parse_key(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")[0])
    fields = [
        b"From: Joe SixPack <joe@football.example.com>\r\n",
        b"To: Suzie Q <suzie@shopping.example.net>\r\n",
        b"Subject: Is dinner ready?\r\n",
        b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n",
        b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n",
    ]
    body = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
    names = "from:to:subject:date:message-id:from:subject:date"
    digest = body_hash(Canonicalization.RELAXED)
    digest.update(body)
    assert base64.b64encode(digest.digest()) == b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    unsigned = (
        b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
        b" d=football.example.com; i=@football.example.com;\r\n"
        b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
        b" subject : date : message-id : from : subject : date;\r\n"
        b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        b" b="
    )
    signed = key.sign(header_digest(fields, names.split(":"), unsigned, Canonicalization.RELAXED))
    assert base64.b64encode(signed) == (
        b"/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.header}/{form.body}")
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_signature_passes_dkimpy_and_our_own_verifier(algorithm: Algorithm, form: SignatureForm) -> None:
    key = KEYS[algorithm]
    signed = sign(key, FIELDS, BODY, form)
    assert dkimpy_passes(key, b"".join([signed, *FIELDS, b"\r\n", BODY]))
    (result,) = verify([signed, *FIELDS], [BODY], lambda _: [key.record], NOW)
    assert result.verdict is SignatureVerdict.PASS, result.reason


@pytest.mark.parametrize("algorithm", Algorithm)
@given(
    values=st.lists(st.text(st.sampled_from('ab \t"é:;=<@>'), max_size=40), max_size=8),
    body=st.lists(st.sampled_from(["x", " ", "\t", "\r\n", "é", "."]), max_size=40).map("".join),
)
@settings(max_examples=30)
def test_whatever_is_signed_passes_dkimpy(algorithm: Algorithm, values: list[str], body: str) -> None:
    key = KEYS[algorithm]
    names = ("Subject", "To", "From", "X-Other", "List-Id")
    fields = [b"From: a@example.com\r\n"]
    fields += [f"{names[at % 5]}:{value}\r\n".encode() for at, value in enumerate(values)]
    octets = body.encode() + b"\r\n"
    signed = sign(key, fields, octets, SignatureForm())
    assert dkimpy_passes(key, b"".join([signed, *fields, b"\r\n", octets]))


@pytest.mark.parametrize(
    "added", [b"Subject: new\r\n", b"From: x@evil.example\r\n", b"Reply-To: x@evil.example\r\n", b"Cc: x@y.example\r\n"]
)
def test_a_field_that_is_prepended_later_breaks_the_signature(added: bytes) -> None:
    key = KEYS[Algorithm.ED25519]
    signed = sign(key, FIELDS, BODY, SignatureForm())
    assert not dkimpy_passes(key, b"".join([added, signed, *FIELDS, b"\r\n", BODY]))
    assert verify([added, signed, *FIELDS], [BODY], lambda _: [key.record], NOW)[0].verdict is SignatureVerdict.FAIL


def test_a_mailing_list_may_add_its_fields() -> None:
    key = KEYS[Algorithm.ED25519]
    signed = sign(key, FIELDS, BODY, SignatureForm())
    assert dkimpy_passes(key, b"".join([b"List-Id: <l.example>\r\n", signed, *FIELDS, b"\r\n", BODY]))


def test_the_field_has_short_lines_no_length_and_names_what_is_over_signed() -> None:
    for key in KEYS.values():
        text = sign(key, FIELDS, BODY, SignatureForm(lifetime=60)).decode()
        assert max(map(len, text.split("\r\n"))) <= 76
        assert all(line.startswith("\t") for line in text.split("\r\n")[1:-1])
        tags = dict(re.findall(r"(\w+)=([^;]*)", text.partition(":")[2]))
        assert list(tags) == ["v", "a", "c", "d", "s", "t", "x", "h", "bh", "b"]
        assert (tags["t"], tags["x"]) == (str(NOW), str(NOW + 60))
        names = re.sub(r"\s", "", tags["h"]).lower().split(":")
        assert [names.count(name) for name in ("from", "subject", "cc", "message-id", "list-id")] == [2, 3, 1, 2, 0]


def test_a_coverage_of_ones_own_is_signed() -> None:
    key = KEYS[Algorithm.ED25519]
    signed = sign(key, FIELDS, BODY, SignatureForm(coverage=Coverage(("From",), (), ("X-Empty",))))
    assert b"h=From:From:X-Empty;" in signed
    assert dkimpy_passes(key, b"".join([signed, *FIELDS, b"\r\n", BODY]))

"""Canonical forms (RFC 6376 3.4), the body's in pieces cut anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.dkim.canonical import BodyHash, Canonicalization, body_hash, canonical_field

BODIES = st.lists(st.sampled_from([b"a", b"b c", b" ", b"\t", b"  ", b"\r\n", b"\r\n\r\n", b"\0", b"\xff", b"."])).map(
    b"".join
)


def whole(body: bytes, form: Canonicalization) -> bytes:
    """The definition, on the body as one piece."""
    if form is Canonicalization.SIMPLE:
        return re.sub(rb"(?:\r\n)*\Z", b"", body, count=1) + b"\r\n"
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def hashed(digest: BodyHash, *pieces: bytes) -> bytes:
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


@pytest.mark.parametrize("form", Canonicalization)
@given(body=BODIES, cuts=st.lists(st.integers(0, 200), max_size=12))
def test_a_body_has_one_hash_however_it_is_cut(form: Canonicalization, body: bytes, cuts: list[int]) -> None:
    ends = sorted(min(cut, len(body)) for cut in cuts)
    pieces = [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]
    assert hashed(body_hash(form), *pieces) == hashlib.sha256(whole(body, form)).digest()


@pytest.mark.parametrize(
    ("form", "digest"),
    [
        (Canonicalization.SIMPLE, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        (Canonicalization.RELAXED, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    ],
)
def test_an_empty_body_has_the_hash_of_the_rfc(form: Canonicalization, digest: str) -> None:
    assert base64.b64encode(body_hash(form).digest()).decode() == digest


def test_a_body_of_blanks_is_empty_when_relaxed() -> None:
    relaxed = Canonicalization.RELAXED
    assert hashed(body_hash(relaxed), b" \t\r\n", b"\t\r\n \r\n") == body_hash(relaxed).digest()


@pytest.mark.parametrize("form", Canonicalization)
def test_ten_million_empty_lines_at_the_end_take_no_memory(form: Canonicalization) -> None:
    digest, piece = body_hash(form), b"\r\n" * 10_000
    digest.update(b"a")
    tracemalloc.start()
    try:
        for _ in range(1_000):
            digest.update(piece)
        digest.update(b"b")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert digest.digest() == hashlib.sha256(b"a" + b"\r\n" * 10_000_000 + b"b\r\n").digest()


@pytest.mark.parametrize(
    ("field", "relaxed"),
    [
        (b"Subject: x\r\n", b"subject:x\r\n"),
        (b"SUBJect \t: \t x  \t y \r\n", b"subject:x y\r\n"),
        (b"A:\r\n", b"a:\r\n"),
        (b"A: \t\r\n \r\n", b"a:\r\n"),
        (b"A: b\r\n\tc\r\n  d\r\n", b"a:b c d\r\n"),
        (b"A: \xfc\xff:\r\n", b"a:\xfc\xff:\r\n"),
        (b"A:" + b"\r\n b" * 200 + b"\r\n", b"a:b" + b" b" * 199 + b"\r\n"),
    ],
)
def test_a_relaxed_field_has_a_lower_name_and_single_blanks(field: bytes, relaxed: bytes) -> None:
    assert canonical_field(field, Canonicalization.RELAXED) == relaxed
    assert canonical_field(field, Canonicalization.SIMPLE) == field


@pytest.mark.parametrize("form", Canonicalization)
@pytest.mark.parametrize("body", [b"", b"a \r\n\r\n"])
def test_a_hash_that_is_asked_for_twice_is_the_same(form: Canonicalization, body: bytes) -> None:
    digest = body_hash(form)
    digest.update(body)
    assert digest.digest() == digest.digest() == hashlib.sha256(whole(body, form)).digest()

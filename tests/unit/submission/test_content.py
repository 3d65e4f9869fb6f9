"""Contents of any line ends become CRLF lines, however they are cut; dot-stuffing is undone where it is said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.submission.content import Normalizer
from mailboat.submission.request import RefusedError


def normalized(*pieces: bytes, limit: int = 1000, dot_stuffed: bool = False) -> bytes:
    lines = Normalizer(limit, dot_stuffed=dot_stuffed)
    return b"".join(map(lines.feed, pieces)) + lines.finish()


CASES = [
    (b"", b""),
    (b"a", b"a\r\n"),
    (b"a\n", b"a\r\n"),
    (b"a\r\n", b"a\r\n"),
    (b"a\r", b"a\r\n"),
    (b"a\rb\nc\r\nd", b"a\r\nb\r\nc\r\nd\r\n"),
    (b"\r\r\n\n", b"\r\n\r\n\r\n"),
    (b".\n..x\n.y", b".\r\n..x\r\n.y\r\n"),
    (b"a\n\n\nlast line without newline", b"a\r\n\r\n\r\nlast line without newline\r\n"),
]


@pytest.mark.parametrize(("given_", "wanted"), CASES)
def test_line_ends_become_crlf_and_the_last_line_is_kept_and_made_whole(given_: bytes, wanted: bytes) -> None:
    assert normalized(given_) == wanted
    assert normalized(*(given_[at : at + 1] for at in range(len(given_)))) == wanted


@given(st.lists(st.text("\r\n.ab", max_size=6).map(str.encode)))
def test_where_contents_are_cut_makes_no_difference(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    made = normalized(*pieces)
    assert made == normalized(whole)
    assert re.sub(rb"\r\n|\r|\n", b"\r\n", whole + b"\n" * bool(whole[-1:] not in b"\r\n")) == made


STUFFED = [
    (b"..\n", b".\r\n"),
    (b"..x\r\n.y\n", b".x\r\ny\r\n"),
    (b"a\n..\nb", b"a\r\n.\r\nb\r\n"),
    (b"a\r\n.\r\n", b"a\r\n"),
    (b"a\n.", b"a\r\n"),
    (b".", b""),
    (b"a..b\n", b"a..b\r\n"),
]


@pytest.mark.parametrize(("given_", "wanted"), STUFFED)
def test_dot_stuffing_is_undone_and_the_final_dot_is_no_line(given_: bytes, wanted: bytes) -> None:
    """RFC 5321 4.5.2."""
    assert normalized(given_, dot_stuffed=True) == wanted
    assert normalized(*(given_[at : at + 1] for at in range(len(given_))), dot_stuffed=True) == wanted


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 5])
def test_what_follows_the_final_dot_is_refused_rather_than_lost(cut: int) -> None:
    text = b"a\n.\nRCPT"
    with pytest.raises(RefusedError, match="single dot"):
        normalized(text[:cut], text[cut:], dot_stuffed=True)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_a_line_at_the_limit_passes_and_one_octet_more_is_refused(end: bytes) -> None:
    assert normalized(b"x" * 100 + end, limit=100) == b"x" * 100 + b"\r\n"
    for size in (101, 102, 500):
        with pytest.raises(RefusedError, match="longer than 100 octets"):
            normalized(b"ok\n", b"x" * size + end, limit=100)


def test_a_line_without_end_is_refused_before_it_is_whole() -> None:
    lines = Normalizer(100)
    for _ in range(101):
        lines.feed(b"x")
    with pytest.raises(RefusedError, match="longer than 100 octets"):
        lines.feed(b"x")

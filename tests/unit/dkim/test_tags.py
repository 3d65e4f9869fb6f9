"""Lists of tags (RFC 6376 3.2): what is written is read back, and nothing else passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.dkim.record import parse_record
from mailboat.dkim.tags import parse_tags
from mailboat.dkim.verify import parse_signature

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,5}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=";"), max_size=20)
BLANKS = st.sampled_from(["", " ", "\t", "\r\n ", " \r\n\t"])


@given(tags=st.dictionaries(NAMES, VALUES, min_size=1), blank=BLANKS, end=st.sampled_from(["", ";", "; "]))
def test_tags_are_read_back_whatever_blanks_stand_between(tags: dict[str, str], blank: str, end: str) -> None:
    text = ";".join(f"{blank}{name}{blank}={blank}{value}{blank}" for name, value in tags.items()) + end
    assert parse_tags(text) == tags


@pytest.mark.parametrize("text", ["a", "a=1;a=2", "=1", "1=a", "a=1;;b=2", "a=\x00", "a b=1"])
def test_what_is_no_list_of_tags_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a tag|occurs twice"):
        parse_tags(text)


@given(st.text(max_size=120))
def test_nothing_but_a_value_error_comes_of_any_text(text: str) -> None:
    for read in (parse_tags, parse_record, lambda text: parse_signature(b"DKIM-Signature:" + text.encode())):
        try:
            read(text)
        except ValueError:
            continue

"""Queue ids: what is encoded is read back, what people type is understood, what is no id is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.queue import ids

TAG = "7K3QZD"
numbers = st.integers(0, ids.MAX_NUMBER)
ordinals = st.integers(1, ids.MAX_ORDINAL)


@given(numbers, ordinals)
def test_an_entry_id_names_its_row_and_the_row_its_entry(number: int, ordinal: int) -> None:
    parsed = ids.parse(f"{ids.message_id(TAG, number)}.{ordinal}")
    assert parsed == ids.Parsed(TAG, number, ordinal)
    row = ids.row_of(number, ordinal)
    assert 0 < row < 2**63
    assert (ids.number_of(row), ids.ordinal_of(row)) == (number, ordinal)
    assert ids.rows_of(parsed) == (row, row)


@given(numbers, ordinals)
def test_a_message_id_names_the_rows_of_its_entries_and_of_no_other(number: int, ordinal: int) -> None:
    parsed = ids.parse(ids.message_id(TAG, number))
    assert parsed is not None
    first, last = ids.rows_of(parsed)
    assert first <= ids.row_of(number, ordinal) <= last
    assert last < ids.row_of(number + 1, 1)


@given(st.text(max_size=30))
def test_any_text_is_an_id_or_nothing(text: str) -> None:
    parsed = ids.parse(text)
    assert parsed is None or 0 <= parsed.number <= ids.MAX_NUMBER


def test_letters_that_look_like_digits_are_read_as_digits() -> None:
    assert ids.parse(" 7k3qzd-iLo.2 ") == ids.Parsed(TAG, 0b00001_00001_00000, 2)


@pytest.mark.parametrize("text", ["", "-", "7K3QZD", "7K3QZD-", "7K3QZD-U", "7K3Q-1", "A-1", "7K3QZD-1.", "7K3QZD-1.0"])
def test_what_is_no_id_is_none(text: str) -> None:
    assert ids.parse(text) is None


@given(st.binary(min_size=4, max_size=16))
def test_a_tag_has_its_length_and_alphabet(random: bytes) -> None:
    tag = ids.tag_from(random)
    assert len(tag) == ids.TAG_LENGTH
    assert set(tag) <= set(ids.ALPHABET)

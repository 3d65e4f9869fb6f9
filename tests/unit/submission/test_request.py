"""Addresses and notes as plugins and programs write them, and the sentences for what is wrong."""

from __future__ import annotations

import pytest

from mailboat.model.address import NULL_SENDER, Address
from mailboat.submission.request import RefusedError, json_notes, recipients_of, sender_of

BOB = Address("bob", "There.test", "there.test")


@pytest.mark.parametrize("value", ["bob@There.test", "<bob@There.test>", " bob@There.test ", BOB])
def test_an_address_is_text_with_or_without_brackets_or_an_address(value: object) -> None:
    assert sender_of(value) == BOB
    assert recipients_of(value) == (BOB,)
    assert recipients_of([value]) == (BOB,)


@pytest.mark.parametrize("value", ["<>", NULL_SENDER])
def test_the_null_sender_sends_and_receives_nothing(value: object) -> None:
    assert sender_of(value) == NULL_SENDER
    with pytest.raises(RefusedError, match=r"^Malformed to address"):
        recipients_of(value)


@pytest.mark.parametrize("value", ["", "bob", "bob@", "@there.test", "a b@c.d", "bob@there.test\r\nDATA", None, 7])
def test_a_malformed_sender_is_named_on_one_line(value: object) -> None:
    with pytest.raises(RefusedError, match=r"^Malformed from: [^\r\n]*\Z"):
        sender_of(value)


@pytest.mark.parametrize("value", [["bob@there.test", "carol"], ["a@b@"], "nobody", [3], 3, b"bob@there.test"])
def test_a_malformed_recipient_is_named(value: object) -> None:
    with pytest.raises(RefusedError, match=r"^Malformed to address \("):
        recipients_of(value)


@pytest.mark.parametrize("value", [[], (), None, "", iter([])])
def test_nobody_is_no_recipient(value: object) -> None:
    with pytest.raises(RefusedError, match=r"^No recipients for email\Z"):
        recipients_of(value)


def test_a_recipient_given_twice_gets_one_copy() -> None:
    assert recipients_of(["bob@There.test", BOB, "<bob@There.test>"]) == (BOB,)


def test_notes_are_copied_and_must_be_json() -> None:
    notes = {"a": [1, {"b": None}]}
    copied = json_notes(notes)
    notes["a"].clear()
    assert copied == {"a": [1, {"b": None}]}
    assert json_notes(None) == {}
    for wrong in ({"a": object()}, {1: 2}, [1], "text"):
        with pytest.raises(RefusedError, match=r"^notes: "):
            json_notes(wrong)


@pytest.mark.parametrize("value", [f"a{chr(0xD800)}@b.test", f"a@b{chr(0xDC80)}.test", f"<{chr(0xDFFF)}>"])
def test_half_of_a_surrogate_pair_is_refused_and_the_refusal_can_be_said(value: str) -> None:
    for parse in (sender_of, recipients_of):
        with pytest.raises(RefusedError) as refused:
            parse(value)
        str(refused.value).encode()
    with pytest.raises(RefusedError):
        json_notes({"key": value})

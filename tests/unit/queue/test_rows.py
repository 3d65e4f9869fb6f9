"""Rows: what is written is read back, and what is damaged says so without harming anything else."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.model.address import Address
from mailboat.model.envelope import DEFAULT_TENANT, Entry, EntryKey, Message, Owed, Recipient, State, StoredNotes
from mailboat.model.outcome import Outcome, ReportAction, Result, Stage
from mailboat.model.reply import Reply
from mailboat.queue import ids, rows

TAG = "7K3QZD"
MESSAGE = ["", "", "", 0.0, 1, 0, None, None, None, None, None]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
addresses = st.builds(Address, texts, texts, texts)
json_objects = st.dictionaries(texts, st.lists(texts | st.integers(0, 9) | st.none()), max_size=3)
parameters = st.dictionaries(texts, texts, max_size=2) | st.dictionaries(
    st.sampled_from(["BODY", "SMTPUTF8", "ENVID"]), st.sampled_from(["8BITMIME", "", "x"])
)
messages = st.builds(
    Message,
    st.just(ids.message_id(TAG, 5)),
    addresses,
    st.integers(0, 2**40),
    st.floats(0, 1e11),
    parameters,
    st.booleans(),
    json_objects,
    st.just(""),
    st.just(DEFAULT_TENANT) | texts,
    st.lists(texts, max_size=3).map(tuple),
)
entries = st.builds(
    Entry,
    st.just(EntryKey(3, ids.row_of(5, 2))),
    st.just(ids.message_id(TAG, 5) + ".2"),
    messages,
    texts,
    st.lists(
        st.builds(Recipient, st.integers(1, 2**31), addresses, parameters),
        min_size=1,
        max_size=3,
        unique_by=lambda r: r.id,
    ).map(tuple),
    st.integers(0, 99),
    st.floats(0, 1e11) | st.none(),
    st.sampled_from(State),
    texts,
    texts,
    st.none() | st.builds(StoredNotes, json_objects, st.none() | json_objects, st.none() | st.booleans()),
    st.just(""),
    st.booleans(),
    st.lists(
        st.builds(
            lambda to, action, at, status, reason, reply, mx: Owed(
                to, Outcome(to.id, Result.DELIVERED, status, Stage.DOT, reason, reply, mx), action, at
            ),
            st.builds(Recipient, st.integers(1, 2**31), addresses, parameters),
            st.sampled_from(ReportAction),
            st.floats(0, 1e11),
            texts,
            texts,
            st.none() | st.builds(Reply, st.integers(200, 299), texts),
            texts,
        ),
        max_size=2,
    ).map(tuple),
)


def _row(entry: Entry) -> list[Any]:
    """As the view `listing` joins it."""
    message = rows.message_row(5, entry.message, None)
    held_reason = entry.held_reason or None
    said, reports = rows.parameters_text(entry.recipients), rows.reports_text(entry)
    return [*columns_of(entry), held_reason, said, reports, *message[1:8], None, *message[9:]]


def columns_of(entry: Entry) -> list[Any]:
    columns = rows.entry_row(entry)
    return [*columns[:8], columns[9]]  # the size is not in the view: it is the message's


@given(entries)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert rows.read_entry(_row(entry), 3, TAG) == entry


@given(entries, st.integers(1, 21), st.none() | st.integers() | st.text() | st.binary() | st.floats())
def test_a_damaged_row_is_an_entry_or_damaged_and_can_always_be_shown(entry: Entry, column: int, junk: object) -> None:
    row = _row(entry)
    row[column] = junk
    with contextlib.suppress(rows.Damaged):
        assert rows.read_entry(row, 3, TAG).key == entry.key
    assert rows.read_damaged(row, 3, TAG).key == entry.key


@pytest.mark.parametrize("recipients", ["", "[", "[]", "{}", "null", "[1]", '[["x"]]', '[[1,2,"a","b"]]', '[[1,""]]'])
def test_recipients_that_are_not_ours_are_damage(recipients: str) -> None:
    with pytest.raises(rows.Damaged, match="damaged row"):
        rows.read_entry([1, "d", 0, 0, 0.0, recipients, "", "", None, None, None, None, *MESSAGE], 0, TAG)


def test_text_that_no_database_takes_is_made_harmless() -> None:
    message = Message("7K3QZD-5", Address("\ud800", "x", "x"), 1, 0.0)
    person = Recipient(1, Address("\udfff", "y", "y"))
    entry = Entry(EntryKey(3, ids.row_of(5, 2)), "7K3QZD-5.2", message, "y", (person,), last_reply="caf\ud8e9")
    again = rows.read_entry(_row(entry), 3, TAG)
    assert (again.last_reply, again.message.sender.local, again.recipients[0].address.local) == ("caf?", "?", "?")
    assert rows.remaining_row(replace(entry, state=State.HELD, next_attempt=5.0))[3] is None


@pytest.mark.parametrize("noted", ["", "[", "[]", "null", '{"notes": 5}', '{"todo": "x"}'])
def test_what_hooks_noted_is_not_ours_is_damage(noted: str) -> None:
    with pytest.raises(rows.Damaged, match="damaged row"):
        rows.read_entry([1, "d", 0, 0, 0.0, '[[1,"a","b","b"]]', "", "", noted, None, None, None, *MESSAGE], 0, TAG)


@given(entries.filter(lambda entry: entry.owed))
def test_an_entry_of_which_only_reports_are_owed_comes_back_as_it_was(entry: Entry) -> None:
    entry = replace(entry, recipients=())
    assert rows.read_entry(_row(entry), 3, TAG) == entry


@pytest.mark.parametrize("reports", ["", "[", "[]", "null", 5, '{"owed": [5]}', '{"owed": [{"recipient": []}]}'])
def test_what_was_reported_is_not_ours_is_damage(reports: object) -> None:
    with pytest.raises(rows.Damaged, match="damaged row"):
        rows.read_entry([1, "d", 0, 0, 0.0, '[[1,"a","b","b"]]', "", "", None, None, None, reports, *MESSAGE], 0, TAG)


def test_an_entry_without_notes_of_hooks_stores_none() -> None:
    assert rows.noted_text(None) is None

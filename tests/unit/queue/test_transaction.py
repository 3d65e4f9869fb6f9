"""A transaction has few statements, whatever the batch, and what belongs to a deleted row goes with it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailboat.model.address import Address
from mailboat.model.envelope import Draft, EntryKey, State
from mailboat.queue import ids, schema
from mailboat.queue.operations import Accept, Applied, NewMessage, RecordAttempt
from mailboat.queue.selection import entries_of
from mailboat.queue.transaction import Writer

SENDER = Address("a", "sender.test", "sender.test")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = str(tmp_path / "queue-0.db")
    schema.prepare(path)
    connection = schema.open_writer(path)
    yield connection
    connection.close()


def message(number: int, *domains: str, file: str | None = None) -> NewMessage:
    recipients = [Address("b", domain, domain) for domain in domains or ("receiver.test",)]
    name = ids.message_id("AAAAAA", number)
    entries = entries_of(Draft(SENDER, recipients, b"text", id=name), name, EntryKey(0, ids.row_of(number, 0)), 1.0)
    return NewMessage(number, entries, None if file else b"text", file)


def accept(writer: Writer, *messages: NewMessage) -> None:
    loop = asyncio.new_event_loop()
    writer.apply([Accept(new, loop.create_future()) for new in messages])
    loop.close()


def finish(writer: Writer, *rows: int) -> Applied:
    loop = asyncio.new_event_loop()
    applied = writer.apply([RecordAttempt(EntryKey(0, row), None, None, loop.create_future()) for row in rows])
    loop.close()
    return applied


def test_a_batch_of_any_common_size_is_as_many_statements_as_one_message(database: sqlite3.Connection) -> None:
    writer = Writer(database)
    counts: dict[int, list[int]] = {}
    for turn, size in enumerate((1, 5, 16)):
        statements: list[str] = []
        new = [message(100 * turn + number) for number in range(1, size + 1)]
        database.set_trace_callback(statements.append)
        accept(writer, *new)
        accepted = len(statements)
        finish(writer, *(entry.key.row for one in new for entry in one.entries))
        database.set_trace_callback(None)
        counts[size] = [accepted, len(set(statements[accepted:]))]  # a trigger repeats the statement that fires it

    assert counts[1] == counts[5] == counts[16]
    assert sum(counts[1]) <= 12


def test_a_message_and_its_body_go_with_their_last_entry(database: sqlite3.Connection) -> None:
    writer = Writer(database)
    accept(writer, message(1, "one.test", "two.test"), message(2))
    first, second = ids.row_of(1, 1), ids.row_of(1, 2)

    finish(writer, first)

    assert database.execute("SELECT id FROM body ORDER BY id").fetchall() == [(1,), (2,)]

    finish(writer, second)

    assert database.execute("SELECT id FROM message").fetchall() == [(2,)]
    assert database.execute("SELECT id FROM body").fetchall() == [(2,)]


def test_a_file_is_named_for_removal_with_the_last_entry_only(database: sqlite3.Connection) -> None:
    writer = Writer(database)
    accept(writer, message(1, "one.test", "two.test", file="0-1"))

    assert finish(writer, ids.row_of(1, 1)).files == []
    assert finish(writer, ids.row_of(1, 2)).files == ["0-1"]


def test_the_oldest_of_a_state_and_its_size_are_those_of_the_rows(database: sqlite3.Connection) -> None:
    writer = Writer(database)
    accept(writer, *(message(number) for number in range(1, 40)))

    active = writer.stats[State.ACTIVE]

    assert (active.messages, active.size, active.oldest) == (39, 39 * 4, 1.0)
    finish(writer, *(ids.row_of(number, 1) for number in range(1, 40)))
    assert writer.stats[State.ACTIVE].oldest is None

"""The format of the database: made, brought up to date, refused when it is another's or a newer one's."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

from mailboat.model.envelope import DEFAULT_TENANT, EntryKey, State, StoredNotes
from mailboat.queue import ids, queries, schema, transfers
from mailboat.queue.store import Selection, StorageError

PLACE = queries.DatabaseRef(0, "TAGTAG")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "queue-0.db")


def _add_column(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE entry ADD COLUMN pool TEXT NOT NULL DEFAULT ''")


def _fail(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE half (x)")
    raise sqlite3.OperationalError("no such thing")


def test_a_new_database_has_a_tag_and_reserves_numbers(path: str) -> None:
    first = schema.prepare(path)
    again = schema.prepare(path)
    assert len(first.tag) == 6
    assert (again.tag, again.first) == (first.tag, first.reserved)
    assert again.reserved > again.first


def test_two_databases_have_different_tags(tmp_path: Path) -> None:
    assert len({schema.prepare(str(tmp_path / f"{n}.db")).tag for n in range(20)}) == 20


def test_commits_are_synced(path: str) -> None:
    schema.prepare(path)
    db = schema.open_writer(path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert db.execute("PRAGMA page_size").fetchone() == (schema.PAGE,)
    db.close()


def test_a_step_brings_an_old_database_up_to_date_and_runs_once(path: str) -> None:
    schema.prepare(path)
    steps = (*schema.MIGRATIONS, _add_column)
    schema.prepare(path, migrations=steps)
    schema.prepare(path, migrations=steps)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(steps),)
    assert db.execute("SELECT pool FROM entry").fetchall() == []
    db.close()


def test_a_queue_of_version_1_goes_on_with_all_that_is_in_it(path: str) -> None:
    """Its rows were written before hooks could leave anything at an entry."""
    tag = schema.prepare(path, migrations=schema.MIGRATIONS[:1]).tag
    row = ids.row_of(1, 1)
    db = sqlite3.connect(path)
    db.execute("INSERT INTO message VALUES (1, 'alice', 'sender.test', 'sender.test', 5.0, 7, 4, '{\"a\": 1}', NULL)")
    bob = '[[1,"bob","there.test","there.test"]]'
    db.execute("INSERT INTO entry VALUES (?, 'there.test', 1, 2, 9.0, ?, 'later', 'mx', 7)", (row, bob))
    db.commit()
    db.close()
    assert schema.prepare(path).tag == tag
    db = schema.open_reader(path)
    (entry,) = queries.read(db, queries.DatabaseRef(0, tag), [row])
    db.close()
    assert (entry.attempts, entry.last_reply, entry.noted) == (2, "later", None)
    assert (entry.todo_notes, entry.force_tls) == ({"a": 1}, True)


def test_a_queue_of_version_2_goes_on_with_all_that_is_in_it(path: str) -> None:
    """Its rows were written before entries could be exported, or come from elsewhere."""
    tag = schema.prepare(path, migrations=schema.MIGRATIONS[:2]).tag
    row = ids.row_of(1, 1)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO message VALUES (1, 'alice', 'sender.test', 'sender.test', 5.0, 7, 4, NULL, NULL)")
        bob = '[[1,"bob","there.test","there.test"]]'
        noted = '{"notes": {"n": 1}}'
        db.execute("INSERT INTO entry VALUES (?, 'there.test', 2, 2, NULL, ?, 'later', 'mx', 7, ?)", (row, bob, noted))
        db.commit()
    assert schema.prepare(path).tag == tag
    with contextlib.closing(schema.open_reader(path)) as db:
        (entry,) = queries.read(db, queries.DatabaseRef(0, tag), [row])
        assert transfers.unfinished(db) == ([], [])
    assert (entry.state, entry.held_reason, entry.message.origin) == (State.HELD, "", "")
    assert (entry.message.id, entry.attempts, entry.noted) == (f"{tag}-1", 2, StoredNotes({"n": 1}))


def test_a_queue_of_version_3_goes_on_with_all_that_is_in_it(path: str) -> None:
    """Its rows were written before messages had parameters, a tenant and labels."""
    tag = schema.prepare(path, migrations=schema.MIGRATIONS[:3]).tag
    row = ids.row_of(1, 1)
    with contextlib.closing(sqlite3.connect(path)) as db:
        sender = "'alice', 'sender.test', 'sender.test'"
        db.execute(f"INSERT INTO message VALUES (1, {sender}, 5.0, 7, 7, '{{\"a\": 1}}', NULL, 'TAGTAG-7')")
        bob = '[[1,"bob","there.test","there.test"]]'
        db.execute(
            "INSERT INTO entry VALUES (?, 'there.test', 2, 2, NULL, ?, 'later', 'mx', 7, NULL, 'exported')", (row, bob)
        )
        db.commit()
    assert schema.prepare(path).tag == tag
    with contextlib.closing(schema.open_reader(path)) as db:
        (entry,) = queries.read(db, queries.DatabaseRef(0, tag), [row])
    assert (entry.state, entry.held_reason, entry.recipients[0].parameters) == (State.HELD, "exported", {})
    message = entry.message
    assert (message.id, message.origin, message.notes) == ("TAGTAG-7", "TAGTAG-7", {"a": 1})
    assert (message.parameters, message.force_tls) == ({"BODY": "8BITMIME", "SMTPUTF8": ""}, True)
    assert (message.tenant, message.labels) == (DEFAULT_TENANT, ())


def test_a_queue_of_version_5_goes_on_and_nobody_was_told_of_a_delay(path: str) -> None:
    """Its rows were written before delays were reported."""
    tag = schema.prepare(path, migrations=schema.MIGRATIONS[:5]).tag
    row = ids.row_of(1, 1)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(
            "INSERT INTO message (id, sender_local, sender_domain, sender_ascii, queued_at, size, flags)"
            " VALUES (1, 'alice', 'sender.test', 'sender.test', 5.0, 7, 0)"
        )
        bob, said = '[[1,"bob","there.test","there.test"]]', '{"1": {"NOTIFY": "DELAY"}}'
        values = (row, bob, said)
        db.execute("INSERT INTO entry VALUES (?, 'there.test', 1, 2, 9.0, ?, '', '', 7, NULL, NULL, ?)", values)
        db.commit()
    assert schema.prepare(path).tag == tag
    with contextlib.closing(schema.open_reader(path)) as db:
        (entry,) = queries.read(db, queries.DatabaseRef(0, tag), [row])
    assert (entry.delay_reported, entry.recipients[0].parameters) == (False, {"NOTIFY": "DELAY"})


def test_operations_says_how_to_go_back_to_version_2(path: str, tmp_path: Path) -> None:
    """What it says makes the very tables of that version, and keeps the mail."""
    before = str(tmp_path / "before.db")
    schema.prepare(before, migrations=schema.MIGRATIONS[:2])
    schema.prepare(path)
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    statements = re.findall(r"```sql\n(BEGIN.*?)```", page, re.DOTALL)
    assert len(statements) == len(schema.MIGRATIONS) - 2
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO message"
            " (id, sender_local, sender_domain, sender_ascii, queued_at, size, flags, origin, tenant)"
            " VALUES (1, 'alice', 'sender.test', 'sender.test', 5.0, 7, 4, 'TAGTAG-7', 'shop'),"
            " (2, 'alice', 'sender.test', 'sender.test', 5.0, 7, 4, 'TAGTAG-8', NULL)"
        )
        bob = '[[1,"bob","there.test","there.test"]]'
        for number, reason in ((1, "exported"), (2, "importing")):
            values = (ids.row_of(number, 1), bob, reason)
            db.execute(
                "INSERT INTO entry VALUES (?, 'there.test', 2, 2, NULL, ?, '', '', 7, NULL, ?, NULL, '{}')", values
            )
        for step in statements:
            db.executescript(step)
    tag = schema.prepare(path, migrations=schema.MIGRATIONS[:2]).tag
    tables = [_tables(name) for name in (before, path)]
    assert tables[0] == tables[1]
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id FROM listing").fetchall() == [(ids.row_of(1, 1),)]
        assert queries.tally(db)[2] == (1, 7)
    assert schema.prepare(path).tag == tag


def _tables(path: str) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master ORDER BY name")]
        return {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}


def test_a_step_that_fails_leaves_nothing_of_itself(path: str) -> None:
    tag = schema.prepare(path).tag
    with pytest.raises(StorageError, match="no such thing"):
        schema.prepare(path, migrations=(*schema.MIGRATIONS, _fail))
    assert schema.prepare(path).tag == tag
    db = sqlite3.connect(path)
    assert db.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []
    db.close()


def test_a_newer_version_is_refused_by_name_and_number(path: str) -> None:
    schema.prepare(path, migrations=(*schema.MIGRATIONS, _add_column))
    newest = len(schema.MIGRATIONS)
    message = rf"queue-0\.db has format version {newest + 1} and this release knows {newest}"
    with pytest.raises(StorageError, match=message):
        schema.prepare(path)


def test_somebody_elses_database_is_refused_untouched(path: str) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StorageError, match="not a Mailboat queue"):
        schema.prepare(path)


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_damaged_file_is_named_with_what_to_do(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(StorageError, match=r"queue-0\.db is damaged.*move the file away.*\.recover"):
        schema.prepare(path)


def test_an_empty_file_becomes_a_database(path: str) -> None:
    Path(path).touch()
    assert schema.prepare(path).first == 1


def test_the_space_of_a_backlog_that_is_gone_is_given_back(path: str) -> None:
    schema.prepare(path)
    db = schema.open_writer(path)
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 140)"
        " INSERT INTO body SELECT i, zeroblob(1000000) FROM n"
    )
    db.execute("DELETE FROM body WHERE id > 1")
    db.close()
    before = Path(path).stat().st_size
    schema.prepare(path)
    assert Path(path).stat().st_size < before / 20
    db = sqlite3.connect(path)
    assert db.execute("SELECT id, length(data) FROM body").fetchall() == [(1, 1000000)]
    db.close()


def test_no_question_scans_the_queue(path: str) -> None:
    """Each statement of the hot paths finds its rows by an index or by their ids."""
    schema.prepare(path)
    db = sqlite3.connect(path)
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    after = (5.0, EntryKey(0, 7))
    queries.due(db, PLACE, 10.0, 100, after)
    queries.due_in(db, PLACE, "there.test", 10.0, 100)
    queries.next_due(db, 5.0)
    queries.waiting(db, 5.0, (7.0, 7), 100)
    queries.active_later(db, 5.0, 100)
    queries.body(db, 5)
    queries.named(db, "TAGTAG", ["TAGTAG-1", "TAGTAG-1.1"])
    queries.read(db, PLACE, [1, 2])
    queries.walk(db, Selection(domain="there.test"), 5, 100)
    queries.tally(db)
    queries.oldest(db, 1)
    db.set_trace_callback(None)
    assert len(asked) >= 10
    for statement in asked:
        for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
            assert "SCAN" not in step or any(small in step for small in ("json_each", "tally", "CONSTANT", "SCAN (sub"))
            assert "TEMP B-TREE" not in step
    db.close()

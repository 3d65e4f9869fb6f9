"""A message in the hands of hooks: what they see of it, and what is queued afterwards, in memory and on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailboat.hooks import Connection, Hooks, Point, Transaction
from mailboat.hooks.plugin import Hook
from mailboat.hooks.transaction import LocalConnection, MessageTransaction, before_queueing, storable
from mailboat.model.address import Address
from mailboat.model.envelope import Body, Draft, SpooledBody
from mailboat.model.observer import Observer

ANNA = Address("anna", "example.org", "example.org")
HEAD = b"Subject: hello\r\nX-Tag: a\r\n"
TEXT = b"\r\nGood day.\r\nSubject: no header\r\n"


class Files:
    """Makes files as a store does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made = 0

    def __call__(self) -> tuple[str, int]:
        self.made += 1
        path = str(self.directory / f"new-{self.made}")
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def in_memory(octets: bytes, _: Files) -> Body:
    return octets


def on_disk(octets: bytes, files: Files) -> Body:
    path, file = files()
    os.write(file, octets)
    os.close(file)
    return SpooledBody(path, len(octets))


def octets_of(body: Body) -> bytes:
    return Path(body.path).read_bytes() if isinstance(body, SpooledBody) else body


Store = Callable[[bytes, Files], Body]
both = pytest.mark.parametrize("store", [in_memory, on_disk])


def message(body: Body) -> MessageTransaction:
    transaction = MessageTransaction("ID-1", ANNA, [ANNA])
    transaction.hold(body)
    return transaction


@both
def test_hooks_see_header_and_octets(store: Store, files: Files) -> None:
    transaction = message(store(HEAD + TEXT, files))
    assert transaction.header.get("subject") == "hello"
    assert transaction.header.get_all("subject") == ["hello"]
    assert transaction.body.size == len(HEAD + TEXT)
    assert transaction.body.read() == HEAD + TEXT
    with transaction.body.open() as file:
        assert file.read(7) == b"Subject"


@both
def test_what_only_looked_changes_nothing(store: Store, files: Files) -> None:
    body = store(HEAD + TEXT, files)
    transaction = message(body)
    transaction.header.get("subject")
    assert transaction.edited(files) is body


@both
def test_a_changed_header_stands_before_the_same_text(store: Store, files: Files) -> None:
    body = store(HEAD + TEXT, files)
    transaction = message(body)
    transaction.header.add("X-End", "1")
    transaction.header.add_leading("X-Top", "2")
    transaction.header.remove("X-Tag")
    changed = transaction.edited(files)
    assert octets_of(changed) == b"X-Top: 2\r\nSubject: hello\r\nX-End: 1\r\n" + TEXT
    if isinstance(body, SpooledBody) and isinstance(changed, SpooledBody):
        assert changed.size == len(octets_of(changed))
        assert not Path(body.path).exists()
    assert transaction.edited(files) is changed


def test_a_file_that_cannot_be_rewritten_stays(files: Files) -> None:
    body = on_disk(HEAD + TEXT, files)

    def full() -> tuple[str, int]:
        raise OSError(28, "No space left on device")

    transaction = message(body)
    transaction.header.add("X-End", "1")
    with pytest.raises(OSError, match="space"):
        transaction.edited(full)
    assert octets_of(body) == HEAD + TEXT


def test_half_a_new_file_is_removed(files: Files, tmp_path: Path) -> None:
    body = on_disk(HEAD + TEXT, files)
    transaction = message(body)
    transaction.header.add("X-End", "1")
    (tmp_path / "new-1").unlink()
    with pytest.raises(FileNotFoundError):
        transaction.edited(files)
    assert list(tmp_path.iterdir()) == []


@both
def test_a_header_larger_than_is_read_can_be_seen_but_not_changed(store: Store, files: Files) -> None:
    transaction = message(store(HEAD + b"X-Long: y\r\n" * 40_000 + TEXT, files))
    assert transaction.header.get("subject") == "hello"
    with pytest.raises(ValueError, match="too large"):
        transaction.header.add("X-End", "1")


def test_before_the_message_has_come_there_is_none() -> None:
    transaction = MessageTransaction("ID-1", ANNA, [])
    with pytest.raises(RuntimeError, match="data_post"):
        transaction.header.get("Subject")
    with pytest.raises(RuntimeError, match="data_post"):
        transaction.body.read()


def test_notes_that_are_no_json_are_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    notes = {"a": [1, {"b": None}], "bad": object(), 5: "x", "surrogate": "\ud800"}
    with caplog.at_level(logging.WARNING):
        kept = storable(notes, "ID-1")  # type: ignore[arg-type]
    assert kept == {"a": [1, {"b": None}]}
    assert len(caplog.records) == 3
    assert "ID-1" in caplog.text


def test_the_views_are_what_plugins_are_promised() -> None:
    transaction: Transaction = MessageTransaction("ID-1", ANNA, [])
    connection: Connection = LocalConnection(None)
    assert connection.relaying
    assert transaction.uuid == "ID-1"


@both
async def test_mail_made_here_is_shown_before_it_is_queued(store: Store, files: Files) -> None:
    async def sign(connection: Connection) -> None:
        transaction = connection.transaction
        assert transaction is not None
        assert transaction.mail_from == ANNA
        transaction.header.add_leading("X-Signed", "yes")
        transaction.notes["signed"] = transaction.notes["wanted"]
        transaction.force_tls = True

    hooks = Hooks([Hook(Point.PRE_SEND_TRANS_EMAIL, sign, "signer")], (), Observer())
    draft = Draft(ANNA, [ANNA], store(HEAD + TEXT, files), id="ID-1", notes={"wanted": True})
    queued = await before_queueing(hooks, draft, files)
    assert octets_of(queued.body) == b"X-Signed: yes\r\n" + HEAD + TEXT
    assert queued.notes == {"wanted": True, "signed": True}
    assert queued.force_tls


async def test_where_nobody_asks_the_draft_is_the_same(files: Files) -> None:
    draft = Draft(ANNA, [ANNA], HEAD + TEXT, id="ID-1")
    assert await before_queueing(Hooks((), (), Observer()), draft, files) is draft


def test_a_list_of_labels_that_a_plugin_has_put_there_will_do() -> None:
    transaction = MessageTransaction("ID-1", ANNA, [])
    transaction.labels = ["weekly", "news", "weekly", ["no"]]  # type: ignore[assignment]
    assert transaction.stored_labels() == ("news", "weekly")


@pytest.mark.parametrize(
    ("edit", "says_no"),
    [(("add", "TLS-Required", "No"), True), (("remove", "Subject"), False)],
    ids=("added", "another field"),
)
def test_an_edited_header_decides_whether_it_says_tls_required_no(edit: tuple[str, ...], says_no: bool) -> None:
    transaction = MessageTransaction("ID-1", ANNA, [])
    transaction.hold(b"Subject: hi\r\n\r\nGood day.\r\n")
    assert transaction.tls_required_no is None
    getattr(transaction.header, edit[0])(*edit[1:])
    transaction.edited(no_file)
    assert transaction.tls_required_no is says_no


def no_file() -> tuple[str, int]:
    raise AssertionError("a small message needs none")

"""`mailboat queue` reads the databases of a relay that is not running."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.support.facts import address

from mailboat.cli import queue
from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Draft, State
from mailboat.model.observer import Observer
from mailboat.queue.shelf import open_store
from mailboat.queue.store import Selection


@pytest.fixture
async def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a stopped relay with two messages, one held."""
    monkeypatch.delenv("MAILBOAT_QUEUE_DIR", raising=False)
    (tmp_path / "http.ini").write_text("listen=127.0.0.1:1\n")
    store = await open_store(str(tmp_path / "queue"), 0, 1, SystemClock(), Observer())
    for recipient in ("a@one.example", "b@two.example"):
        await store.accept(Draft(address("alice@example.org"), [address(recipient)], b"Subject: x\r\n\r\ny\r\n"))
    await store.hold(Selection(domain="two.example"))
    await store.close()
    return tmp_path


def test_the_reading_verbs_work(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert queue.list_messages(config=config, json=True) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["recipients"], first["state"]) == (["a@one.example"], "active")
    assert (second["recipients"], second["state"]) == (["b@two.example"], "held")

    assert queue.list_messages(config=config, state=State.HELD) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ID", second["id"]]

    assert queue.show(first["id"], config=config, json=True) == 0
    assert json.loads(capsys.readouterr().out) == first

    assert queue.stats(config=config, json=True) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["active"]["messages"], stats["held"]["messages"], stats["deferred"]["messages"]) == (1, 1, 0)
    assert stats["active"]["octets"] == first["size"]


def test_an_unknown_id_is_exit_1(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert queue.show("XXXXX-9", config=config) == 1
    assert "XXXXX-9" in capsys.readouterr().err


def test_changing_verbs_say_that_no_relay_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert queue.delete(config=config, all=True) == os.EX_UNAVAILABLE
    assert capsys.readouterr().err == "mailboat queue: no relay is running: nothing answers at 127.0.0.1:1\n"


def test_without_a_queue_directory_it_is_exit_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "http.ini").write_text("listen=127.0.0.1:1\n")
    assert queue.list_messages(config=tmp_path) == os.EX_UNAVAILABLE
    assert str(tmp_path / "queue") in capsys.readouterr().err

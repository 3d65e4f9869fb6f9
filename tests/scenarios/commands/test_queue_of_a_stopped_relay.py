"""`mailboat queue` reads and changes the databases of a relay that is not running."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path

import pytest
from tests.support.facts import address
from tests.support.fake_control import FakeControl

from mailboat.admin.server import AdminServer
from mailboat.cli import queue
from mailboat.cli.queue import Which
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Draft, State
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_store
from mailboat.queue.store import Selection, Verb


@pytest.fixture
async def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a stopped relay with two messages, one held."""
    monkeypatch.delenv("MAILBOAT_QUEUE_DIR", raising=False)
    (tmp_path / "http.ini").write_text("listen=127.0.0.1:1\n")
    store = await open_store(str(tmp_path / "queue"), 0, 1, SystemClock(), Observer())
    for recipient in ("a@one.example", "b@two.example"):
        await store.accept(Draft(address("alice@example.org"), [address(recipient)], b"Subject: x\r\n\r\ny\r\n"))
    await store.change(Verb.HOLD, Selection(domain="two.example"))
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


async def test_a_running_relay_that_wants_a_token_is_read_from_its_databases(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = AdminServer(FakeControl([]), HttpSettings(listen=(Endpoint("0.0.0.0", 0),)))
    await server.start()
    try:
        (config / "http.ini").write_text(f"listen={server.endpoints[0]}\n")
        assert await asyncio.to_thread(lambda: queue.list_messages(config=config, json=True)) == 0
        first, _ = map(json.loads, capsys.readouterr().out.splitlines())
        assert await asyncio.to_thread(lambda: queue.show(first["id"], config=config)) == 0
        assert await asyncio.to_thread(lambda: queue.hold(first["id"], config=config)) == os.EX_NOPERM
    finally:
        await server.close()


def test_an_unknown_id_is_exit_1(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert queue.show("XXXXX-9", config=config) == 1
    assert "XXXXX-9" in capsys.readouterr().err


def listed(config: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Domain and state of each entry."""
    assert queue.list_messages(config=config, json=True) == 0
    return {entry["domain"]: entry["state"] for entry in map(json.loads, capsys.readouterr().out.splitlines())}


def test_mail_is_held_released_and_deleted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert queue.hold(config=config, which=Which(domain="one.example")) == 0
    assert queue.release(config=config, which=Which(domain="two.example")) == 0
    assert capsys.readouterr().out == "1 held\n1 released\n"
    assert listed(config, capsys) == {"one.example": "held", "two.example": "active"}
    assert queue.delete(config=config, all=True) == 0
    assert capsys.readouterr().out == "2 deleted\n"
    assert listed(config, capsys) == {}


async def test_the_databases_of_all_workers_are_changed(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for worker in (1, 2):
        store = await open_store(str(tmp_path / "queue"), worker, 3, SystemClock(), Observer())
        await store.accept(Draft(address("alice@example.org"), [address("c@more.example")], b"Subject: x\r\n\r\ny\r\n"))
        await store.close()
    assert await asyncio.to_thread(queue.hold, config=config, which=Which(domain="more.example")) == 0
    assert capsys.readouterr().out == "2 held\n"
    assert await asyncio.to_thread(queue.delete, config=config, which=Which(domain="more.example"), json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"count": 2}
    assert listed(config, capsys) == {"one.example": "active", "two.example": "held"}


def test_nothing_can_be_attempted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert queue.flush(config=config) == os.EX_UNAVAILABLE
    assert capsys.readouterr().err == "mailboat queue: no relay is running: nothing answers at 127.0.0.1:1\n"


async def test_a_queue_that_somebody_has_open_is_left_alone(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = await open_store(str(tmp_path / "queue"), 0, 1, SystemClock(), Observer())
    assert await asyncio.to_thread(queue.delete, config=config, all=True) == os.EX_TEMPFAIL
    assert "a relay has this queue, but nothing answers for it" in capsys.readouterr().err
    await store.close()
    assert len(listed(config, capsys)) == 2


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_on_a_terminal_deleting_everything_is_asked_for_once_more(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert queue.delete(config=config, all=True) == (1 if left else 0)
    assert "without bounce messages? [y/N]" in capsys.readouterr().err
    assert len(listed(config, capsys)) == left
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert queue.delete(config=config, all=True, yes=True) == 0
    capsys.readouterr()
    assert listed(config, capsys) == {}


def test_without_a_queue_directory_it_is_exit_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "http.ini").write_text("listen=127.0.0.1:1\n")
    assert queue.list_messages(config=tmp_path) == os.EX_UNAVAILABLE
    assert str(tmp_path / "queue") in capsys.readouterr().err

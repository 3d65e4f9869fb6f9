"""SIGKILL in the middle of `mailboat queue export` and `import`: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.relay_process import PATIENCE, Relay, RelayConfig, command, running
from tests.support.stores import draft
from tools.ports import free_ports

from mailboat.model.envelope import State
from mailboat.model.observer import Observer
from mailboat.queue import imports
from mailboat.queue.opening import open_spool, open_store
from mailboat.queue.spool_set import Databases
from mailboat.queue.store import AttemptRecord, Selection, Verb

LARGE = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 5000
EXPORT = ["link:1", "unlink:1", "write:1", "fsync:1", "fsync:2", "rename:1"]
"""Before the file has its name, before it loses its partial one, and so on."""
PARTS = max(3, int(os.environ.get("MAILBOAT_CRASH_ROUNDS", "20")) // 5)
"""Points at which a command is killed among all statements that it has SQLite execute."""
pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]


async def killed(point: str, *words: str) -> tuple[int, str]:
    """Run `mailboat` until it dies at a point; exit code, stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.killed", point, *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE + 30):
        _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


def stopped(directory: Path, name: str) -> tuple[Path, str]:
    """The queue directory of a relay that does not run, and its configuration."""
    config = directory / f"{name}-config"
    config.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    (config / "http.ini").write_text(f"listen=127.0.0.1:{port}\n")
    (config / "outbound.ini").write_text(f"queue_dir={directory / name}\n")
    return directory / name, str(config)


@asynccontextmanager
async def opened(queue_dir: Path) -> AsyncIterator[Databases]:
    store = await open_store(str(queue_dir), 0, 1, FixedClock(2_000_000.0), Observer())
    try:
        yield store
    finally:
        await store.close()


async def fill(queue_dir: Path) -> None:
    """Mail in two databases: due, deferred and held, with a body in a file."""
    for index in (0, 1):
        spool = await open_spool(queue_dir, index, FixedClock(1_000_000.0 + index), Observer())
        await spool.accept(draft("a@one.test", "b@two.test"))
        (entry,) = await spool.accept(draft("c@three.test", body=b"Subject: large\r\n\r\n" + bytes(300_000)))
        deferred = replace(entry, attempts=1, next_attempt=1_500_000.0, state=State.DEFERRED)
        await spool.record(entry, AttemptRecord(deferred))
        await spool.accept(draft("d@four.test"))
        await spool.change(Verb.HOLD, Selection(domain="four.test"))
        await spool.close()


async def known(queue_dir: Path) -> list[tuple[Any, ...]]:
    """What is in a queue once it was opened: ids, states, times, sizes."""
    async with opened(queue_dir) as store:
        entries = (await store.page(Selection(), 1000)).entries
        for entry in entries:
            await store.body(entry)
        facts = [(e.id, e.state, e.next_attempt, e.attempts, e.message.size, e.held_reason) for e in entries]
        counted = sum(share.messages for share in store.stats().values())
    assert counted == len(facts)
    return sorted(facts)


def in_(directory: Path, pattern: str) -> Any:
    """Ask for the files of a pattern."""

    async def look() -> list[Path]:
        return await asyncio.to_thread(lambda: list(directory.glob(pattern)))

    return look


def is_there(path: Path) -> bool:
    return path.exists()


def points(calls: int) -> list[str]:
    return [f"execute:{max(1, calls * part // PARTS)}" for part in range(1, PARTS + 1)]


@pytest.mark.parametrize("remove", [False, True])
async def test_an_export_of_a_stopped_queue_that_is_killed(tmp_path: Path, remove: bool) -> None:
    template, _ = stopped(tmp_path, "template")
    await fill(template)
    before = await known(template)
    options = ["--remove"] if remove else []
    todo, ends = ["execute:0", *EXPORT], set()
    while todo:
        point = todo.pop()
        old, config = stopped(tmp_path, "old")
        shutil.copytree(template, old)
        archive = tmp_path / "archive"
        code, said = await killed(point, "queue", "export", str(archive), *options, "--config", config)
        assert code in (0, -signal.SIGKILL), said
        if point == "execute:0":
            todo = points(int(said.split()[-1]))
        left = await known(old)
        ends.add(archive.exists())
        if archive.exists():
            assert {fact[5] for fact in left} <= {"exported"}, point
            new, _ = stopped(tmp_path, "new")
            async with opened(new) as store:
                await imports.import_archive(store, str(archive))
            assert await known(new) == before, point
            shutil.rmtree(new)
            archive.unlink()
        else:
            assert left == before, point
        shutil.rmtree(old)
    assert ends == {True, False}


async def test_an_import_into_a_stopped_queue_that_is_killed(tmp_path: Path) -> None:
    """Also where what was taken has been delivered before it is imported again, and where mail is given back."""
    old, config = stopped(tmp_path, "old")
    await fill(old)
    before = await known(old)
    archive = str(tmp_path / "archive")
    assert (await command("queue", "export", archive, "--config", config))[0] == 0
    todo, ends = [("new", "execute:0"), ("old", "execute:0")], set()
    while todo:
        where, point = todo.pop()
        target, config = stopped(tmp_path, "target")
        if where == "old":
            shutil.copytree(old, target)  # else no relay has run there yet
        code, said = await killed(point, "queue", "import", archive, "--config", config)
        assert code in (0, -signal.SIGKILL), said
        if point == "execute:0":
            todo += [(where, one) for one in points(int(said.split()[-1]))]
        first = await known(target)
        ends.add(first == before)
        async with opened(target) as store:
            delivered = [e for e in (await store.page(Selection(), 1000)).entries if e.held_reason != "exported"]
            for entry in delivered:
                await store.record(entry, AttemptRecord(None))
            again = await imports.import_archive(store, archive)
            assert again + len(delivered) == len(before), point
        if where == "new":
            assert first in (before, []), point  # one database; where there are two, each is whole
        shutil.rmtree(target)
    assert ends == {True, False}


async def settled(relay: Relay, before: Sequence[dict[str, Any]], archive: Path) -> bool:
    """Wait until a killed export is over; whether there is an archive."""

    def decided(entries: Sequence[dict[str, Any]]) -> bool:
        if is_there(archive):
            return {entry["held_reason"] for entry in entries} == {"exported"}
        return list(entries) == list(before)

    await relay.poll(relay.queue, decided)
    return is_there(archive)


@pytest.mark.parametrize("nodes", [0, 2])
async def test_a_killed_export_from_a_running_relay_is_over_at_once(tmp_path: Path, nodes: int) -> None:
    config = RelayConfig(tmp_path / "config", 1, nodes, outbound=["disabled=true"])
    async with running(config) as relay:
        for number in range(6):
            await relay.submit(f"u{number}@d{number}.test")
        before = await relay.queue()
        ends = set()
        for point in ("sendall:1", "write:1", "fsync:1", "link:1", "unlink:1", "sendall:4"):
            archive = tmp_path / point.replace(":", "-")
            code, said = await killed(point, "queue", "export", str(archive), "--config", str(config.directory))
            assert code == -signal.SIGKILL, said
            there = await settled(relay, before, archive)
            ends.add(there)
            if there:
                url = f"http://127.0.0.1:{config.admin_port}/v1/queue/import"
                headers = {"Content-Type": "application/x-tar"}
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(url, data=archive.read_bytes(), headers=headers) as answer,
                ):
                    assert await answer.json() == {"count": len(before)}
                assert await relay.queue() == before
        assert ends == {True, False}


@pytest.mark.parametrize("nodes", [0, 2])
async def test_a_relay_that_is_killed_during_an_export_or_import(tmp_path: Path, nodes: int) -> None:
    """At its next start it has what it had, or what the file says; a second import takes what the first one did not."""
    old = RelayConfig(tmp_path / "old", 1, nodes, outbound=["disabled=true"])
    new = RelayConfig(tmp_path / "new", 1, nodes, outbound=["disabled=true"])
    archive = tmp_path / "archive"
    async with running(old) as relay:
        for number in range(8):
            await relay.submit(f"u{number}@d{number}.test", body=LARGE)
        before = await relay.queue()
        export = asyncio.create_task(command("queue", "export", str(archive), "--config", str(old.directory)))
        await relay.poll(in_(tmp_path, ".archive.*.partial"), bool)
        await relay.kill_all()
        assert (await export)[0] in (0, 75)
    async with running(old) as relay:
        await settled(relay, before, archive)
        if not archive.exists():
            assert (await command("queue", "export", str(archive), "--config", str(old.directory)))[0] == 0
    async with running(new) as relay:
        taking = asyncio.create_task(command("queue", "import", str(archive), "--config", str(new.directory)))
        await relay.poll(in_(new.directory, "**/incoming/0-archive-*"), bool)
        await relay.kill_all()
        assert (await taking)[0] in (0, 75)
    async with running(new) as relay:
        code, _, err = await command("queue", "import", str(archive), "--config", str(new.directory))
        assert code == 0, err
        assert sorted(entry["id"] for entry in await relay.queue()) == sorted(entry["id"] for entry in before)

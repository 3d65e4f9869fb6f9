"""`mailboat queue export` and `import`: a queue moved as a file, from relays that run and from stopped ones."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.relay_process import COMMAND, Relay, RelayConfig, command, running
from tests.support.scripted_mx import Held, ScriptedMx
from tests.support.stores import files_in

pytestmark = pytest.mark.timeout(300)  # many commands, each a process of its own

BODY = b"Subject: hi\r\n\r\nGood day.\r\n"
LARGE = b"Subject: large\r\n\r\n" + (b"0123456789abcdef" * 4 + b"\r\n") * 8000


async def queue(config: RelayConfig, *words: str, code: int = 0) -> str:
    """Run a verb; what it printed."""
    status, out, err = await command("queue", *words, "--config", str(config.directory))
    assert status == code, (status, err)
    return out


async def listed(config: RelayConfig, *words: str) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in (await queue(config, "list", "--json", *words)).splitlines()]


def as_told(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries without what only their own database says of them."""
    return sorted(({**entry, "origin": None} for entry in entries), key=lambda entry: entry["id"])


async def held_back(relay: Relay, mx: ScriptedMx, count: int) -> None:
    """Deferred mail, one message with two entries, and a held one."""
    for number in range(count):
        mx.on_rcpt(f"u{number}@d{number}.test", "450 4.2.0 later", "250 2.1.5 ok")
        await relay.submit(f"u{number}@d{number}.test", f"w{number}@other.test", body=LARGE if number == 1 else BODY)
    await relay.poll(relay.queue, lambda entries: [e["attempts"] for e in entries] == [1] * count)


@pytest.mark.parametrize("nodes", [0, 2])
@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
async def test_a_queue_moves_to_another_relay_with_all_that_is_known_of_it(
    tmp_path: Path, mx: ScriptedMx, nodes: int, runs: bool
) -> None:
    """The ids that clients were told, attempts, times and replies; here it is held, so nothing is delivered twice."""
    archive = tmp_path / "queue.tar"
    old = RelayConfig(tmp_path / "old", mx.port, nodes, outbound=["temp_fail_intervals=1d*3"])
    new = RelayConfig(tmp_path / "new", mx.port, nodes)
    async with running(old) as relay:
        await held_back(relay, mx, 4)
        before = await relay.queue()
        if not runs:
            assert await relay.stop() == 0
        assert await queue(old, "export", str(archive)) == "4 exported\n"
        left = await listed(old)
        assert {(entry["state"], entry["held_reason"]) for entry in left} == {("held", "exported")}
        assert archive.stat().st_mode & 0o777 == 0o600
        assert await queue(old, "release") == "0 released\n"
    async with running(new) as relay:
        if not runs:
            assert await relay.stop() == 0
        assert await queue(new, "import", str(archive)) == "4 imported\n"
        assert as_told(await listed(new)) == as_told(before)
        assert await queue(new, "import", str(archive)) == "0 imported\n"
        assert await listed(new, "--domain", "d1.test") == [
            {**entry, "origin": entry["id"].partition(".")[0]} for entry in before if entry["domain"] == "d1.test"
        ]
    async with running(new) as relay:
        await queue(new, "flush")
        await relay.settled()
        assert await queue(new, "import", str(archive)) == "0 imported\n"
        assert await relay.queue() == []
    assert sorted(rcpt for mail in mx.mails for rcpt in mail.recipients if "other" not in rcpt) == [
        f"u{n}@d{n}.test" for n in range(4)
    ]
    assert sum(LARGE in mail.body for mail in mx.mails) == 2
    with tarfile.open(archive) as readable:
        assert readable.getnames()[:3] == ["mailboat-queue.json", "1.json", "1.eml"]


async def test_an_attempt_that_is_under_way_is_waited_for_and_not_exported_twice(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    """One whose message is at its final dot when the export begins is delivered, and is in no archive."""
    archive = tmp_path / "queue.tar"
    config = RelayConfig(tmp_path / "config", mx.port)
    mx.on(".", Held("250 2.0.0 taken"))
    mx.on_rcpt("b@there.test", "450 4.2.0 later")
    async with running(config) as relay:
        await relay.submit("b@there.test")
        await relay.event("deferred")
        await relay.submit("a@here.test")
        await mx.wait_for(lambda mx: any(mail.recipients == ["a@here.test"] for mail in mx.mails))
        export = asyncio.create_task(queue(config, "export", str(archive)))
        held = {("a@here.test", "held"), ("b@there.test", "held")}
        await relay.poll(relay.queue, lambda entries: {(e["recipients"][0], e["state"]) for e in entries} == held)
        assert not export.done()
        assert not archive.exists()
        mx.release()
        await export
        await relay.event("delivered")
        assert [entry["recipients"] for entry in await relay.queue()] == [["b@there.test"]]
        with tarfile.open(archive) as tar:
            assert tar.getnames() == ["mailboat-queue.json", "1.json", "1.eml", "end.json"]


async def test_a_file_that_is_there_is_not_overwritten_and_one_that_cannot_be_written_changes_nothing(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, outbound=["disabled=true"])
    there = tmp_path / "there"
    there.write_text("mine")
    async with running(config) as relay:
        await relay.submit("a@here.test", body=LARGE)
        before = await relay.queue()
        await queue(config, "export", str(there), code=73)
        await queue(config, "export", str(tmp_path / "nowhere" / "x"), code=73)
        # A disk that is full in the middle: no file may have more than 64 KiB.
        limited = ["prlimit", "--fsize=65536", COMMAND, "queue", "export", str(tmp_path / "x")]
        process = await asyncio.create_subprocess_exec(*limited, "--config", str(config.directory))
        assert await process.wait() == 73
        assert await relay.poll(relay.queue, lambda entries: entries == before) == before
    assert there.read_text() == "mine"
    assert files_in(tmp_path) == ["config", "there"]


async def test_a_damaged_archive_ends_with_65_and_nothing_is_taken(tmp_path: Path, mx: ScriptedMx) -> None:
    archive = tmp_path / "queue.tar"
    config = RelayConfig(tmp_path / "config", mx.port, outbound=["disabled=true"])
    async with running(config) as relay:
        await relay.submit("a@here.test")
        assert await queue(config, "export", str(archive), "--remove", "--json") == '{"count":1}\n'
        assert await relay.queue() == []
        octets = bytearray(archive.read_bytes())
        octets[1700] ^= 1
        damaged = tmp_path / "damaged.tar"
        damaged.write_bytes(octets)
        await queue(config, "import", str(damaged), code=65)
        await queue(config, "import", str(tmp_path / "nowhere"), code=66)
        status, answer = await post(relay, bytes(octets))  # the relay looks for itself
        assert (status, answer["status"]) == (422, 422)
        assert await relay.queue() == []
        assert await relay.stop() == 0
        await queue(config, "import", str(damaged), code=65)
        assert await listed(config) == []
        assert await queue(config, "import", str(archive), "--json") == '{"count":1}\n'
        assert [entry["state"] for entry in await listed(config)] == ["active"]


async def post(relay: Relay, octets: bytes) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{relay.config.admin_port}/v1/queue/import"
    headers = {"Content-Type": "application/x-tar"}
    async with aiohttp.ClientSession() as session, session.post(url, data=octets, headers=headers) as answer:
        return answer.status, await answer.json()

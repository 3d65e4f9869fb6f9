"""`mailboat queue export` and `import`: a queue moved as a file, from relays that run and from stopped ones."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx

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
    old = RelayConfig(tmp_path / "old", mx.port, nodes)
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

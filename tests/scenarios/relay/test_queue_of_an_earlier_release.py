"""A queue directory that an earlier release wrote: opened by this one, and drained."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

VERSION_2 = Path(__file__).parents[2] / "data/queue-version-2.sql"
TOLD = {
    "J6GYS4-1.1": (["bob@one.test", "carol@one.test"], "deferred", 1),
    "J6GYS4-1.2": (["dave@two.test"], "deferred", 1),
    "J6GYS4-2.1": (["erika@köln.test"], "deferred", 1),
    "J6GYS4-3.1": (["frank@three.test"], "held", 1),
    "J6GYS4-2001.1": (["grace@four.test"], "active", 0),
}
"""By entry id, as clients were told: recipients, state and attempts."""


def write(queue_dir: Path, dump: Path) -> None:
    """A queue directory with one database."""
    queue_dir.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(queue_dir / "queue-0.db")) as db:
        db.executescript(dump.read_text())


async def test_a_queue_of_version_2_is_shown_as_it_was_and_drained_under_the_ids_told_then(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    mx.extensions.append("SMTPUTF8")
    config = RelayConfig(tmp_path / "relay", mx.port, outbound=["disabled=true"])
    write(config.directory / "queue", VERSION_2)
    async with running(config) as relay:
        shown = await relay.queue()
        assert {e["id"]: (e["recipients"], e["state"], e["attempts"]) for e in shown} == TOLD
        assert await relay.stop() == 0
    config.outbound_is()
    async with running(config) as relay:
        await relay.event("delivered", 4)
        assert await relay.http("/v1/queue/release", "POST", {"ids": ["J6GYS4-3"]}) == (200, {"count": 1})
        delivered = await relay.event("delivered", 5)
        await relay.settled()
        fresh = await relay.submit()
    assert {e["entry"]: e["recipients"] for e in delivered} == {id_: told[0] for id_, told in TOLD.items()}
    stored = [re.findall(rb"^\tid ([\w-]+)", body, re.MULTILINE)[-1].decode() for body in mx.bodies]
    assert sorted(stored[:5]) == sorted(id_.partition(".")[0] for id_ in TOLD)
    assert any(body.endswith(b"\r\n\r\n.Good day.\r\n") for body in mx.bodies)
    assert fresh.startswith("J6GYS4-")
    assert fresh not in stored[:5]

"""SIGKILL at random instants: what was promised is there, what was settled is gone, and nothing is mixed up."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.spool_ledger import body_of
from tests.support.stores import files_in, until

from mailboat.model.clock import SystemClock
from mailboat.model.envelope import SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_spool
from mailboat.queue.store import Selection

ROUNDS = 10


def run_until_killed(directory: Path, lines_wanted: int) -> list[list[str]]:
    """What a ledger process said before it was killed, soon after so many lines."""
    ledger = subprocess.Popen(
        [sys.executable, "-m", "tests.support.spool_ledger", str(directory)], stdout=subprocess.PIPE
    )
    stuck = threading.Timer(60, ledger.kill)
    stuck.start()
    said = []
    assert ledger.stdout is not None
    with ledger, ledger.stdout as lines:
        for line in lines:
            # The last line may be half there: only what ends was said.
            if line.endswith(b"\n"):
                said.append(line.decode().split())
            if len(said) == lines_wanted:
                ledger.kill()
    stuck.cancel()
    assert len(said) >= lines_wanted, "the ledger died by itself"
    return said


@pytest.mark.timeout(300)
async def test_nothing_promised_is_missing_after_sigkill(tmp_path: Path) -> None:
    chance = random.Random(5321)
    kept: set[str] = set()
    deferred: set[str] = set()
    maybe: set[str] = set()
    gone: set[str] = set()
    for _ in range(ROUNDS):
        said = [line for line in run_until_killed(tmp_path, chance.randrange(2, 600)) if len(line) == 2]
        kept |= {name for verb, name in said if verb == "accepted"}
        deferred |= {name for verb, name in said if verb == "deferred"}
        settled = {name for verb, name in said if verb == "settled"}
        maybe |= {name for verb, name in said if verb == "settling"} - settled
        gone |= settled
    spool = await open_spool(tmp_path, 0, SystemClock(), Observer())
    page = await spool.page(Selection(), 1_000_000)
    found = {entry.message.id: entry for entry in page.entries}
    assert len(found) == len(page.entries)
    assert kept - gone - maybe <= set(found)
    assert not gone & set(found)
    assert all(found[name].state is State.DEFERRED for name in deferred)
    for entry in page.entries:
        body = await spool.body(entry)
        octets = read(body) if isinstance(body, SpooledBody) else body
        assert octets == body_of(entry.message.id)
    assert sum(state.messages for state in spool.stats().values()) == len(found)
    files = {Path(body.path).name for entry in page.entries if isinstance(body := await spool.body(entry), SpooledBody)}
    await until(lambda: not files_in(tmp_path / "incoming") and set(files_in(tmp_path / "bodies")) == files)
    await spool.close()


def read(body: SpooledBody) -> bytes:
    return Path(body.path).read_bytes()

"""A store on a small disk, filled to the brim: says in JSON what it did. Run by tests/unit/queue/test_full_disk.py.

`python -m tests.support.full_disk DIRECTORY`, where DIRECTORY is an empty file system of a few tens of MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.stores import draft

from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Entry, State
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_store
from mailboat.queue.store import AttemptRecord, StorageFull, Store

CLIENTS = 20
TRIES = 300
BODY = os.urandom(10_000)


async def accept_until_refused(store: Store) -> tuple[list[Entry], set[str]]:
    """Many clients at once; each goes on a while after it was refused. What was taken, and why the rest was not."""
    entries: list[Entry] = []
    refusals: set[str] = set()

    async def client() -> None:
        for _ in range(TRIES):
            try:
                entries.extend(await store.accept(draft(body=BODY)))
            except StorageFull as full:
                refusals.add(str(full))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return entries, refusals


def take_the_rest(path: Path) -> None:
    """Somebody else fills what is free."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 65536):
            pass


async def main(disk: Path) -> None:
    """Fill, settle without any room, make room, go on."""
    store = await open_store(str(disk / "queue"), 0, 1, SystemClock(), Observer())
    entries, refusals = await accept_until_refused(store)
    facts: dict[str, object] = {
        "accepted": len(entries),
        "refused": CLIENTS * TRIES - len(entries),
        "refusals": sorted(refusals),
    }
    take_the_rest(disk / "other")
    done, later = entries[::2], entries[1::2]
    async with asyncio.timeout(60):
        await asyncio.gather(*(store.record(entry, AttemptRecord(None)) for entry in done))
        waiting = [replace(entry, attempts=1, next_attempt=4e9, state=State.DEFERRED) for entry in later]
        await asyncio.gather(*(store.record(entry, AttemptRecord(entry)) for entry in waiting))
    facts["deferred"] = store.stats()[State.DEFERRED].messages
    (disk / "other").unlink()
    await asyncio.gather(*(store.record(entry, AttemptRecord(None)) for entry in later[: len(later) // 2]))
    await store.probe()
    facts["fault_then"] = store.fault
    facts["accepted_then"] = len(await store.accept(draft(body=BODY)))
    facts["intact"] = all([await store.body(entry) == BODY for entry in later[len(later) // 2 :]])
    await store.close()
    print(json.dumps(facts))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""Makes a queue of deferred messages, as if each had failed once: by the store's own means, without the waiting.

Nothing is synced while it fills, because no client waits for a 250. Called by `bench.scale` and `bench.backlog`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import generator
from mailboat.model.address import Address
from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Draft, Entry, EntryKey, State
from mailboat.model.observer import Observer
from mailboat.queue import ids, schema
from mailboat.queue.opening import open_spool
from mailboat.queue.operations import Accept, NewMessage, Operation, Reserve
from mailboat.queue.selection import entries_of
from mailboat.queue.spool import database_path
from mailboat.queue.transaction import Writer

DOMAINS = 10_000
DUE = 1000
"""Messages whose time has come, where a benchmark says nothing else."""
SENDER = Address("sender", "bench.test", "bench.test")
_BODY = 1024
_BATCH = 2000
_CHECKPOINT = 20_000
"""Messages between two checkpoints of the write-ahead log, which would grow as large as the queue without."""
_DAY = 86_400.0


async def fill(directory: Path, messages: int, due: int = DUE) -> int:
    """Adds `messages` to the queue of worker 0 in `directory`, the first `due` of them due, the others within a day.

    Returns the size of the queue in octets, all of it on the disk.
    """
    spool = await open_spool(directory, 0, SystemClock(), Observer())
    await spool.close()
    path = database_path(directory, 0)
    identity = schema.prepare(str(path))
    connection = schema.open_writer(str(path))
    connection.execute("PRAGMA synchronous = OFF")
    writer = Writer(connection)
    unchecked = 0
    for batch in _batches(identity, messages, due):
        writer.apply(batch)
        unchecked += len(batch)
        if unchecked > _CHECKPOINT:
            writer.checkpoint(wait=True)
            unchecked = 0
    writer.apply([Reserve(identity.first + messages + schema.BLOCK)])
    writer.close()
    os.sync()  # what is left to write must not disturb the measurement
    return path.stat().st_size


def forget(directory: Path) -> None:
    """Drops the queue from the page cache: what follows begins as after a restart of the machine."""
    for path in directory.glob("queue-*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _batches(identity: schema.Identity, messages: int, due: int) -> Iterator[list[Operation]]:
    nobody: asyncio.Future[Sequence[Entry]] = asyncio.get_running_loop().create_future()
    body = generator.message(_BODY).removesuffix(b".\r\n")
    now = time.time()
    for start in range(0, messages, _BATCH):
        batch: list[Operation] = []
        for n in range(start, min(start + _BATCH, messages)):
            number = identity.first + n
            entry = _deferred(identity.tag, number, n, body, now)
            # A stride that is prime to the count: due times are in no order of acceptance.
            when = now - 1 if n < due else now + 60 + (n * 7919 % messages) * _DAY / messages
            batch.append(Accept(NewMessage(number, (dataclasses.replace(entry, next_attempt=when),), body), nobody))
        yield batch


def _deferred(tag: str, number: int, n: int, body: bytes, now: float) -> Entry:
    domain = f"d{n % DOMAINS}.test"
    draft = Draft(SENDER, [Address(f"user{n}", domain, domain)], body)
    key = EntryKey(0, ids.row_of(number, 0))
    (entry,) = entries_of(draft, ids.message_id(tag, number), key, now - 300)
    return dataclasses.replace(entry, state=State.DEFERRED, attempts=1, last_reply="450 4.2.0 try later")

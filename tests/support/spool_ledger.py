"""A process that is going to be killed: accepts and settles without end, and prints what it was promised.

Run as `python -m tests.support.spool_ledger DIRECTORY`. Each line is one write(2), made after the promise:
`accepted ID`, `settling ID` (before it is asked), `settled ID`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.stores import draft

from mailboat.model.clock import SystemClock
from mailboat.model.envelope import SpooledBody, State
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_store
from mailboat.queue.store import AttemptRecord, Store


def say(*words: str) -> None:
    """One line, in one system call."""
    os.write(1, (" ".join(words) + "\n").encode())


def body_of(name: str) -> bytes:
    """The body that belongs to an id, so that a mix-up shows."""
    return f"Message-ID: <{name}@ledger.test>\r\n\r\n".encode() * 50


async def one_after_the_other(store: Store, client: int) -> None:
    """Every third message is settled, every third deferred, the rest stay; every seventh body is a file."""
    turn = client
    while True:
        turn += 1
        name = store.reserve_id()
        body: bytes | SpooledBody = body_of(name)
        if turn % 7 == 0:
            path, descriptor = store.new_body_file()
            os.write(descriptor, body_of(name))
            os.close(descriptor)
            body = SpooledBody(path, len(body_of(name)))
        (entry,) = await store.accept(draft(f"u{turn}@d{turn % 5}.test", id=name, body=body))
        say("accepted", entry.message.id)
        if turn % 3 == 0:
            say("settling", entry.message.id)
            await store.record(entry, AttemptRecord(None))
            say("settled", entry.message.id)
        elif turn % 3 == 1:
            later = replace(entry, attempts=1, next_attempt=entry.message.queued_at + 60, state=State.DEFERRED)
            await store.record(entry, AttemptRecord(later))
            say("deferred", entry.message.id)


async def main(directory: str) -> None:
    """Until somebody kills us."""
    store = await open_store(directory, 0, 1, SystemClock(), Observer())
    say("open")
    await asyncio.gather(*(one_after_the_other(store, client) for client in range(20)))


if __name__ == "__main__":
    asyncio.run(main(str(Path(sys.argv[1]))))

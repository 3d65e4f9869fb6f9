"""A disk that is slow, or stands still, holds up the clients whose large messages it takes, and nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import Rig, serving
from tests.support.smtp_client import PATIENCE, TEXT, Client
from tests.support.stores import files_in, until

from mailboat.ingress.dialogue import MAX_BUFFERED
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_spool

LARGE = TEXT + (b"x" * 998 + b"\r\n") * 2000


class Disk:
    """Writes as the real one, when it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writing = threading.Event()
        self.runs = threading.Event()
        self.threads: set[int] = set()
        self.error: Exception | None = None
        self._write = os.write
        monkeypatch.setattr("mailboat.queue.body_writer.os.write", self.write)

    def write(self, file: int, octets: bytes) -> int:
        self.threads.add(threading.get_ident())
        self.writing.set()
        assert self.runs.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self._write(file, octets)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def stuck(rig: Rig, disk: Disk) -> Client:
    """A client whose large message the disk does not take."""
    client = await rig.greeted()
    await client.begin()
    client.send(LARGE + b".\r\n")
    await until(disk.writing.is_set)
    return client


async def test_a_body_above_the_threshold_is_written_beside_the_event_loop(tmp_path: Path, disk: Disk) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    async with serving(store) as rig:
        slow = await stuck(rig, disk)
        other = await rig.greeted()
        assert (await other.mail()).startswith("250 2.0.0 ")
        await other.quit()
        [connection] = rig.connections
        assert connection.session.buffered <= MAX_BUFFERED + 262_144, "what comes meanwhile stays in the network"
        rig.later(10_000)
        disk.runs.set()
        assert (await slow.reply()).startswith("250 2.0.0 "), "the disk's time is not the client's"
        await slow.quit()
        assert threading.get_ident() not in disk.threads
        assert {len(mail.body) > 2_000_000 for mail in await rig.mails()} == {True, False}
    await store.close()


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "half-close"])
async def test_a_client_that_goes_while_the_disk_stands_still_leaves_nothing(
    tmp_path: Path, disk: Disk, reset: bool
) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    async with serving(store) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(LARGE)
        await until(disk.writing.is_set)
        if reset:
            client.reset()
        else:
            client.close()
        disk.runs.set()
        await rig.facts.until(lambda facts: facts.here == 0)
        await until(lambda: files_in(tmp_path / "incoming") == [])
        assert await rig.mails() == []
    await store.close()


@pytest.mark.parametrize(
    ("error", "reply"),
    [(OSError(errno.ENOSPC, "full"), "452 4.3.1 "), (OSError(errno.EIO, "bad"), "451 4.3.0 "), (ValueError(), "451 ")],
    ids=["full", "fault", "odd"],
)
async def test_what_the_thread_could_not_write_is_refused_and_removed(
    tmp_path: Path, disk: Disk, error: Exception, reply: str
) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    async with serving(store) as rig:
        disk.error = error
        client = await stuck(rig, disk)
        disk.runs.set()
        assert (await client.reply()).startswith(reply)
        disk.error = None
        assert (await client.mail(LARGE)).startswith("250 2.0.0 ")
        await client.quit()
        assert len(files_in(tmp_path / "bodies")) == 1
    await store.close()


async def test_many_large_messages_at_once_are_all_whole(tmp_path: Path, disk: Disk) -> None:
    store = await open_spool(tmp_path, 0, FixedClock(), Observer())
    async with serving(store) as rig:
        clients = [await rig.greeted() for _ in range(20)]
        sent = [asyncio.create_task(client.mail(LARGE)) for client in clients]
        await until(disk.writing.is_set)
        disk.runs.set()
        assert all(reply.startswith("250 2.0.0 ") for reply in await asyncio.gather(*sent))
        for client in clients:
            await client.quit()
        assert [mail.body.endswith(LARGE) for mail in await rig.mails()] == [True] * 20
    await store.close()

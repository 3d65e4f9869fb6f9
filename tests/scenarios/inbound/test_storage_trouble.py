"""Trouble of ours is 4xx, never 5xx and never silence; when it is over, mail is taken again."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import Rig, serving
from tests.support.memory_store import MemoryStore
from tests.support.smtp_client import TEXT
from tests.support.stores import Disk, files_in, sqlite_error

from mailboat.model.observer import Observer, RejectReason
from mailboat.queue.body_writer import SPOOL_THRESHOLD
from mailboat.queue.opening import open_spool
from mailboat.queue.store import StorageError, StorageFull

MAIL = "MAIL FROM:<alice@sender.test>"
LARGE = TEXT + b"x" * 998 + b"\r\n" + (b"y" * 998 + b"\r\n") * (SPOOL_THRESHOLD // 1000 + 1)


@pytest.mark.parametrize(
    ("failure", "reply"),
    [(StorageFull("no space"), "452 4.3.1 "), (StorageError("input/output error"), "451 4.3.0 ")],
)
async def test_a_commit_that_fails_is_told_and_then_mail_is_refused_at_mail(failure: StorageError, reply: str) -> None:
    clock = FixedClock()
    store = MemoryStore(clock)
    async with serving(store, clock) as rig:
        client = await rig.greeted()
        await client.begin()
        store.failure = failure
        client.send(TEXT + b".\r\n")
        assert (await client.reply()).startswith(reply)
        assert (await client.ask(MAIL)).startswith("451 4.3.0 "), "while the fault lasts, at once"
        store.failure = None
        await store.probe()
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert len(await rig.mails()) == 1
        assert rig.facts.reasons == [RejectReason.STORAGE] * 2


def memory(rig: Rig, full: bool) -> None:
    rig.load.memory_full = full


def disk(rig: Rig, full: bool) -> None:
    rig.load.disk_full = full


def commits(rig: Rig, full: bool) -> None:
    assert isinstance(rig.store, MemoryStore)
    rig.store.pressure = 1.0 if full else 0.99


@pytest.mark.parametrize(
    ("mark", "reply", "reason"),
    [
        (memory, "451 4.3.2 ", RejectReason.OVERLOAD),
        (commits, "451 4.3.2 ", RejectReason.OVERLOAD),
        (disk, "452 4.3.1 ", RejectReason.STORAGE),
    ],
)
async def test_over_a_mark_new_mail_is_deferred_and_under_it_taken_again(
    mark: Callable[[Rig, bool], None], reply: str, reason: RejectReason
) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.begin()
        mark(rig, True)
        client.send(TEXT + b".\r\n")
        assert (await client.reply()).startswith("250 2.0.0 "), "what has begun is finished"
        assert (await client.ask(MAIL)).startswith(reply)
        assert (await client.ask("NOOP")).startswith("250 ")
        mark(rig, False)
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert rig.facts.reasons == [reason]


@pytest.mark.parametrize(
    ("code", "reply"),
    [(sqlite3.SQLITE_FULL, "452 4.3.1 "), (sqlite3.SQLITE_IOERR, "451 4.3.0 "), (sqlite3.SQLITE_CORRUPT, "451 4.3.0 ")],
)
async def test_the_spools_own_faults_are_told_so_too(tmp_path: Path, code: int, reply: str) -> None:
    faulty, clock = Disk(), FixedClock()
    store = await open_spool(tmp_path, 0, clock, Observer(), faulty.tuning())
    async with serving(store, clock) as rig:
        for text in (TEXT, LARGE):
            client = await rig.greeted()
            await client.begin()
            faulty.failure = sqlite_error(code, "trouble")
            client.send(text + b".\r\n")
            assert (await client.reply()).startswith(reply)
            faulty.failure = None
            await store.probe()
            assert (await client.mail(text)).startswith("250 2.0.0 ")
            await client.quit()
        assert len(await rig.mails()) == 2
    await store.close()
    assert files_in(tmp_path / "incoming") == []


@pytest.mark.parametrize(
    ("number", "reply"),
    [
        (errno.ENOSPC, "452 4.3.1 "),
        (errno.EDQUOT, "452 4.3.1 "),
        (errno.EIO, "451 4.3.0 "),
        (errno.EMFILE, "451 4.3.0 "),
    ],
)
async def test_a_large_body_that_finds_no_file_is_refused_at_its_end(number: int, reply: str) -> None:
    class NoFiles(MemoryStore):
        def new_body_file(self) -> tuple[str, int]:
            raise OSError(number, "trouble")

    clock = FixedClock()
    async with serving(NoFiles(clock), clock) as rig:
        client = await rig.greeted()
        assert (await client.mail(LARGE)).startswith(reply)
        assert (await client.mail(TEXT)).startswith("250 2.0.0 ")
        await client.quit()
        assert [mail.body.endswith(TEXT) for mail in await rig.mails()] == [True]


async def test_a_file_that_fails_half_way_is_refused_and_removed(tmp_path: Path, monkeypatch: Any) -> None:
    clock, written, write = FixedClock(), [0], os.write

    def limited(file: int, data: Any) -> int:
        written[0] += len(data)
        if written[0] > SPOOL_THRESHOLD * 2:
            raise OSError(errno.ENOSPC, "no space")
        return write(file, data)

    store = await open_spool(tmp_path, 0, clock, Observer())
    async with serving(store, clock) as rig:
        client = await rig.greeted()
        with monkeypatch.context() as patched:
            patched.setattr("mailboat.queue.body_writer.os.write", limited)
            await client.begin()
            client.send(LARGE * 4 + b".\r\n")
            reply = await client.reply()
        assert reply.startswith("452 4.3.1 ")
        assert files_in(tmp_path / "incoming") == []
        assert (await client.mail(LARGE)).startswith("250 2.0.0 ")
        await client.quit()
    await store.close()

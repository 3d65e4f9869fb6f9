"""A long queue is what the bench says it is, and its table says which limit was missed."""

from __future__ import annotations

import time
from pathlib import Path

from bench import backlog, long_queue
from bench.backlog import Trial

from mailboat.model.clock import SystemClock
from mailboat.model.envelope import State
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_spool

MIB = 2**20
EMPTY = [Trial(None, 50 * MIB, 1000.0)]


async def test_a_queue_holds_what_was_asked_for_and_only_so_many_are_due(tmp_path: Path) -> None:
    await long_queue.fill(tmp_path, 50, due=0)
    await long_queue.fill(tmp_path, 30, due=20)
    spool = await open_spool(tmp_path, 0, SystemClock(), Observer())
    try:
        due = await spool.due(time.time(), 100)
        assert spool.stats()[State.DEFERRED].messages == 80
        assert len({entry.id for entry in due}) == 20
        assert len(await spool.due(time.time() + 86_400 + 60, 100)) == 80
        body = await spool.body(due[0])
        assert isinstance(body, bytes)
        assert body.startswith(b"From: ")
    finally:
        await spool.close()


async def test_forgetting_a_queue_changes_nothing_in_it(tmp_path: Path) -> None:
    await long_queue.fill(tmp_path, 10, due=10)
    long_queue.forget(tmp_path)
    spool = await open_spool(tmp_path, 0, SystemClock(), Observer())
    try:
        assert len(await spool.due(time.time(), 100)) == 10
    finally:
        await spool.close()


def test_the_worst_start_and_memory_and_the_median_rate_are_judged() -> None:
    full = [Trial(1.0, 100 * MIB, 700.0), Trial(2.5, 200 * MIB, 900.0), Trial(0.5, 90 * MIB, 950.0)]
    lines = backlog.judge(EMPTY, full)
    assert [line.full for line in lines] == ["2.50 s", "200 MiB", "900/s (90%)"]
    assert all(line.kept for line in lines)


def test_each_limit_is_missed_by_itself() -> None:
    for slow, kept in (
        (Trial(5.0, MIB, 1000.0), [False, True, True]),
        (Trial(1.0, 300 * MIB, 1000.0), [True, False, True]),
        (Trial(1.0, MIB, 799.0), [True, True, False]),
    ):
        assert [line.kept for line in backlog.judge(EMPTY, [slow])] == kept


def test_the_table_names_what_was_missed() -> None:
    shown = "\n".join(backlog.table(backlog.judge(EMPTY, [Trial(9.0, MIB, 1000.0)])))
    assert "| 9.00 s | under 5 s | MISSED |" in shown
    assert shown.count("kept") == 2

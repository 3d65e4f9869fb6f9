"""The threads for sync hooks: a job that goes wrong costs nobody else anything."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os

import pytest
from tests.support.plugin_chain import Chain, Function, decided

from mailboat.hooks import CONTINUE, DENY, Hook, HookRun, Point
from mailboat.hooks import failures as failures_module
from mailboat.hooks.loader import Plugins
from mailboat.hooks.run.threads import Thread, Threads
from mailboat.model.observer import Observer


class FakeJob:
    """Goes wrong where it is told to."""

    def __init__(self, *, in_thread: BaseException | None = None, after: Exception | None = None) -> None:
        self._in_thread = in_thread
        self._after = after
        self.done = asyncio.Event()

    def work(self, thread: Thread) -> None:
        if self._in_thread is not None:
            raise self._in_thread

    def finished(self) -> None:
        self.done.set()
        if self._after is not None:
            raise self._after


async def test_jobs_behind_one_that_raises_are_done() -> None:
    threads = Threads()
    jobs = [FakeJob(after=RuntimeError("a mistake")), FakeJob(in_thread=SystemExit(1)), FakeJob()]
    for _ in range(3):  # once the event loop stands aside for the thread, then it does not
        for job in jobs:
            job.done.clear()
            threads.submit(job)
        async with asyncio.timeout(20):
            for job in jobs:
                await job.done.wait()
    threads.close()


async def test_sync_hooks_are_asked_where_a_relay_has_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pipe() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    plugins = Plugins(Observer())
    monkeypatch.setattr(os, "pipe", no_pipe)
    hooks = plugins.chain([Hook(Point.MAIL, lambda *_: DENY, "sync")], ())
    assert (await hooks.run(Point.MAIL)).code is DENY
    await plugins.close(20)


class NoWordsError(Exception):
    """Cannot say what is wrong."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __len__(self) -> int:
        raise RuntimeError("no size")


def wordless(*_: object) -> None:
    raise NoWordsError


async def wordless_async(*_: object) -> None:
    raise NoWordsError


@pytest.mark.parametrize("hook", [wordless, wordless_async])
async def test_an_exception_that_cannot_say_anything_is_a_failure_like_others(
    hook: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a relay logs; pytest's own handlers raise what they cannot format.
    monkeypatch.setattr(failures_module.log, "propagate", False)
    monkeypatch.setattr(failures_module.log, "handlers", [logging.StreamHandler(io.StringIO())])
    chain = Chain(hook, lambda *_: (DENY, "the next one"))
    assert (await chain.ask()).value == "the next one"
    assert chain.failures.reasons == [f"{hook.__name__} raised"]


async def test_one_chain_that_cannot_be_looked_after_does_not_end_the_time_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def sleeps(*_: object) -> None:
        await asyncio.sleep(20)

    chain = Chain(sleeps, timeout=0.05)
    first, second = chain.begin(), chain.begin()
    assert isinstance(first, HookRun)
    check = HookRun.check
    monkeypatch.setattr(HookRun, "check", lambda it, now: check(it, now) if it is not first else 1 / 0)
    assert await decided(second) is CONTINUE
    first.cancel()

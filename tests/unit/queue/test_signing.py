"""Drafts are signed in groups: one thread for few, more for many, and a fault is that of one draft only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from mailboat.model.address import Address
from mailboat.model.envelope import Draft
from mailboat.queue.signing import GROUP, SigningThreads

DRAFT = Draft(Address("a", "a.test", "a.test"), [Address("b", "b.test", "b.test")], b"")


def held(release: threading.Event, began: threading.Semaphore) -> Callable[[], Draft]:
    def sign() -> Draft:
        began.release()
        assert release.wait(30)
        return DRAFT

    return sign


async def begun(began: threading.Semaphore) -> None:
    assert await asyncio.to_thread(began.acquire, timeout=30)


async def test_a_second_thread_helps_when_a_group_waits_and_not_before() -> None:
    threads, release, began = SigningThreads(2), threading.Event(), threading.Semaphore(0)
    signed = [threads.submit(held(release, began))]
    await begun(began)
    signed += [threads.submit(held(release, began)) for _ in range(GROUP - 1)]
    assert not began.acquire(blocking=False)

    signed.append(threads.submit(held(release, began)))

    await begun(began)
    release.set()
    assert await asyncio.gather(*signed) == [DRAFT] * (GROUP + 1)


async def test_what_gathered_during_a_signature_is_reported_together() -> None:
    threads, release, began = SigningThreads(1), threading.Event(), threading.Semaphore(0)
    first = threads.submit(held(release, began))
    await begun(began)
    others = [threads.submit(lambda: DRAFT) for _ in range(GROUP)]
    release.set()
    await first

    done, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)

    assert len(done) == GROUP


async def test_a_draft_that_cannot_be_signed_fails_alone() -> None:
    def fail() -> Draft:
        raise ValueError("no key")

    threads = SigningThreads(1)
    signed = [threads.submit(sign) for sign in (lambda: DRAFT, fail, lambda: DRAFT)]

    results = await asyncio.gather(*signed, return_exceptions=True)

    assert [type(result) for result in results] == [Draft, ValueError, Draft]


async def test_a_draft_that_was_given_up_does_not_harm_its_group() -> None:
    threads, release, began = SigningThreads(1), threading.Event(), threading.Semaphore(0)
    first = threads.submit(held(release, began))
    await begun(began)
    given_up, other = threads.submit(lambda: DRAFT), threads.submit(lambda: DRAFT)
    given_up.cancel()

    release.set()

    assert [await first, await other] == [DRAFT, DRAFT]


def test_a_loop_that_was_closed_does_not_stop_the_threads() -> None:
    threads, release, began = SigningThreads(1), threading.Event(), threading.Semaphore(0)

    async def leave() -> None:
        threads.submit(held(release, began))
        await begun(began)

    asyncio.run(leave())
    release.set()

    async def sign() -> Draft:
        return await threads.submit(lambda: DRAFT)

    assert asyncio.run(sign()) is DRAFT
